"""The launch files of training/accelerate."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig

import training

LAUNCH_FILES = sorted((Path(str(training.__file__)).parent / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.stem)
def test_accelerate_reads_the_launch_files(path: Path) -> None:
    config = ClusterConfig.from_yaml_file(str(path))
    assert str(config.distributed_type).removeprefix("DistributedType.") in {"MULTI_GPU", "FSDP", "DEEPSPEED"}
    assert f"accelerate launch --config_file training/accelerate/{path.name}" in path.read_text(encoding="utf-8")


def test_the_page_on_training_names_the_launch_files() -> None:
    page = (Path(__file__).parents[2] / "docs/training.md").read_text(encoding="utf-8")
    assert {path.name for path in LAUNCH_FILES} == {"multi_gpu.yaml", "fsdp.yaml", "deepspeed_zero2.yaml"}
    assert [path.name for path in LAUNCH_FILES if path.name not in page] == []
