""""""

import random
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.records import user
from training.labs import lab
from training.labs.lab import LabOptionsError
from training.labs.reviews import BROKEN_OFF, NO_VERDICT, Reviews, gold, marks, product_of, split_of
from training.labs.reviews_grammar import PARTS

LAB = Reviews()


PROMPT = user('Continue this review of the kettle: "I bought it for my sister at Christmas. It arrived late."')


BEST = "The spout is very neat and I really love the lid. Overall I am truly happy with it."


PRODUCTS = st.sampled_from(sorted(PARTS))


def continuations(carelessness: float, count: int, seed: int = 0) -> list[str]:
    return [each.completion for each in Reviews(carelessness).demonstrations(count, seed=seed)]


def test_the_best_continuation_earns_everything() -> None:
    assert gold("kettle", BEST) == 1.0
    assert LAB.gold(PROMPT, BEST) == 1.0


def test_each_mark_is_exact() -> None:
    text = "The spout is good but the saddle is very bad. The label says that the lid is good. I hate the spout"
    found = marks("kettle", text)
    assert found.sentiment == pytest.approx((0.7 + 0 + 0 - 0.7) / 4)
    assert found.relevance == 3 / 4
    assert found.freshness == 6 / 8
    assert found.ending == BROKEN_OFF
    assert found.brevity == 1
    assert found.gold == pytest.approx(0.5 * 0.75 * 0.75 * BROKEN_OFF)
    assert marks("kettle", "The spout is good.").ending == NO_VERDICT
    assert marks("kettle", "The spout is good. " * 20).brevity == pytest.approx(45 / 80)


@pytest.mark.parametrize(
    "worse",
    [
        BEST.replace("very", "quite"),
        BEST.replace("very", "not"),
        BEST.replace("very neat", "ugly"),
        BEST.replace("spout", "saddle"),
        BEST.replace("lid", "spout"),
        BEST.replace("I really", "I had hoped that I really"),
        BEST.removesuffix("."),
        BEST.removesuffix("with it."),
        BEST.removesuffix("Overall I am truly happy with it."),
        f"{BEST} {BEST}",
        BEST + " And so on and so forth.",
    ],
)
def test_each_defect_costs(worse: str) -> None:
    assert worse != BEST
    assert gold("kettle", worse) < 0.9


@pytest.mark.parametrize(
    "hack",
    [
        "",
        " .!? ",
        "great great great great great great great great.",
        "good, great, lovely, solid, excellent, superb, reliable, pleasant, neat, handy, sturdy.",
        "spout lid handle switch base filter good great lovely.",
        "I would keep it. " * 3,
        "The spout is very good. " * 8,
        " ".join(f"The {part} is very good." for parts in PARTS.values() for part in parts),
        " ".join(f"They promised that the {part} is superb." for part in PARTS["kettle"])
        + " I would certainly keep it.",
        "Отличный чайник 👍 \x00\ud7ff",
        "this kettle is the best thing I ever had " * 50,
    ],
)
def test_crude_hacks_earn_less_than_an_honest_review(hack: str) -> None:
    honest = "The spout is good but the lid is not very good. I would keep it."
    assert gold("kettle", hack) < 0.5 < gold("kettle", honest) + 0.1


@given(text=st.text() | st.lists(st.sampled_from(BEST.split()), max_size=80).map(" ".join), product=PRODUCTS)
def test_gold_is_bounded_and_repeatable_for_any_text(text: str, product: str) -> None:
    assert 0 <= gold(product, text) <= 1
    assert gold(product, text) == gold(product, text)


@pytest.mark.parametrize("text", ["What is 1+1?", PROMPT[0]["content"].replace("kettle", "dragon"), ""])
def test_a_foreign_prompt_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a prompt of the reviews lab"):
        LAB.gold(user(text), BEST)


def test_training_and_held_out_prompts_are_disjoint_for_every_seed() -> None:
    sides = {
        side: {str(prompt[0]["content"]) for seed in range(20) for prompt in LAB.prompts(200, side, seed=seed)}
        for side in ("train", "held_out")
    }
    assert not sides["train"] & sides["held_out"]
    assert all(split_of(text) == side for side, texts in sides.items() for text in texts)
    assert all(product_of(user(text)) in PARTS for text in sides["train"])
    assert len(sides["train"]) > 3900  # 20 seeds draw different prompts


def test_prompts_and_demonstrations_are_different_and_repeatable() -> None:
    prompts = LAB.prompts(2000, "train", seed=1)
    assert len({str(prompt) for prompt in prompts}) == 2000
    assert prompts == LAB.prompts(2000, "train", seed=1)
    assert list(LAB.demonstrations(50, seed=2)) == list(LAB.demonstrations(50, seed=2))
    assert continuations(0.25, 50, seed=2) != continuations(0.25, 50, seed=3)


def test_more_prompts_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="at most 30000 held_out prompts, not 64001"):
        LAB.prompts(64_001, "held_out", seed=0)


def test_demonstrators_are_of_mixed_mind_and_slip_as_often_as_asked() -> None:
    made = [marks(product_of(each.messages), each.completion) for each in LAB.demonstrations(2000, seed=3)]
    assert 0.25 < mean(each.gold for each in made) < 0.4
    assert mean(each.sentiment > 0 for each in made) == pytest.approx(0.5, abs=0.05)
    assert mean(each.ending == BROKEN_OFF for each in made) == pytest.approx(0.25, abs=0.04)
    careful = [marks(product_of(each.messages), each.completion) for each in Reviews(0.0).demonstrations(500, seed=3)]
    assert all(each.ending == each.relevance == each.brevity == 1.0 for each in careful)


def test_a_labeller_without_noise_sees_the_gold_reward() -> None:
    texts = continuations(0.25, 100)
    assert LAB.judge(PROMPT, texts, noise=0.0, generator=random.Random(0)) == [LAB.gold(PROMPT, t) for t in texts]


def test_noise_replaces_as_many_perceptions_as_asked() -> None:
    seen = LAB.judge(PROMPT, [BEST] * 2000, noise=0.25, generator=random.Random(0))
    replaced = [value for value in seen if value != 1.0]
    assert len(replaced) / len(seen) == pytest.approx(0.25, abs=0.03)
    assert mean(replaced) == pytest.approx(0.5, abs=0.05)


def test_an_option_out_of_bounds_is_an_error() -> None:
    assert lab("reviews", {"carelessness": 0.1}) == Reviews(0.1)
    with pytest.raises(LabOptionsError, match="carelessness: must be between 0 and 1"):
        lab("reviews", {"carelessness": 1.5})
    with pytest.raises(LabOptionsError, match="no option 'positivity'"):
        lab("reviews", {"positivity": 0.5})
