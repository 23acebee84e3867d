"""The only place that touches vLLM's internals: its engines, the client its application talks to, the application."""
