"""Load tests and benchmarks: what a running server costs, in time and tokens.

locustfile    `locust -f loadtests/locustfile.py`: many users with a mix of N, of what is in locust/
workload      what users and sweeps ask: a file with N, prompts, lengths
sweep/        `bestofn sweep`: a grid of N by clients
bench/        the benchmarks behind the verbs of the Makefile, beside plain vLLM, TRL and other servers

What they measure with is `measuring`. Locust patches the standard library when it is imported: only locustfile and
locust/ import it, and nothing imports them but locust.
"""
