"""`make faults`: injects faults into a real server, and judges every answer that a client gets meanwhile."""
