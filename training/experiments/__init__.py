"""Several trainings and measurements as one experiment: comparisons, replays, studies."""
