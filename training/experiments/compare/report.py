"""A comparison as one HTML page that needs no network, with the same figures as PNG and all numbers as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from measuring.estimators import Interval
from measuring.plots import save, svg
from measuring.strict_json import strict
from measuring.whole_file import write_json
from training.experiments.compare import figures
from training.experiments.compare.break_even import BreakEven, sentence
from training.experiments.compare.config import CompareConfig
from training.experiments.compare.load import LoadCell
from training.experiments.compare.quality import QualityRow


@dataclass(frozen=True)
class Measurements:
    """Everything that was measured."""

    config: CompareConfig
    rows: Sequence[QualityRow]
    cells: Sequence[LoadCell]
    break_even: Sequence[BreakEven]
    training: Mapping[str, float]  # minutes of each checkpoint's training
    made: Mapping[str, str]  # how, on what, by which versions, in words

    @property
    def base(self) -> str:
        """The policy that best-of-N starts from."""
        return self.config.served[0].name

    @property
    def sentences(self) -> list[str]:
        """The break-even in words, one sentence for each trained policy."""
        return [sentence(one, self.base) for one in self.break_even]

    def cell(self, policy: str, best_of: int, clients: int) -> LoadCell:
        """The cell of one policy, N and load."""
        return next(c for c in self.cells if (c.policy, c.best_of, c.clients) == (policy, best_of, clients))


def write(measured: Measurements, folder: Path) -> Path:
    """measured.json, a PNG for each figure and index.html in `folder`; gives the page."""
    drawn = draw(measured)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")
    numbers = {
        "made": measured.made,
        "settings": measured.config.as_dict(),
        "quality": [asdict(row) for row in measured.rows],
        "cost": [_cost(cell) for cell in measured.cells],
        "training_minutes": measured.training,
        "break_even": [asdict(one) for one in measured.break_even],
        "sentences": measured.sentences,
    }
    write_json(folder / "comparison.json", strict(numbers))
    page = folder / "index.html"
    page.write_text(_page(measured, drawn), encoding="utf-8")
    return page


def draw(measured: Measurements) -> dict[str, Figure]:
    """The figures by the names of their files."""
    config = measured.config
    palette = figures.Palette([policy.name for policy in config.served])
    alone, busy = config.loads[0], config.loads[-1]
    places = {(row.policy, row.best_of) for row in measured.rows}
    waited = {place: measured.cell(*place, alone).latency_s[0.5] for place in places}
    paid = {place: _thousand(measured.cell(*place, busy).dollars) for place in places}
    of_base = [cell for cell in measured.cells if cell.policy == measured.base]
    return {
        "quality_latency": figures.quality_against(
            measured.rows,
            waited,
            palette,
            axis_label=f"median latency with {_clients(alone)}, s",
            title="What waiting buys",
        ),
        "quality_dollars": figures.quality_against(
            measured.rows,
            paid,
            palette,
            axis_label=f"dollars for 1,000 requests with {_clients(busy)}",
            title="What money buys",
        ),
        "reward_kl": figures.reward_against_kl(measured.rows, palette),
        "latency": figures.latencies(of_base, f"Latency of {measured.base} by N"),
        "break_even": figures.break_even(measured.break_even, palette, measured.base, config.months),
    }


def _page(measured: Measurements, drawn: Mapping[str, Figure]) -> str:
    environment = Environment(
        loader=PackageLoader("training.experiments.compare", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        comparison=measured,
        config=measured.config,
        figures={name: Markup(svg(figure)) for name, figure in drawn.items()},
        clients=_clients,
        interval=Interval.text,
        thousand=_thousand,
    )


def _cost(cell: LoadCell) -> dict[str, Any]:
    latency = {f"p{round(100 * quantile)}_s": value for quantile, value in cell.latency_s.items()}
    of_cell = {name: value for name, value in asdict(cell).items() if name not in ("latencies_s", "each_dollars")}
    intervals = {**latency, "dollars": cell.dollars}
    return {**of_cell, "requests": len(cell.latencies_s), **{name: asdict(one) for name, one in intervals.items()}}


def _thousand(value: Interval) -> Interval:
    return Interval(1000 * value.value, 1000 * value.low, 1000 * value.high)


def _clients(count: int) -> str:
    return f"{count} client" if count == 1 else f"{count} clients"
