"""Batches of similar length."""

from training.run.batches import SimilarLengths


def test_the_records_of_a_step_are_those_that_the_sampler_gave() -> None:
    order = SimilarLengths([5 * index for index in range(11)], batch_size=2, seed=3)
    given: list[list[int]] = []
    for epoch in range(2):
        order.set_epoch(epoch)
        indices = list(order)
        assert sorted(indices) == list(range(11))
        given += [indices[start : start + 6] for start in range(0, 11, 6)]
    assert [order.step_records(step, accumulation_steps=3) for step in range(4)] == given
