from itertools import cycle, islice

from measuring.client import connect
from measuring.questions import ask, ask_arriving, bodies
from tests.training.openai_endpoint import completion, serving
from training.labs import lab

ARITHMETIC = lab("arithmetic")
PROMPTS = ARITHMETIC.prompts(3, "held_out", seed=4)


def test_no_two_candidates_share_a_seed() -> None:
    asked = list(bodies(PROMPTS, {"best_of": 8, "max_tokens": 5}, seed=7))
    assert [body["seed"] for body in asked] == [7, 1007, 2007]
    assert [body["messages"] for body in asked] == [list(prompt) for prompt in PROMPTS]
    assert all((body["best_of"], body["max_tokens"]) == (8, 5) for body in asked)


def test_questions_without_a_seed_can_go_on_for_ever() -> None:
    asked = list(islice(bodies(cycle(PROMPTS), {"model": "m"}), 4))
    assert asked[3] == asked[0] == {"messages": list(PROMPTS[0]), "model": "m"}


async def test_answers_of_a_closed_loop_stand_in_the_order_of_the_prompts() -> None:
    with serving(lambda body: (200, completion(body["messages"][0]["content"]))) as there:
        async with connect(there.url, clients=2) as client:
            load = await ask(client, PROMPTS, {}, 2, seed=0)
    assert [answer.text for answer in load.answers] == [prompt[0]["content"] for prompt in PROMPTS]


async def test_arriving_questions_come_back_with_their_answers() -> None:
    with serving(lambda body: (200, completion(body["messages"][0]["content"]))) as there:
        async with connect(there.url, clients=20) as client:
            asked = await ask_arriving(client, ARITHMETIC, {"best_of": 2}, 20.0, 0.4, seed=1)
            again = await ask_arriving(client, ARITHMETIC, {"best_of": 2}, 20.0, 0.4, seed=1)
    assert asked
    assert all(answer.text == prompt[0]["content"] for answer, prompt in asked)
    assert [prompt for _, prompt in asked] == [prompt for _, prompt in again]
    assert {body["best_of"] for body in there.requests} == {2}
