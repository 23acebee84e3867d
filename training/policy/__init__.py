"""Sampling a policy, and the log-probabilities that it gives to answers."""
