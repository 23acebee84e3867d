"""Makes reward models and policies: labs, data, losses, trainers, evaluation."""
