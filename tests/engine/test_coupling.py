"""What we rely on in vLLM that only running engines show; `service.vllm.coupling.RUNNING` says what each is for."""

import json
import os
import subprocess
import sys
from typing import Any

import psutil
import pytest
from vllm.platforms import current_platform

from reward.torch_scorer import TorchScorer
from service.rerank.request import GENERATING
from tests.server import Server
from training.labs import checkpoint

pytestmark = pytest.mark.engine
SYSTEM: Any = {"role": "system", "content": "Show your steps."}
# POSTs that vLLM's application answers without generating.
HARMLESS = {
    "/tokenize",
    "/detokenize",
    "/v1/messages/count_tokens",
    "/v1/responses/{response_id}/cancel",
    "/ping",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
}
# Those of models that hear, and of servers with the option for it.
NOT_HERE = {"/v1/audio/transcriptions", "/v1/audio/translations", "/inference/v1/generate", "/cohere/v2/chat"}
QUESTION: Any = {"role": "user", "content": "What is 35+21+81?"}


def test_routes(server: Server) -> None:
    """A route that is new here, and generates, belongs into `service.rerank.request`."""
    paths = json.loads(server.get("/openapi.json")[1])["paths"]
    posts = {path for path, methods in paths.items() if "post" in methods}
    assert posts - GENERATING == HARMLESS
    assert GENERATING - posts == NOT_HERE


@pytest.mark.parametrize("started", [[], [{"role": "assistant", "content": "35+21="}]], ids=["whole", "continued"])
async def test_conversations(server: Server, started: list[Any]) -> None:
    """The reward is that of the conversation as it was sent, so the renderer handed it on."""
    body = {"model": "arithmetic", "messages": [SYSTEM, QUESTION, *started], "max_tokens": 40, "temperature": 0}
    if started:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    status, answer = server.post("/v1/chat/completions", body | {"rerank": {}})
    assert status == 200, answer
    scorer = TorchScorer(checkpoint("arithmetic-reward"), device="cpu")
    text = "".join(message["content"] for message in started) + answer["choices"][0]["message"]["content"]
    expected = await scorer.score(scorer.template.prompt([SYSTEM, QUESTION]), text)
    without = await scorer.score(scorer.template.prompt([QUESTION]), text)
    await scorer.close()
    assert answer["rerank"]["reward"] == pytest.approx(expected.reward, abs=1e-3)
    assert expected.reward != pytest.approx(without.reward, abs=1e-2)


@pytest.mark.skipif(not current_platform.is_cpu(), reason="engines are bound to cores on a CPU only")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two engines need two cores to part")
def test_core_binding(server: Server) -> None:
    cores = sorted(os.sched_getaffinity(0))
    halves = set(cores[: len(cores) // 2]), set(cores[len(cores) // 2 :])
    for pid, half in zip(server.engine_pids(), halves, strict=True):
        threads = [thread.id for worker in psutil.Process(pid).children() for thread in worker.threads()]
        bound = {core for thread in threads for core in os.sched_getaffinity(thread)}
        assert bound, "an engine has no workers"
        assert bound <= half


def test_new_weights() -> None:
    """In a process of its own, because the engine lives in the process that samples."""
    script = (
        "import json; from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "from training.labs import arithmetic, checkpoint\n"
        "from training.policy.rollout import VLLMSampler, prompt_tokens\n"
        "tokenizer = AutoTokenizer.from_pretrained(checkpoint('arithmetic-sft'))\n"
        "asked = [prompt_tokens(tokenizer, q.messages) for q in arithmetic.questions(32, 'held_out', seed=0)]\n"
        "def draw(engine): return engine.generate(asked, max_tokens=64, seed=1, temperature=1.0)\n"
        "engine = VLLMSampler(checkpoint('arithmetic-sft')); answers = [draw(engine)]\n"
        "for name in ('arithmetic-ppo', 'arithmetic-sft'):\n"
        "    model = AutoModelForCausalLM.from_pretrained(checkpoint(name))\n"
        "    engine.load_weights(model.state_dict().items()); answers.append(draw(engine))\n"
        "engine.close(); print(json.dumps(answers))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    before, other, again = json.loads(done.stdout.splitlines()[-1])
    assert before == again != other
