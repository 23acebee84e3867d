"""compose.yaml against the files it mounts and builds from. No Docker engine is asked."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DASHBOARDS = ROOT / "service/observe/dashboards"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


COMPOSE = read(ROOT / "compose.yaml")


def test_what_is_mounted_is_here() -> None:
    volumes = [volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service["volumes"]]
    files = [volume for volume in volumes if volume.startswith(".")]
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert set(volumes) - set(files) == set(COMPOSE["volumes"])


def test_prometheus_finds_its_files_beside_its_configuration() -> None:
    service = COMPOSE["services"]["prometheus"]
    mounted = {Path(volume.split(":")[1]).name for volume in service["volumes"]}
    mounted |= {Path(config["target"]).name for config in service["configs"]}
    configuration = read(DASHBOARDS / "prometheus.yml")
    (job,) = configuration["scrape_configs"]
    (targets,) = job["file_sd_configs"]
    assert {"prometheus.yml", *configuration["rule_files"], *targets["files"]} <= mounted


def test_prometheus_watches_the_port_that_the_image_exposes() -> None:
    ((target,),) = [group["targets"] for group in yaml.safe_load(COMPOSE["configs"]["targets"]["content"])]
    host, port = target.split(":")
    assert host in COMPOSE["services"]
    assert f"EXPOSE {port}" in DOCKERFILE


def test_grafana_asks_that_prometheus_at_its_interval() -> None:
    (source,) = read(DASHBOARDS / "grafana/provisioning/datasources/prometheus.yml")["datasources"]
    assert re.fullmatch(r"http://(\w+):9090", source["url"]).group(1) in COMPOSE["services"]  # type: ignore[union-attr]
    assert source["jsonData"]["timeInterval"] == read(DASHBOARDS / "prometheus.yml")["global"]["scrape_interval"]
    (provider,) = read(DASHBOARDS / "grafana/provisioning/dashboards/bestofn.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    home = COMPOSE["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted
    assert Path(home).parent == Path(provider["options"]["path"])


@pytest.mark.parametrize("file", ["compose.yaml", "compose.cuda.yaml"])
def test_images_are_built_from_a_stage_or_pinned(file: str) -> None:
    for service in read(ROOT / file)["services"].values():
        if "build" in service:
            assert re.search(rf"^FROM \S+ AS {service['build']['target']}$", DOCKERFILE, re.MULTILINE)
        else:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"])
