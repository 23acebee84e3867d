"""The kernel: what is sampled, scored, stopped and chosen for a request. No HTTP, no torch, no vLLM."""
