"""What `collect` and `label` rely on: that what may pass is asked again, and that errors are one line."""

import asyncio

import pytest
from openai import BadRequestError

from tests.training.openai_endpoint import completion, refusal, serving
from training.samples.endpoint import connect, first_model, for_each, in_one_line


async def test_a_request_that_does_not_get_through_is_sent_again() -> None:
    statuses = iter([503, 200, 400])
    with serving(lambda body: (status := next(statuses), completion("x") if status == 200 else refusal("no"))) as there:
        async with connect(there.url, "") as client:
            assert await first_model(client) == "m"
            done = await client.chat.completions.create(model="m", messages=[])
            assert done.choices[0].message.content == "x"
            with pytest.raises(BadRequestError) as caught:
                await client.chat.completions.create(model="m", messages=[])
    assert in_one_line(caught.value) == "BadRequestError: no"
    assert len(there.requests) == 3


async def test_no_more_than_so_many_are_worked_on_at_once() -> None:
    working, most = set[int](), 0

    async def work(item: int) -> None:
        nonlocal most
        working.add(item)
        most = max(most, len(working))
        await asyncio.sleep(0.01)
        working.remove(item)

    await for_each(range(7), work, at_once=3)
    assert most == 3
