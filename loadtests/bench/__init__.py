"""The benchmarks behind `make bench` and its like.

overhead         `make bench`: what reranking costs beside plain vLLM
growth           `make bench-n`: how latency grows with N beside plain vLLM's own n
overload         `make overload`: four times what a server can do
latency_target/  `make slo`: a target for the latency under twice the load that fixed N can bear
strategies/      `make strategies`: what prune, adaptive, deadlines and stop_after cost and keep
peers/           `make bench-peers`: beside other best-of-N servers
training         `make bench-training`: the trainers beside TRL's; sharing: one prompt for all its responses
revision         this tree beside another commit

A folder has `measure`, which drives servers, `summary`, pure figures of what it saw, `report` and `plots`. The servers
that are compared are in `contenders`.
"""
