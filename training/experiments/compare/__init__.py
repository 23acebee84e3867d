"""Best-of-N beside trained policies: what each costs and what it buys, measured in one run, as one report."""
