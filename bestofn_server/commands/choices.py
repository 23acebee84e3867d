"""The values that help lists for options whose owners are slow to import; tests hold them against the owners."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]

LABS = "arithmetic|reviews|riddles"
SAMPLERS = "auto|vllm|transformers"
STRATEGIES = "best_of_n|prune|adaptive|greedy"
RECIPES = ", ".join(sorted(path.stem for path in (_ROOT / "training" / "recipes").glob("*.yaml")))
WORKLOADS = ", ".join(sorted(path.stem for path in (_ROOT / "loadtests" / "workloads").glob("*.yaml")))
