"""Loading a reward model by whatever name it goes by."""

from pathlib import Path

from reward.batch_scorer import BatchScorer
from training.labs import model_path


def load_reward_model(name: str | Path, *, device: str = "auto", dtype: str = "auto") -> BatchScorer:
    """A reward model, ready to score conversations in this process.

    `name` is a folder, a bundled checkpoint (`arithmetic-reward`, `reviews-reward`), or a model on the Hugging Face
    Hub: anything that `AutoModelForSequenceClassification` loads, with a chat template. `device` is auto, cpu, cuda or
    cuda:1, `dtype` auto, float32, bfloat16 or float16; auto is bfloat16 on a GPU where there is one, else float32 on
    the CPU. Raises ValueError where the checkpoint is no reward model, and OSError where there is none of that name.
    """
    return BatchScorer(model_path(str(name)), device, dtype)
