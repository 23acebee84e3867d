"""How many candidates may be at work, and how many a request gets while the server is busy."""
