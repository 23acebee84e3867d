"""What a test reads of a run's folder."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from training.run.metrics import METRICS_FILE


def metrics(folder: Path, name: str) -> list[float]:
    """The values of one metric, in the order of the steps that have it."""
    lines = (folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [row[name] for row in map(json.loads, lines) if name in row]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the checkpoint, by name."""
    return load_file(folder / "model.safetensors")


def same_weights(first: Path, second: Path, atol: float = 1e-6) -> bool:
    """Whether two checkpoints have the same weights, apart from rounding. Fails where their names differ."""
    one, other = weights(first), weights(second)
    assert one.keys() == other.keys()
    return all(torch.allclose(one[name], other[name], atol=atol) for name in one)
