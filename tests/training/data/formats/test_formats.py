import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.formats import COMPARISONS, DEMONSTRATIONS, native, recognise
from training.data.formats.checks import DataError, Dropped, Options
from training.data.records import Comparison, Conversation, Demonstration, dense_ranks, user

NAN = math.nan


def said(*turns: str) -> list[dict[str, str]]:
    """Messages of the user and the assistant by turns."""
    return [{"role": ("user", "assistant")[index % 2], "content": turn} for index, turn in enumerate(turns)]


def comparable(record: Any) -> Any:
    """The record with scores as texts, as nan is not equal to itself."""
    if not isinstance(record, Comparison):
        return record
    scores: Any = {name: tuple(map(str, values)) for name, values in record.scores.items()}
    return replace(record, scores=scores)


def read(row: Any, **options: Any) -> tuple[str, Any]:
    known: Any = recognise(row, COMPARISONS) or recognise(row, DEMONSTRATIONS)
    assert known is not None
    return known.name, known.parse(row, Options(**options))


REDDIT = {"id": "t3_2vwp1w", "post": "I had a car accident.", "title": "Dutch law?", "subreddit": "legaladvice"}
REDDIT_PROMPT = user("SUBREDDIT: r/legaladvice\n\nTITLE: Dutch law?\n\nPOST: I had a car accident.\n\nTL;DR:")
SUMMARIES = {
    "info": {**REDDIT, "site": None, "article": None},
    "summaries": [
        {"text": " first", "policy": "sup4", "note": None},
        {"text": " second", "policy": "ref", "note": "n"},
    ],
    "choice": 1,
    "worker": "w",
    "batch": "batch9",
    "split": "train",
    "extra": {"confidence": 8},
}
AXES = {
    "info": {"id": "167f", "site": "dailymail", "title": "Sissoko", "article": "He was sent off."},
    "split": "test",
    "summary": {
        "text": "Sent off.",
        "policy": "ref",
        "axes": {"overall": 3, "accuracy": 5, "coverage": None, "coherence": 2, "compatible": None},
    },
    "worker": "w",
    "batch": "cnndm1",
}
ULTRAFEEDBACK = {
    "source": "sharegpt",
    "instruction": "Name a river.",
    "models": ["a", "b", "c"],
    "completions": [
        {
            "response": "Nile",
            "overall_score": 6.5,
            "fine-grained_score": 3.5,
            "annotations": {
                "honesty": {"Rating": "4", "Rationale": "r"},
                "helpfulness": {"Rating": "5", "Type": ["1"]},
            },
        },
        {
            "response": "Oslo",
            "overall_score": 1,
            "annotations": {"honesty": {"Rating": "N/A", "Rationale": "r"}, "helpfulness": {"Rating": "1"}},
        },
        {"response": "Rhine", "overall_score": 6.5, "annotations": {"honesty": {"Rating": 5}, "helpfulness": None}},
    ],
}
HELPSTEER2 = {
    "prompt": "c#",
    "response": "A language.",
    "helpfulness": 3,
    "correctness": 4,
    "coherence": 4,
    "complexity": 2,
    "verbosity": 1,
}
HELPSTEER3 = {
    "domain": "general",
    "language": "english",
    "context": said("Hi", "Hello", "Bye"),
    "response1": "So long",
    "response2": "Go",
    "overall_preference": -2,
    "individual_preference": [{"score": -2, "reasoning": "r", "feedback1": "f", "feedback2": "f"}],
}
ZIEGLER = {"query": "It was", "sample0": " a", "sample1": " b", "sample2": " c", "sample3": " d", "best": 2}
BINARIZED = {
    "prompt": "Name a river.",
    "prompt_id": "0f",
    "chosen": said("Name a river.", "Nile"),
    "rejected": said("Name a river.", "Oslo"),
    "messages": said("Name a river.", "Nile"),
    "score_chosen": 8.5,
    "score_rejected": 2.0,
}
REWARD_BENCH = {
    "prompt": "2+2?",
    "chosen": "4",
    "chosen_model": "a",
    "rejected": "5",
    "rejected_model": "b",
    "subset": "math-prm",
    "id": 7,
}
REWARD_BENCH_2 = {
    "id": "tied:7",
    "prompt": "Name a colour of the rainbow.",
    "chosen": ["Red", "Blue"],
    "rejected": ["Pink"],
    "num_correct": 2,
    "total_completions": 3,
    "subset": "Ties",
}
RM_BENCH = {
    "id": "c1",
    "prompt": "Why?",
    "chosen": ["c0", "c1", "c2"],
    "rejected": ["r0", "r1", "r2"],
    "domain": "chat",
}
HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello:\nyou\n\nHuman: Bye\n\nAssistant: So long",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello:\nyou\n\nHuman: Bye\n\nAssistant:",
}

EXAMPLES: list[tuple[str, Any, Any]] = [
    (
        "bestofn",
        {
            "prompt": "q",
            "responses": ["a", "b", "c"],
            "ranks": [3, 1, 3],
            "scores": {"gold": [1, None, 0.5], "empty": None},
            "margin": 2,
            "weight": 0.5,
            "subset": "s",
            "request_id": "r",
        },
        Comparison(user("q"), ("a", "b", "c"), (1, 0, 1), {"gold": (1.0, NAN, 0.5)}, 2.0, 0.5, "s"),
    ),
    ("bestofn", {"prompt": said("q"), "responses": ["a"], "ranks": None}, Comparison(user("q"), ("a",))),
    ("Ziegler", ZIEGLER, Comparison(user("It was"), (" a", " b", " c", " d"), (1, 1, 0, 1))),
    ("summarize-from-feedback comparisons", SUMMARIES, Comparison(REDDIT_PROMPT, (" first", " second"), (1, 0))),
    (
        "summarize-from-feedback axes",
        {**AXES, "split": "train"},
        Comparison(
            user("Article:\nHe was sent off.\n\nTL;DR:"),
            ("Sent off.",),
            scores={"overall": (3.0,), "accuracy": (5.0,), "coverage": (NAN,), "coherence": (2.0,)},
        ),
    ),
    (
        "UltraFeedback",
        ULTRAFEEDBACK,
        Comparison(
            user("Name a river."),
            ("Nile", "Oslo", "Rhine"),
            (0, 1, 0),
            {"honesty": (4.0, NAN, 5.0), "helpfulness": (5.0, 1.0, NAN), "overall_score": (6.5, 1.0, 6.5)},
        ),
    ),
    (
        "HelpSteer preference",
        HELPSTEER3,
        Comparison(tuple(said("Hi", "Hello", "Bye")), ("So long", "Go"), (0, 1), {"preference": (2.0, 0.0)}),
    ),
    (
        "HelpSteer preference",
        {"split": "train", "prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 3},
        Comparison(user("q"), ("a", "b"), (1, 0), {"preference": (0.0, 3.0)}),
    ),
    (
        "RM-Bench",
        RM_BENCH,
        Comparison(user("Why?"), ("c0", "c1", "c2", "r0", "r1", "r2"), (0, 0, 0, 1, 1, 1), subset="chat"),
    ),
    (
        "RewardBench 2",
        REWARD_BENCH_2,
        Comparison(user(REWARD_BENCH_2["prompt"]), ("Red", "Blue", "Pink"), (0, 0, 1), subset="Ties/tied:7"),  # type: ignore[arg-type]
    ),
    (
        "RewardBench 2",
        {**REWARD_BENCH_2, "subset": "Math"},
        Comparison(user("Name a colour of the rainbow."), ("Red", "Blue", "Pink"), (0, 0, 1), subset="Math"),
    ),
    ("HH-RLHF", HH, Comparison(tuple(said("Hi", "Hello:\nyou", "Bye")), ("So long", ""), (0, 1))),
    (
        "ultrafeedback_binarized",
        BINARIZED,
        Comparison(user("Name a river."), ("Nile", "Oslo"), (0, 1), {"score": (8.5, 2.0)}),
    ),
    ("RewardBench", REWARD_BENCH, Comparison(user("2+2?"), ("4", "5"), (0, 1), subset="math-prm")),
    (
        "TRL preference",
        {"prompt": said("q"), "chosen": said("", "a")[1:], "rejected": "b", "margin": 0.5},
        Comparison(user("q"), ("a", "b"), (0, 1), margin=0.5),
    ),
    (
        "TRL preference",
        {"prompt": None, "chosen": said("q", "a"), "rejected": said("q", "b")},
        Comparison(user("q"), ("a", "b"), (0, 1)),
    ),
    (
        "TRL preference",
        {"prompt": said("q"), "chosen": said("q", "a"), "rejected": said("q", "b")},
        Comparison(user("q"), ("a", "b"), (0, 1)),
    ),
    (
        "TRL preference",
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        Comparison(user("The sky is"), (" blue.", " black."), (0, 1)),
    ),
    (
        "TRL preference",
        {"chosen": "Q: 1+1?\n\nA: 2", "rejected": "Q: 1+1?\n\nB"},
        Comparison(user("Q: 1+1?"), ("\n\nA: 2", "\n\nB"), (0, 1)),
    ),
    ("HelpSteer2", HELPSTEER2, {"helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 1}),
    (
        "TRL unpaired preference",
        {"prompt": said("q"), "completion": said("", "a")[1:], "label": False},
        Comparison(user("q"), ("a",), scores={"label": (0.0,)}),
    ),
    ("messages", {"messages": said("q", "a", "r", "b")}, Demonstration(tuple(said("q", "a", "r")), "b")),
    ("prompt and completion", {"prompt": "q", "completion": "a"}, Demonstration(user("q"), "a")),
    ("text", {"text": "Once"}, Demonstration((), "Once")),
]


@pytest.mark.parametrize(("name", "row", "record"), EXAMPLES)
def test_reads_a_row_of_every_format(name: str, row: Any, record: Any) -> None:
    if isinstance(record, dict):
        scores = {dimension: (float(value),) for dimension, value in record.items()}
        record = Comparison(user("c#"), ("A language.",), scores=scores)
    found_name, found = read(row)
    assert found_name == name
    assert comparable(found) == comparable(record)


def test_an_example_of_every_format_is_read() -> None:
    assert {name for name, _, _ in EXAMPLES} == {known.name for known in (*COMPARISONS, *DEMONSTRATIONS)}


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({**SUMMARIES, "chosen": "c", "rejected": "r", "query": "q"}, "summarize-from-feedback comparisons"),
        ({**HELPSTEER3, "chosen": "c", "rejected": "r"}, "HelpSteer preference"),
        ({**BINARIZED, "subset": "s"}, "ultrafeedback_binarized"),
        ({**ZIEGLER, "prompt": "q", "responses": ["a", "b"]}, "bestofn"),
        ({**HH, "prompt": "\n\nHuman: Hi"}, "TRL preference"),
        ({**RM_BENCH, "subset": "s"}, "RM-Bench"),
        ({"chosen": said("q", "a"), "rejected": said("q", "b"), "domain": "chat"}, "TRL preference"),
        ({**HELPSTEER2, "chosen": "c", "rejected": "r"}, "TRL preference"),
        ({"prompt": "q", "completion": "a", "label": True, "messages": said("q", "a")}, "TRL unpaired preference"),
        ({"messages": said("q", "a"), "prompt": "q", "completion": "a", "text": "t"}, "messages"),
    ],
)
def test_the_more_particular_format_is_recognised(row: Any, name: str) -> None:
    assert read(row)[0] == name


def test_a_labelled_completion_is_no_demonstration() -> None:
    assert recognise({"prompt": "q", "completion": "bad", "label": False}, DEMONSTRATIONS) is None


def test_token_ids_are_decoded() -> None:
    row = {"query": [1, 2], "sample0": [3], "sample1": [4], "sample2": [3], "sample3": [3], "best": 1}
    _, found = read(row, decode=lambda ids: "".join("?abcd"[token] for token in ids))
    assert found == Comparison(user("ab"), ("c", "d", "c", "c"), (1, 0, 1, 1))


def test_turns_of_a_helpsteer_prompt_are_messages() -> None:
    prompt = "Hi\n<extra_id_1>Assistant\nHello\nyou\n<extra_id_1>User\nBye"
    assert read({**HELPSTEER2, "prompt": prompt})[1].messages == tuple(said("Hi", "Hello\nyou", "Bye"))


def test_a_mark_after_the_last_assistant_turn_stays_in_the_response() -> None:
    row = {**HH, "chosen": HH["chosen"] + "\n\nHuman: more"}
    assert read(row)[1].responses == ("So long\n\nHuman: more", "")


def test_messages_keep_their_parts_and_tool_calls_and_lose_nulls() -> None:
    prompt = [
        {"role": "user", "content": [{"type": "text", "text": "q"}, "r"], "name": None},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    ]
    messages: Conversation = read({"prompt": prompt, "responses": ["a"]})[1].messages
    assert messages == (
        {"role": "user", "content": [{"type": "text", "text": "q"}, "r"]},
        {"role": "assistant", "tool_calls": [{"id": "1"}]},
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**SUMMARIES, "split": "valid2"}, "of another split"),
        ({**AXES}, "of another split"),
        ({**AXES, "split": "train", "summary": {"text": "s", "axes": {"overall": None}}}, "without a score"),
        ({**HELPSTEER2, **dict.fromkeys(list(HELPSTEER2)[2:])}, "without a score"),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "split": "val"}, "of another split"),
        ({**ULTRAFEEDBACK, "completions": []}, "without a response"),
        ({**HH, "chosen": "\n\nHuman: Other\n\nAssistant: a"}, "of two prompts"),
        ({"chosen": said("q", "a"), "rejected": said("r", "b")}, "of two prompts"),
    ],
)
def test_what_holds_nothing_to_learn_is_dropped(row: Any, reason: str) -> None:
    assert read(row)[1] == Dropped(reason)


@pytest.mark.parametrize(
    ("named", "split", "taken"),
    [
        ("valid1", "validation", True),
        ("val", "validation", True),
        ("valid1", "valid1", True),
        ("valid1", "valid2", False),
        ("test", "all", True),
        ("train", "train[:10%]+test", True),
        ("valid1", "train+test", False),
        (None, "test", True),
    ],
)
def test_split(named: str | None, split: str, taken: bool) -> None:
    assert isinstance(read({**SUMMARIES, "split": named}, split=split)[1], Comparison if taken else Dropped)


@pytest.mark.parametrize(
    ("row", "ranks"),
    [
        ({**SUMMARIES, "choice": None}, (0, 0)),
        ({**HELPSTEER3, "overall_preference": 0}, (0, 0)),
        ({**BINARIZED, "score_rejected": 8.5}, (0, 0)),
        ({**BINARIZED, "score_rejected": None}, (0, 1)),
        ({**BINARIZED, "score_rejected": NAN, "score_chosen": NAN}, (0, 1)),
    ],
)
def test_ties(row: Any, ranks: tuple[int, int]) -> None:
    assert read(row)[1].ranks == ranks


def with_completion(**changes: Any) -> Any:
    first, *others = ULTRAFEEDBACK["completions"]
    return {**ULTRAFEEDBACK, "completions": [{**first, **changes}, *others]}  # type: ignore[dict-item]


NATIVE = {"prompt": "q", "responses": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**NATIVE, "prompt": 3}, "field 'prompt': expected text or a list of messages, got 3"),
        ({**NATIVE, "prompt": []}, "field 'prompt': expected text or a list of messages, got []"),
        ({**NATIVE, "prompt": None}, "field 'prompt': missing"),
        ({**NATIVE, "prompt": ["q"]}, "field 'prompt[0]': expected an object, got 'q'"),
        ({**NATIVE, "prompt": [{"content": "q"}]}, "field 'prompt[0].role': missing"),
        ({**NATIVE, "prompt": [{"role": "user"}]}, "field 'prompt[0].content': missing"),
        ({**NATIVE, "prompt": [{"role": "user", "content": 3}]}, "field 'prompt[0].content': expected text, got 3"),
        (
            {**NATIVE, "prompt": [{"role": "user", "content": [3]}]},
            "field 'prompt[0].content[0]': expected text or a part",
        ),
        ({**NATIVE, "prompt": "a\ud83d"}, "field 'prompt': character 1 is half of a surrogate pair"),
        ({**NATIVE, "responses": "a"}, "field 'responses': expected a list of texts, got 'a'"),
        ({**NATIVE, "responses": []}, "field 'responses': expected a list of texts, got []"),
        ({**NATIVE, "responses": ["a", 1]}, "field 'responses[1]': expected text, got 1"),
        ({**NATIVE, "ranks": [0]}, "field 'ranks': 1 for 2 responses"),
        ({**NATIVE, "ranks": [0, 0.5]}, "field 'ranks[1]': expected a whole number from 0 to 1000000, got 0.5"),
        ({**NATIVE, "ranks": [True, 0]}, "field 'ranks[0]': expected a whole number"),
        ({**NATIVE, "scores": [1, 2]}, "field 'scores': expected an object, got [1, 2]"),
        ({**NATIVE, "scores": {"gold": [1]}}, "field 'scores.gold': 1 for 2 responses"),
        ({**NATIVE, "scores": {"gold": [1, True]}}, "field 'scores.gold[1]': expected a number, got True"),
        ({**NATIVE, "margin": "big"}, "field 'margin': expected a number, got 'big'"),
        ({**NATIVE, "margin": math.inf}, "field 'margin': expected a number, got inf"),
        ({**NATIVE, "weight": 0}, "field 'weight': expected a number above 0, got 0"),
        ({**NATIVE, "subset": 3}, "field 'subset': expected text, got 3"),
        ({**ZIEGLER, "best": 4}, "field 'best': expected a whole number from 0 to 3, got 4"),
        ({**ZIEGLER, "best": None}, "field 'best': missing"),
        ({**ZIEGLER, "sample2": None}, "field 'sample2': missing"),
        ({**ZIEGLER, "sample2": [1]}, "field 'sample2': token ids need the tokenizer that made them"),
        ({**ZIEGLER, "sample2": ["a"]}, "field 'sample2[0]': expected a whole number"),
        ({**SUMMARIES, "choice": 2}, "field 'choice': expected a whole number from 0 to 1, got 2"),
        ({**SUMMARIES, "summaries": [{"text": 3}]}, "field 'summaries[0].text': expected text, got 3"),
        ({**SUMMARIES, "info": {"post": "p"}}, "field 'info.title': missing"),
        ({**SUMMARIES, "info": {}}, "field 'info.article': missing"),
        ({**SUMMARIES, "split": 3}, "field 'split': expected text, got 3"),
        ({**AXES, "split": None, "summary": {"text": "s"}}, "field 'summary.axes': missing"),
        (
            {**AXES, "split": None, "summary": {"text": "s", "axes": {"accuracy": "5"}}},
            "field 'summary.axes.accuracy': expected a number, got '5'",
        ),
        (with_completion(response=None), "field 'completions[0].response': missing"),
        (with_completion(overall_score="7"), "field 'completions[0].overall_score': expected a number, got '7'"),
        (
            with_completion(annotations={"honesty": {"Rating": "good"}}),
            "field 'completions[0].annotations.honesty.Rating': expected a number or 'N/A', got 'good'",
        ),
        ({**HELPSTEER2, "helpfulness": "3"}, "field 'helpfulness': expected a number, got '3'"),
        (
            {**HELPSTEER3, "overall_preference": 4},
            "field 'overall_preference': expected a whole number from -3 to 3, got 4",
        ),
        ({**HELPSTEER3, "response2": None}, "field 'response2': missing"),
        ({**REWARD_BENCH_2, "rejected": []}, "field 'rejected': expected a list of texts, got []"),
        ({**REWARD_BENCH_2, "id": None}, "field 'id': missing"),
        ({**RM_BENCH, "rejected": ["r"]}, "field 'rejected': expected 3 responses, one in each style, got 1"),
        ({**HH, "rejected": "\n\nHuman: Hi"}, "field 'rejected': expected turns marked"),
        ({"chosen": "ab", "rejected": "ac"}, "field 'prompt': missing, and 'chosen' and 'rejected' do not start"),
        ({"chosen": said("q", "a"), "rejected": "b"}, "field 'chosen': expected text, got"),
        ({"chosen": said("q"), "rejected": said("q")}, "field 'chosen': expected the messages of the prompt and"),
        (
            {"prompt": said("p"), "chosen": said("q", "a"), "rejected": said("q", "b")},
            "field 'chosen': expected the messages of the prompt and an assistant message",
        ),
        (
            {"chosen": said("q", "a", "r"), "rejected": said("q", "a", "s")},
            "field 'chosen[2].role': expected an assistant message, got 'user'",
        ),
        (
            {"prompt": "q", "chosen": said("a"), "rejected": "b"},
            "field 'chosen[0].role': expected an assistant message, got 'user'",
        ),
        (
            {"prompt": "q", "chosen": 3, "rejected": "b"},
            "field 'chosen': expected text or one assistant message, got 3",
        ),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "margin": True},
            "field 'margin': expected a number, got True",
        ),
        ({**BINARIZED, "score_chosen": "8"}, "field 'score_chosen': expected a number, got '8'"),
        ({"prompt": "q", "completion": "a", "label": 0.5}, "field 'label': expected true or false, got 0.5"),
        ({"prompt": "q", "completion": said("q", "a")}, "field 'completion': expected text or one assistant message"),
        ({"messages": said("q")}, "field 'messages[0].role': expected an assistant message, got 'user'"),
    ],
)
def test_an_error_names_the_field_and_what_was_expected(row: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        read(row)
    assert str(raised.value).startswith(message)


def test_a_long_value_is_shortened_in_an_error() -> None:
    with pytest.raises(DataError) as raised:
        read({**NATIVE, "margin": "big " * 1000})
    assert len(str(raised.value)) < 200


texts = st.text(max_size=8)
numbers = st.floats(allow_infinity=False, width=32)
plain_messages = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts})


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    responses = tuple(draw(st.lists(texts, min_size=1, max_size=4)))
    per_response = st.tuples(*[numbers] * len(responses))
    ranks = dense_ranks(draw(st.tuples(*[st.integers(0, 3)] * len(responses)))) if draw(st.booleans()) else ()
    return Comparison(
        tuple(draw(st.lists(plain_messages, min_size=1, max_size=3))),
        responses,
        ranks=ranks,
        scores=draw(st.dictionaries(texts, per_response, max_size=2)),
        margin=draw(numbers.filter(math.isfinite)),
        weight=draw(st.floats(0, exclude_min=True, allow_infinity=False)),
        subset=draw(texts),
    )


@given(comparisons())
def test_our_own_rows_come_back_as_they_were(comparison: Comparison) -> None:
    line = json.dumps(native.to_row(comparison), allow_nan=False)
    known = recognise(json.loads(line), COMPARISONS)
    assert known is not None
    assert known.name == "bestofn"
    assert comparable(known.parse(json.loads(line), Options())) == comparable(comparison)


def test_our_own_rows_leave_out_what_has_its_default_value() -> None:
    assert native.to_row(Comparison(user("q"), ("a",))) == {"prompt": "q", "responses": ["a"]}
