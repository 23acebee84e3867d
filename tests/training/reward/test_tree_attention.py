"""Who may look at whom in a row that holds a prompt once."""

import torch

from training.reward.tree_attention import tree_mask


def test_the_tree_mask() -> None:
    segments = torch.tensor([[0, 0, 1, 2, 2, -1]])
    allowed = tree_mask(segments, additive=False)
    assert allowed.shape == (1, 1, 6, 6)
    assert allowed[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 0, 1, 0, 0],
        [1, 1, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]
    added = tree_mask(segments, additive=True)
    assert torch.equal(added == 0, allowed)
    assert (added[~allowed] == torch.finfo(torch.float32).min).all()
