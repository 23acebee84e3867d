"""`bestofn sweep`: latency, throughput and tokens over a grid of N by clients."""
