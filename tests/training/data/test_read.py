import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.read import DataError, hold_out, read_comparisons, read_demonstrations, read_prompts
from training.data.records import Comparison, Demonstration, user

ROWS = [
    {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 0.0},
    {"prompt": "r", "chosen": "ä", "rejected": "b", "margin": 1.5},
]
READ = [Comparison(user("q"), ("a", "b"), (0, 1)), Comparison(user("r"), ("ä", "b"), (0, 1), margin=1.5)]
MESSAGES = [
    {
        "prompt": [{"role": "user", "content": "q", "name": "n"}],
        "responses": ["a", "b", "c"],
        "ranks": [1, 0, 1],
        "scores": {"x": [1.0, None, 2.0]},
    },
    {
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
        "responses": ["a"],
        "scores": {"y": [0.5]},
    },
]


def write(path: Path, *rows: Any) -> str:
    """JSON Lines, also of what is no JSON."""
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def write_parquet(path: Path, rows: list[Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(path)
    return str(path)


@pytest.fixture(autouse=True)
def quiet_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.parametrize("rows", [ROWS, MESSAGES])
def test_json_lines_json_and_parquet_are_read_alike(tmp_path: Path, rows: list[Any]) -> None:
    sources = [
        write(tmp_path / "a.jsonl", *rows, ""),
        write(tmp_path / "a.ndjson", rows[0], "", rows[1]),
        write(tmp_path / "list.json", json.dumps(rows, indent=1)),
        write(tmp_path / "object.json", {"version": 1, "data": rows}),
        write(tmp_path / "lines.json", *rows),
        write_parquet(tmp_path / "a.parquet", rows),
    ]
    read = [repr(read_comparisons(source)[0]) for source in sources]
    assert len(set(read)) == 1
    if rows is ROWS:
        assert read[0] == repr(READ)


def test_an_object_that_is_a_row_is_the_only_one(tmp_path: Path) -> None:
    assert len(read_comparisons(write(tmp_path / "one.json", MESSAGES[0]))[0]) == 1


def test_the_report_counts_what_was_dropped_and_why(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("a", "a"), ("b", "b")]
    rows = [{**ROWS[0], "chosen": chosen, "rejected": rejected} for chosen, rejected in pairs]
    tied = {**ROWS[0], "score_chosen": 1, "score_rejected": 1}
    source = write(tmp_path / "data.jsonl", *rows, tied)
    records, report = read_comparisons(source)
    assert records == READ[:1]
    assert (report.taken, report.format, report.dropped) == (1, "TRL preference", {"identical responses": 2, "tied": 1})
    assert report.summary() == (
        f"{source}: TRL preference, 1 comparison taken, 3 dropped (2 identical responses, 1 tied)"
    )
    summary = read_comparisons(write(tmp_path / "all.jsonl", *ROWS))[1].summary()
    assert summary == f"{tmp_path / 'all.jsonl'}: TRL preference, 2 comparisons taken"


def test_ties_are_kept_beside_a_difference_and_where_nothing_was_ranked(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "responses": ["a", "b", "c"], "ranks": [0, 0, 1]},
        {"prompt": "q", "responses": ["a", "b", "c"], "ranks": [1, 1, 1]},
        {"prompt": "q", "responses": ["a", "a"]},
        {"prompt": "q", "responses": ["a"], "ranks": [0]},
        {"prompt": "q", "responses": ["a", "a"], "ranks": [0, 1]},
    ]
    records, report = read_comparisons(write(tmp_path / "data.jsonl", *rows))
    assert [record.ranks for record in records] == [(0, 0, 1), (), (0,)]
    assert report.dropped == {"tied": 1, "identical responses": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{\n", "not JSON"),
        ("[]", "expected a JSON object, got list"),
        ({"prompt": "q", "chosen": "a"}, r"field 'rejected': missing \(format: TRL preference\)"),
        ({"prompt": "q", "chosen": 3, "rejected": "b"}, "field 'chosen': expected text"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "field 'prompt': expected text or a list"),
    ],
)
def test_an_error_names_file_line_and_field(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"data\.jsonl, line 3: .*{message}"):
        read_comparisons(write(tmp_path / "data.jsonl", ROWS[0], "", row))


def test_an_error_names_the_row_of_json_and_parquet(tmp_path: Path) -> None:
    rows = [ROWS[0], {"prompt": "q", "chosen": "a"}]
    for source in (write(tmp_path / "a.json", json.dumps(rows)), write_parquet(tmp_path / "a.parquet", rows)):
        with pytest.raises(DataError, match=r"a\.\w+, row 2: field 'rejected': missing"):
            read_comparisons(source)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", b"", r"empty\.jsonl: holds no records"),
        ("list.json", b"[]", r"list\.json: holds no records"),
        ("bad.json", b"[", r"bad\.json: not JSON"),
        ("bad.jsonl", b"\xff\n", r"bad\.jsonl, line 1: not JSON"),
        ("number.json", b"3", r"expected a list of rows, got int"),
        ("lists.json", b'{"a": [], "b": []}', r"an object with one list, got 2 lists"),
        ("bad.parquet", b"PAR2", r"bad\.parquet: not Parquet"),
        ("data.csv", b"a,b", r"data\.csv: expected a file that ends in one of \.json, "),
        ("odd.jsonl", b"3", r"odd\.jsonl, line 1: expected a JSON object, got int"),
        (
            "new.jsonl",
            b'{"a": 1, "b": 2}',
            r"line 1: fits no format of .*: the fields are 'a', 'b'; .*HH-RLHF",
        ),
        ("none.jsonl", b"{}", r"the fields are none"),
        ("sft.jsonl", b'{"text": "t"}', r"line 1: the format is text, which holds demonstrations, not comparisons"),
        (
            "tied.jsonl",
            b'{"prompt": "q", "chosen": "a", "rejected": "a"}',
            r"no record is left of .*tied\.jsonl: TRL preference, 0 comparisons taken, 1 dropped \(1 identical",
        ),
    ],
)
def test_a_file_that_holds_no_comparisons_is_an_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_comparisons(str(tmp_path / name))


@pytest.mark.parametrize("source", ["data.jsonl", "./data", "/nowhere/data", "a/b/c", "owner/data.parquet", ""])
def test_a_path_that_does_not_exist_is_no_dataset_name(source: str) -> None:
    with pytest.raises(DataError, match="there is no file"):
        read_comparisons(source)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "log-2.jsonl", ROWS[1])
    write(tmp_path / "log-1.json", ROWS[:1])
    write(tmp_path / "log-0.jsonl")
    write(tmp_path / ".hidden.jsonl", "{")
    write(tmp_path / "README.md", "text")
    assert read_comparisons(str(tmp_path))[0] == READ
    write(tmp_path / "log-3.jsonl", "{}")
    with pytest.raises(DataError, match=r"log-3\.jsonl, line 1: field 'chosen'"):
        read_comparisons(str(tmp_path))


def test_a_folder_in_the_layout_of_datasets_has_splits(tmp_path: Path) -> None:
    write_parquet(tmp_path / "repo" / "data" / "train-00000-of-00001.parquet", ROWS[:1])
    write_parquet(tmp_path / "repo" / "data" / "test-00000-of-00001.parquet", ROWS[1:])
    assert read_comparisons(str(tmp_path / "repo"))[0] == READ[:1]
    assert read_comparisons(str(tmp_path / "repo"), split="test")[0] == READ[1:]
    with pytest.raises(DataError, match="datasets cannot load the split 'dev'"):
        read_comparisons(str(tmp_path / "repo"), split="dev")


def test_a_dataset_saved_to_disk_is_read(tmp_path: Path) -> None:
    splits = {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[1:])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "both")
    splits["train"].save_to_disk(tmp_path / "one")
    assert read_comparisons(str(tmp_path / "both"), split="test")[0] == READ[1:]
    assert read_comparisons(str(tmp_path / "one"))[0] == READ
    with pytest.raises(DataError, match="cannot load the split 'dev'"):
        read_comparisons(str(tmp_path / "both"), split="dev")


def test_another_name_is_a_dataset_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, configuration: str | None, *, split: str) -> Any:
        if (name, configuration, split) != ("owner/data", "pairs", "test"):
            raise ValueError("Unknown split")
        return datasets.Dataset.from_list([*ROWS, {"prompt": "q", "chosen": "a"}])

    monkeypatch.setattr(datasets, "load_dataset", load)
    with pytest.raises(DataError, match="owner/data:pairs, test, row 3: field 'rejected': missing"):
        read_comparisons("owner/data:pairs", split="test")
    with pytest.raises(DataError, match="owner/data: datasets cannot load the split 'train': Unknown split"):
        read_comparisons("owner/data")


def test_token_ids_are_decoded(tmp_path: Path) -> None:
    row = {"query": [0], "sample0": [1], "sample1": [2], "sample2": [1], "sample3": [1], "best": 1}
    same = {**row, "sample1": [1]}
    source = write(tmp_path / "labels.json", json.dumps([row, same]))
    records, report = read_comparisons(source, tokenizer_decode=lambda ids: "qab"[ids[0]])
    assert records == [Comparison(user("q"), ("a", "b", "a", "a"), (1, 0, 1, 1))]
    assert report.dropped == {"identical responses": 1}
    with pytest.raises(DataError, match=r"labels\.json, row 1: field 'sample0': token ids need the tokenizer"):
        read_comparisons(source)


def test_reads_demonstrations(tmp_path: Path) -> None:
    source = write(tmp_path / "sft.jsonl", {"prompt": "q", "completion": "a"}, {"prompt": "r", "completion": "b"})
    records, report = read_demonstrations(source)
    assert records == [Demonstration(user("q"), "a"), Demonstration(user("r"), "b")]
    assert report.summary() == f"{source}: prompt and completion, 2 demonstrations taken"
    with pytest.raises(DataError, match="the format is TRL preference, which holds comparisons, not demonstrations"):
        read_demonstrations(write(tmp_path / "pairs.jsonl", *ROWS))


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": "r"}, {"prompt": "q"}, {"prompt": "r"}],
        [{"prompt": "r", "completion": "a"}, {"prompt": "q", "completion": "a"}, {"prompt": "r", "completion": "b"}],
        [{"prompt": "r", "chosen": "a", "rejected": text} for text in "ab"] + [{**ROWS[0], "prompt": "q"}],
    ],
)
def test_prompts_are_read_from_any_format_once_each(tmp_path: Path, rows: list[Any]) -> None:
    prompts, report = read_prompts(write(tmp_path / "data.jsonl", *rows))
    assert prompts == [user("r"), user("q")]
    assert (report.taken, report.dropped) == (2, {"repeated": 1})


def test_plain_text_has_no_prompt(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 prompts taken, 1 dropped"):
        read_prompts(write(tmp_path / "text.jsonl", {"text": "t"}))


def test_no_prompt_is_on_both_sides_of_hold_out() -> None:
    records = [Comparison(user(f"q{index // 3}"), (str(index), "b"), (0, 1)) for index in range(30)]
    train, held = hold_out(records, 0.25, seed=1)
    assert sorted([*train, *held], key=records.index) == records
    assert not {str(record.messages) for record in train} & {str(record.messages) for record in held}
    assert 0 < len(held) < 30
    assert (train, held) == hold_out(records, 0.25, seed=1)
    assert held != hold_out(records, 0.25, seed=2)[1]
    assert train[0].messages != records[0].messages or held != records[:6]


@pytest.mark.parametrize(("share", "held"), [(0.0, 1), (0.01, 1), (0.5, 1), (0.99, 2)])
def test_hold_out_leaves_a_prompt_on_both_sides(share: float, held: int) -> None:
    records = [Comparison(user(f"q{index}"), ("a", "b"), (0, 1)) for index in range(2 if share == 0.5 else 3)]
    assert len(hold_out(records, share, seed=0)[1]) == held


@given(st.sets(st.text(max_size=3), min_size=3, max_size=40), st.floats(0, 0.9), st.integers(0, 9), st.data())
def test_what_is_held_out_of_a_part_is_held_out_of_the_whole(
    prompts: set[str], share: float, seed: int, data: st.DataObject
) -> None:
    whole = [Comparison(user(text), ("a", "b"), (0, 1)) for text in sorted(prompts)]
    part = data.draw(st.lists(st.sampled_from(whole), min_size=2, unique_by=lambda record: str(record.messages)))
    left, held = ([record for record in side if record in part] for side in hold_out(whole, share, seed=seed))
    if left and held:  # otherwise one is moved
        assert hold_out(part, share, seed=seed) == (left, held)


def test_about_the_share_is_held_out() -> None:
    records = [Comparison(user(f"q{index}"), ("a", "b"), (0, 1)) for index in range(2000)]
    assert 60 < len(hold_out(records, 0.05, seed=0)[1]) < 140


def test_hold_out_needs_two_prompts_and_a_share() -> None:
    with pytest.raises(DataError, match="two prompts or more, and there is 1"):
        hold_out([READ[0], READ[0]], 0.5, seed=0)
    for share in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="share"):
            hold_out(READ, share, seed=0)


def test_a_line_that_a_killed_writer_left_is_dropped(tmp_path: Path) -> None:
    whole = json.dumps({"prompt": "q", "responses": ["a\u2028b", "c"], "ranks": [0, 1]}, ensure_ascii=False).encode()
    (tmp_path / "1.jsonl").write_bytes(b'{"prompt": "\xc3')
    (tmp_path / "2.jsonl").write_bytes(b"")
    (tmp_path / "3.jsonl").write_bytes(whole + b"\n" + whole[:20])
    records, report = read_comparisons(str(tmp_path))
    assert [record.responses for record in records] == [("a\u2028b", "c")]
    assert report.dropped == {"cut off at the end of its file": 2}


def test_of_a_logged_record_only_finished_responses_are_read(tmp_path: Path) -> None:
    logged = {"prompt": "q", "responses": ["a", "b", "c"], "scores": {"reward": [1, None, 2]}}
    rows = [{**logged, "states": states} for states in (["finished", "aborted", "finished"], ["failed"] * 3)]
    records, report = read_comparisons(write(tmp_path / "log.jsonl", *rows))
    assert [(record.responses, record.scores) for record in records] == [(("a", "c"), {"reward": (1.0, 2.0)})]
    assert report.dropped == {"without a finished response": 1}
