"""Recorded candidates, and what any strategy would have made of them."""
