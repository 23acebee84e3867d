"""What stands right in front of vLLM's application, behind our gateway: for every route of vLLM's alike."""
