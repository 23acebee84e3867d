"""Candidates as engine requests, and what is read of each beside its text."""
