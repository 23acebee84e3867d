"""`make bench-peers`: bestofn beside other best-of-N servers."""
