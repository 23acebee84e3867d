"""What the locustfile is made of: users, shapes of load, objectives."""
