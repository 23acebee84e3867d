"""Makes `reward`, `service` and the other rooms mean those that lie beside bestofn_server, whatever else has the name.

A user's script may lie beside a file `reward.py`, and Python looks there first. Once bestofn_server is imported, these
five names are ours in the whole process: a module of the user's by one of them cannot be imported any more, and one
that was imported before is an ImportError that names it. CONTRIBUTING has the other ways that were tried.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

ROOMS = ("service", "reward", "training", "measuring", "loadtests")
_HOME = Path(__file__).resolve().parent.parent


class _RoomFinder:
    """Answers for the rooms alone; what lies inside them is found through their own paths, as ever."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(_HOME)]) if name in ROOMS else None


def claim() -> None:
    """From here on the rooms are ours. Raises ImportError when another module goes by a room's name already."""
    for name in ROOMS:
        module = sys.modules.get(name)
        if module is not None and (place := _place(module)) != _HOME / name:
            raise ImportError(
                f"bestofn_server cannot be imported: its package {name!r} has the name of {place or 'a module'}, "
                "which is imported already; rename that one",
                name=name,
            )
    if not any(isinstance(finder, _RoomFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _RoomFinder())


def _place(module: ModuleType) -> Path | None:
    """The folder of a package, or the file of a module; None for one that has neither."""
    folders = list(getattr(module, "__path__", ()))
    found = folders[0] if folders else getattr(module, "__file__", None)
    return Path(found).resolve() if found else None
