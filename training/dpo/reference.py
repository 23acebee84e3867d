"""The log-probabilities of DPO's reference, computed once and kept with the state of the run."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from measuring.whole_file import write_whole
from training.dpo.data import DPODataset
from training.run.run_folder import STATE_FOLDER

REFERENCE_FILE = "reference_logprobs.pt"


class ReferenceFile:
    """The reference's log-probabilities of every pair, so that an interrupted run goes on without computing them."""

    def __init__(self, output: Path, reference: torch.nn.Module, datasets: Sequence[DPODataset]) -> None:
        self._file = output / STATE_FOLDER / REFERENCE_FILE
        self._fingerprint = fingerprint(reference, datasets)

    def read(self) -> list[torch.Tensor] | None:
        """[pairs, 2] for each dataset; None where the file is missing, or of other weights or pairs."""
        known = torch.load(self._file, weights_only=True) if self._file.is_file() else {}
        if known.get("fingerprint") != self._fingerprint:
            return None
        logprobs: list[torch.Tensor] = known["logprobs"]
        return logprobs

    def write(self, logprobs: Sequence[torch.Tensor]) -> None:
        """Whole or not at all."""
        known = {"fingerprint": self._fingerprint, "logprobs": list(logprobs)}
        write_whole(self._file, lambda partial: torch.save(known, partial))


def fingerprint(reference: torch.nn.Module, datasets: Iterable[DPODataset]) -> str:
    """The same for the same weights and pairs."""
    digest = hashlib.sha256()
    for name, weights in reference.state_dict().items():
        digest.update(name.encode())
        digest.update(weights.cpu().contiguous().view(torch.uint8).numpy())
    return "-".join([digest.hexdigest(), *(dataset.digest() for dataset in datasets)])
