"""Numbers on a CPU are read at once; on a GPU when the next step is there (tests there need one)."""

import pytest
import torch

from training.run.watched import Watched


def test_a_number_on_a_cpu_is_read_at_once() -> None:
    watched = Watched()
    assert watched.watch("loss", torch.tensor(2.0), step=3) == [("loss", 2.0, 3)]
    assert watched.rest() == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_number_on_a_gpu_is_read_a_step_later() -> None:
    watched = Watched()
    assert watched.watch("loss", torch.tensor(2.0, device="cuda"), step=3) == []
    assert watched.watch("loss", torch.tensor(4.0, device="cuda"), step=4) == [("loss", 2.0, 3)]
    assert watched.rest() == [("loss", 4.0, 4)]
