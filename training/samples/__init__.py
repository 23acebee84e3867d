"""Samples of a policy as data to learn from: collecting candidates, and labelling them."""
