"""How a server begins and ends, as a process and with those that it starts."""
