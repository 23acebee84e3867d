"""Demonstrations to learn from: read from a file, or written in a lab by its demonstrator."""

from training.data.read import read_demonstrations
from training.data.records import Demonstration
from training.labs.lab import Lab
from training.run import run_folder


def load_demonstrations(data: str, split: str) -> tuple[list[Demonstration], str]:
    """Read a source; and what it is, for people. Every process calls it, the main one reads first. Raises DataError."""
    with run_folder.main_first():
        demonstrations, report = read_demonstrations(data, split=split)
    return demonstrations, report.summary()


def lab_demonstrations(world: Lab, count: int, seed: int) -> tuple[list[Demonstration], str]:
    """`count` that the lab's demonstrator writes; and what they are, for people."""
    return list(world.demonstrations(count, seed=seed)), f"{count} demonstrations of the lab `{world.name}`"
