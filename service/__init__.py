"""The server: an OpenAI-compatible front over vLLM that samples N candidates and returns the best one."""
