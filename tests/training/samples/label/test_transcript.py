"""A conversation as a judge reads it."""

from training.data.records import Comparison
from training.samples.label.judge import messages


def test_other_roles_are_named_to_the_judge() -> None:
    conversation = (
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "see "}, {"type": "image_url", "image_url": {}}]},
    )
    material = messages(Comparison(conversation, ("a", "b")), 0, 1)[1]["content"]
    assert "[system]\ns\n\n[user]\nsee [image_url]\n" in material
