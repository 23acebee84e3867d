"""What a reward model puts out, and the model that does: a policy's trunk with a fresh head, or one to go on with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from reward.batching import score_sequences
from reward.config import RewardConfig
from reward.template import ConversationTemplate
from training.data.read import DataError
from training.data.records import Comparison
from training.labs import model_path
from training.run import run_folder
from training.run.checks import check_model, check_padding
from training.run.config import ConfigError, loading

_MODEL_CLASS = "ForSequenceClassification"


@dataclass(frozen=True)
class HeadLayout:
    """What the outputs of a reward model are."""

    names: tuple[str, ...] = ()
    """For `config.bestofn`; empty for a single plain one."""
    dimensions: tuple[str, ...] = ()
    """Of the scores that are learned; empty for a ranking loss."""
    members: int = 0
    """How many of the outputs are members of an ensemble."""


def plan_heads(
    records: Sequence[Comparison], *, loss: str, names: tuple[str, ...] = (), ensemble: int = 0
) -> HeadLayout:
    """Raises ConfigError where the settings contradict each other or the scores in the data.

    names: the setting `heads`. ensemble: how many members it has; 0: there is none.
    """
    members = tuple(f"member-{index}" for index in range(ensemble))
    if "reward" in names:
        raise ConfigError("heads: `reward` is the name of what all outputs give together; choose another")
    if ensemble == 1:
        raise ConfigError("ensemble: takes two members or more")
    if loss != "regression":
        if members and names:
            raise ConfigError("heads: the outputs of an ensemble have names of their own")
        return HeadLayout(names=names or members, members=len(members))
    known = sorted({name for record in records for name in record.scores})
    dimensions = names or tuple(known)
    if unknown := sorted(set(dimensions) - set(known)):
        raise ConfigError(f"heads: no score {', '.join(unknown)} in the data; it has: {', '.join(known) or 'none'}")
    if not dimensions:
        raise ConfigError("loss: regression needs scores, and the data has none")
    if not names and len(dimensions) > 1:
        raise ConfigError(f"heads: name the scores to learn, of: {', '.join(dimensions)}")
    if members and len(dimensions) > 1:
        raise ConfigError("heads: an ensemble learns one score, not several")
    return HeadLayout(names=members or names, dimensions=dimensions, members=len(members))


def teaches(record: Comparison, loss: str, heads: HeadLayout) -> bool:
    """Whether this loss has something to learn from the record."""
    if loss == "regression":
        return any(not np.isnan(record.scores.get(name, np.nan)).all() for name in heads.dimensions)
    return record.best is not None and len(record.responses) > 1 if loss == "best_of_k" else bool(record.pairs())


def teaching(records: Sequence[Comparison], loss: str, heads: HeadLayout) -> list[Comparison]:
    """Those that this loss has something to learn from. Raises DataError when there is none."""
    useful = [record for record in records if teaches(record, loss, heads)]
    if not useful:
        raise DataError(f"none of {len(records)} records holds what loss={loss} learns from")
    return useful


def start_template(name: str) -> tuple[str, ConversationTemplate]:
    """Where the model to start from is, and its template.

    Raises ConfigError where there is none, ValueError where it pads with the end of text.
    """
    path = model_path(name)
    with loading("model"):
        tokenizer = AutoTokenizer.from_pretrained(path)
    check_padding(tokenizer, distinct=True)
    return path, ConversationTemplate(tokenizer)


def start_reward_model(
    path: str, template: ConversationTemplate, heads: HeadLayout, *, extra_layers: int, seed: int, max_tokens: int
) -> PreTrainedModel:
    """`reward_model`, which pads as the template's tokenizer does. Raises ValueError where they do not fit together."""
    model = reward_model(path, heads, extra_layers=extra_layers, seed=seed)
    check_model(model, template.tokenizer, max_tokens, distinct_pad=True)
    model.config.pad_token_id = template.tokenizer.pad_token_id
    return model


def goes_on(path: str, heads: HeadLayout) -> bool:
    """Whether the model at `path` is a reward model with these outputs, which is then trained further."""
    config = AutoConfig.from_pretrained(path)
    if not any(_MODEL_CLASS in name for name in config.architectures or ()):
        return False
    return bool(config.num_labels == max(1, len(heads.names)) and RewardConfig.of(config).heads == heads.names)


def reward_model(path: str, heads: HeadLayout, *, extra_layers: int, seed: int) -> PreTrainedModel:
    """The reward model at `path` as it is, or else the trunk of any model with a fresh head.

    The head is N(0, 1/(d+1)) (Ziegler et al. 2019, section 2.1). Extra layers come last; their two output projections
    are zero, so that they start as the identity. Raises ConfigError for a model that cannot be used so.
    """
    torch.manual_seed(seed)
    count, further = max(1, len(heads.names)), goes_on(path, heads)
    if further and extra_layers:
        raise ConfigError(f"extra_layers: {path} is a reward model already, which is trained further as it is")
    model = _with_head(path, count)
    if not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise ConfigError(f"model: {type(model).__name__} reads no reward from each token; use a decoder-only model")
    if further:
        return model
    if extra_layers:
        model = _deeper(model, extra_layers)
    score: Any = model.score
    torch.nn.init.normal_(score.weight, std=(score.in_features + 1) ** -0.5)
    model.config.bestofn = {"heads": list(heads.names)}
    return model


def fresh_modules(model: PreTrainedModel, extra_layers: int) -> list[str]:
    """Names of the score layer and of the last layers: what did not come with the trunk, or must move with it."""
    layers = model.get_decoder().layers if extra_layers else []
    fresh = {id(module) for module in [model.score, *layers[len(layers) - extra_layers :]]}
    return [name for name, module in model.named_modules() if id(module) in fresh]


def scale_head(model: PreTrainedModel, answers: Sequence[Sequence[int]], heads: HeadLayout) -> None:
    """Bring the reward to variance 1 over these conversations, before training (Ziegler et al. 2019, section 2.1).

    Each member of an ensemble for itself; otherwise the mean of the outputs, by one factor. Computed where this process
    trains, so that the model moves there.
    """
    module: torch.nn.Module = model
    module.to(run_folder.device())
    outputs = np.array(score_sequences(model.eval(), answers))  # [answers, outputs]
    deviations = outputs.std(axis=0) if heads.members else np.full(outputs.shape[1], outputs.mean(axis=1).std())
    if not (np.isfinite(deviations).all() and (deviations > 0).all()):
        raise ConfigError("model: its fresh head gives every answer the same reward, or none that is a number")
    score: Any = model.score
    with torch.no_grad():
        score.weight /= torch.tensor(deviations, dtype=score.weight.dtype, device=score.weight.device)[:, None]


def normalisation(rewards: Sequence[float], heads: HeadLayout) -> dict[str, Any]:
    """`config.bestofn` that brings these rewards, each the mean of the outputs, to mean 0 and variance 1.

    Raises ValueError where they are all the same.
    """
    mean, deviation = float(np.mean(rewards)), float(np.std(rewards))
    if not deviation > 0:
        raise ValueError(f"every one of {len(rewards)} answers has the reward {mean}: it cannot be normalised")
    return {"heads": list(heads.names), "mean": mean, "std": deviation}


def _with_head(path: str, outputs: int) -> PreTrainedModel:
    """transformers would report the head as missing, and any other weight that it makes up, in the same breath."""
    log = logging.getLogger("transformers.modeling_utils")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=outputs, dtype=torch.float32, ignore_mismatched_sizes=True, output_loading_info=True
        )
    except ValueError as error:
        raise ConfigError(f"model: {path} has no form with a reward head in transformers: {error}") from error
    finally:
        log.setLevel(level)
    if absent := sorted(name for name in report["missing_keys"] if not name.startswith("score.")):
        raise ConfigError(f"model: {path} lacks the weights {', '.join(absent[:5])}")
    found: PreTrainedModel = model
    return found


def _deeper(model: PreTrainedModel, extra_layers: int) -> PreTrainedModel:
    config = model.config
    depth = config.num_hidden_layers
    config.num_hidden_layers = depth + extra_layers
    if getattr(config, "layer_types", None):
        config.layer_types = [*config.layer_types, *config.layer_types[-1:] * extra_layers]
    deeper: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    deeper.load_state_dict(model.state_dict(), strict=False)
    try:
        for layer in deeper.get_decoder().layers[depth:]:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    except AttributeError as error:
        raise ConfigError(f"extra_layers: {type(model).__name__} is not built as Llama is: {error}") from error
    return deeper
