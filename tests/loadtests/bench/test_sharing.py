import pytest
import torch

from loadtests.bench import sharing as bench_sharing
from training.reward.outputs import PositionRewards


def test_the_three_layouts_have_the_same_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    for length in ("_PROMPT_TOKENS", "_RESPONSE_TOKENS"):
        monkeypatch.setattr(bench_sharing, length, 24)
    model = bench_sharing.fresh_model().eval()
    read = PositionRewards(model)
    layouts = (bench_sharing.shared_prompts(), bench_sharing.separate_rows(), bench_sharing.padded_pairs())
    with torch.no_grad():
        shared, separate, paired = (bench_sharing.loss(model, read, layout).item() for layout in layouts)
    assert shared == pytest.approx(separate, abs=1e-5)
    assert paired == pytest.approx(separate, abs=1e-5)
    assert separate > 0
    rows = [len(layout["input_ids"]) for layout in layouts]
    assert rows == [8, 8 * 4, 8 * 6 * 2]
