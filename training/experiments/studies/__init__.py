"""Experiments of several trainings and measurements, each one a recipe that goes on where it was interrupted."""
