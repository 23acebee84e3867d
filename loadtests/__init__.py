"""Load tests and benchmarks: what a running server costs, in time and tokens.

answers       how an answer is read, by locust's users and by `drive`
locustfile    many users with locust: users, their mix (workload), their number (shapes), what is promised (slo)
sweep         `bestofn sweep`: a grid of N by clients on `drive`, kept by sweep_record, shown by sweep_report
overload      `make overload`: four times what a server can do, counted on both sides
bench         `make bench`, `make bench-n` (bench_growth): beside plain vLLM; `make bench-training`: beside TRL

Locust patches the standard library when it is imported: only locustfile, users and shapes import it, and nothing
imports them but locust.
"""
