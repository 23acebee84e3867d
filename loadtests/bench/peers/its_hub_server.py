"""its_hub's own HTTP server with its own best-of-n: run by the python of its environment, for `bench_peers`.

its_hub 1.2.0 has best-of-n as a class; `/configure` of its server offers self-consistency only. So the server's gateway
is given the class here, with a reward model that asks vLLM's pooling server: one request with the distinct answers to
one question, rendered with the reward model's own chat template. Without `--reward-url` every answer is worth the same
and nothing is asked, which leaves the cost of the gateway alone.
"""

import argparse
from pathlib import Path
from typing import Any

import aiohttp
import jinja2
import uvicorn
from its_hub import BestOfN  # type: ignore[import-not-found]
from its_hub.api import AbstractOutcomeRewardModel  # type: ignore[import-not-found]
from its_hub.core.gateway import ITSGateway  # type: ignore[import-not-found]
from its_hub.core.orchestrator import LMOrchestrator  # type: ignore[import-not-found]
from its_hub.integration.iaas import app as service  # type: ignore[import-not-found]


class NoReward(AbstractOutcomeRewardModel):  # type: ignore[misc]
    """Costs nothing and knows nothing."""

    def score(self, messages: Any, **_: Any) -> list[float]:
        return [0.0 for _ in messages]

    async def ascore(self, messages: Any, **_: Any) -> list[float]:
        return self.score(messages)


class PooledReward(NoReward):
    """Raw scores from `/classify` of a vLLM server."""

    def __init__(self, url: str, model: Path) -> None:
        self._url = f"{url}/classify"
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string((model / "chat_template.jinja").read_text(encoding="utf-8"))
        self._session: aiohttp.ClientSession | None = None

    async def ascore(self, messages: Any, **_: Any) -> list[float]:
        """One score for each of the conversations. Raises aiohttp.ClientResponseError where the server fails."""
        self._session = self._session or aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        texts = [self._template.render(messages=[message.to_dict() for message in one]) for one in messages]
        body = {"input": texts, "use_activation": False, "add_special_tokens": False}
        async with self._session.post(self._url, json=body, raise_for_status=True) as answer:
            data = (await answer.json())["data"]
        return [float(item["probs"][0]) for item in sorted(data, key=lambda item: item["index"])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--vllm-url", required=True, help="the generator's server, without /v1")
    parser.add_argument("--model", required=True, help="as the generator's server calls it")
    parser.add_argument("--reward-url", help="the reward model's vLLM server; without it no answer is scored")
    parser.add_argument("--reward-model", type=Path, help="its folder, for the chat template")
    parser.add_argument("--max-concurrency", type=int, default=-1, help="its_hub's limit of calls; -1: none")
    options = parser.parse_args()
    orchestrator = LMOrchestrator(max_concurrency=options.max_concurrency)
    reward = PooledReward(options.reward_url, options.reward_model) if options.reward_url else NoReward()
    service._state.gateway = ITSGateway(BestOfN(reward, orchestrator), orchestrator)
    service._state.config.endpoint = f"{options.vllm_url}/v1"
    service._state.config.model = options.model
    uvicorn.run(service.http.app, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
