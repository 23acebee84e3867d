import csv
import re
from dataclasses import replace
from xml.etree import ElementTree

from loadtests.sweep.report import table, to_csv, to_html
from tests.loadtests.sweep.records import record


def test_a_failure_is_shown_with_its_error_and_has_no_number() -> None:
    kept = record(status=0, error="ConnectError: gone")
    nothing = replace(kept, cells=tuple(replace(c, requests=c.requests[-1:]) for c in kept.cells))
    assert "ConnectError: gone" in to_html(nothing)
    assert next(csv.DictReader(to_csv(nothing).splitlines()))["p95_s"] == ""


def test_the_page_needs_nothing_beside_itself_and_holds_the_table_and_pictures() -> None:
    page = to_html(record(dollars=0.25))
    assert page.count("<svg") == page.count("</svg>") == 3
    assert "some &lt;CPU&gt;" in page
    assert "dollars per 1000" in page
    assert not re.search(r"(src|href)=['\"](?!#)|url\((?!#)|@import", page)
    assert "<script" not in page
    assert page == to_html(record(dollars=0.25))
    for picture in page.split("<svg")[1:]:
        ElementTree.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")


def test_the_terminal_has_a_line_for_each_place_and_no_intervals() -> None:
    shown = table(record())
    assert shown.row_count == 4
    assert [column.header for column in shown.columns] == [
        "N", "clients", "p50 s", "p95 s", "requests/s", "tokens/s", "tokens",
    ]  # fmt: skip
    assert list(shown.columns[2].cells) == ["2.000", "2.000", "16.000", "16.000"]
