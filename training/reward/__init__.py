"""What the reward trainer is made of: batches of comparisons, heads, and rewards at every position."""
