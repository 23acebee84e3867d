"""The way of a request through HTTP, in front of vLLM's application."""
