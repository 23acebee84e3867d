"""How long a run took, whatever interrupted it."""

import json
from pathlib import Path
from types import SimpleNamespace

from training.run.elapsed import Elapsed


def test_time_before_an_interruption_counts(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    state = SimpleNamespace(is_world_process_zero=True)
    first = Elapsed(tmp_path)
    first.on_save(None, state, None)
    path = tmp_path / "state" / "elapsed.json"
    saved_s = json.loads(path.read_text(encoding="utf-8"))["seconds"]
    assert 0 <= saved_s <= 60 * first.minutes
    path.write_text('{"seconds": 600.0}', encoding="utf-8")
    assert Elapsed(tmp_path).minutes >= 10
