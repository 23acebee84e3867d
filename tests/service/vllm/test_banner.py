"""What a person reads first: the address, and a command that can be pasted."""

import json
import shlex
from argparse import Namespace

import pytest

from service.vllm.banner import banner
from tests.service.fakes import CHAT


def shown(address: str, *, names: list[str] | None = None, uds: str | None = None, guarded: bool = False) -> str:
    return banner(address, Namespace(model="org/policy", served_model_name=names, uds=uds), guarded=guarded)


def pasted(text: str) -> list[str]:
    return shlex.split(text[text.index("curl") :].replace("\\\n", " "))


@pytest.mark.parametrize(("names", "name"), [(None, "org/policy"), (["small", "other"], "small")])
@pytest.mark.parametrize("guarded", [False, True])
def test_the_banner_shows_a_command_that_can_be_pasted(names: list[str] | None, name: str, guarded: bool) -> None:
    text = shown("http://0.0.0.0:8000", names=names, guarded=guarded)
    assert f"bestofn serves {name} at http://127.0.0.1:8000 " in text
    command = pasted(text)
    assert command[1] == f"http://127.0.0.1:8000{CHAT}"
    assert ("Authorization: Bearer $API_KEY" in command) is guarded
    body = json.loads(command[command.index("-d") + 1])
    assert (body["model"], body["best_of"], len(body["messages"])) == (name, 8, 1)


@pytest.mark.parametrize("path", ["/run/bestofn.sock", "/run/best of n.sock"])
def test_the_banner_of_a_unix_socket_has_curl_use_it(path: str) -> None:
    text = shown(f"unix:{path}", uds=path)
    assert pasted(text)[1:4] == ["--unix-socket", path, f"http://localhost{CHAT}"]
    assert f"at {path} " in text
