"""A name that is gone from vLLM is found in the line that imports it."""

from pathlib import Path

import pytest

from service.vllm.coupling_checks.names import FailingImport, failing_imports, one_line

FINE = "import vllm\nfrom vllm.outputs import RequestOutput\nfrom vllm import outputs, sampling_params\n"


def found(folder: Path, text: str, *patterns: str) -> list[FailingImport]:
    (folder / "room").mkdir()
    (folder / "room/file.py").write_text(text)
    return list(failing_imports(folder, patterns or ("room/*.py",)))


def test_names_and_modules_that_are_there_are_no_trouble(tmp_path: Path) -> None:
    assert found(tmp_path, FINE) == []


def test_a_name_that_is_gone_is_reported_with_its_line(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, FINE + "\ndef f():\n    from vllm.outputs import Gone, RequestOutput\n")
    assert (problem.file, problem.line, problem.module) == ("room/file.py", 6, "vllm.outputs")
    assert problem.names == ("Gone", "RequestOutput")
    assert problem.found == "ModuleNotFoundError: No module named 'vllm.outputs.Gone'; 'vllm.outputs' is not a package"


def test_a_module_that_is_gone_is_one_line_for_all_its_names(tmp_path: Path) -> None:
    (problem,) = found(tmp_path, "from vllm.gone import a, b\n")
    assert (problem.names, problem.found) == (("a", "b"), "ModuleNotFoundError: No module named 'vllm.gone'")


def test_other_libraries_and_other_files_are_not_looked_at(tmp_path: Path) -> None:
    text = "from json import gone\nfrom . import gone\nfrom vllm_other import gone\n"
    assert found(tmp_path, text) == []
    (tmp_path / "room/broken.py").write_text("from vllm.gone import a\n")
    assert list(failing_imports(tmp_path, ["room/file.py"])) == []
    assert len(list(failing_imports(tmp_path, ["room/*.py"]))) == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\nsecond"), "ValueError: first"),
        (KeyError("key"), "KeyError: 'key'"),
        (OSError(), "OSError: "),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line
