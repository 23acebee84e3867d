"""The page's files: who may have them, and what they may do in a browser."""

from pathlib import Path

import pytest
from starlette.applications import Starlette

import service.page.routes
from service.page.routes import page_routes
from tests.service.fakes import Reply, call

FILES = {path.name: path.read_bytes() for path in Path(service.page.routes.__file__).with_name("static").iterdir()}


async def get(path: str) -> Reply:
    return await call(Starlette(routes=page_routes()), path=path, method="GET")


async def test_the_page_is_html_that_may_reach_nothing_but_its_server() -> None:
    reply = await get("/")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served_with_the_same_headers(name: str) -> None:
    reply = await get(f"/page/{name}")
    assert (reply.status, reply.body) == (200, FILES[name])
    assert reply.headers["content-security-policy"] == (await get("/")).headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/page/nothing.js", "/page/../web.py", "/page/%2e%2e/web.py", "/page/"])
async def test_nothing_else_is_served(path: str) -> None:
    assert (await get(path)).status == 404


@pytest.mark.parametrize("name", FILES)
def test_no_file_names_another_host_or_makes_html_of_text(name: str) -> None:
    text = FILES[name].decode().replace("http://www.w3.org/2000/svg", "")
    assert not [word for word in ("http:", "https:", "innerHTML", "insertAdjacentHTML", "eval(") if word in text]
