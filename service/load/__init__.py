"""How many candidates may be at work, how many a request gets while the server is busy, and how requests end."""
