"""`make slo`: what a target for the latency is worth under more load than the server can bear."""
