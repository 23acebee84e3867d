"""Load tests and benchmarks: what a running server costs, in time and tokens."""
