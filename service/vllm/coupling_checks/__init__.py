"""How `service.vllm.coupling` finds out whether vLLM still does what we rely on."""
