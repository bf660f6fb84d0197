"""The two README files that the project began with: all of their code runs, to the letter.

`tests/seeds/` has copies, byte for byte. Nothing is changed in a block but the address of the upstream; and in the
two blocks that are signatures rather than code, the brackets around what is optional, as in `[ssl]`, are taken off.
"""

from __future__ import annotations

import ast
import asyncio
import gzip
import hashlib
import inspect
import json
import re
from pathlib import Path
from types import CodeType

import pytest

import httpcore
from tests.content import blocks, sha256
from tests.raw_client import fetch
from tests.servers import LARGE, Nginx, UvicornServer

_FOLDER = Path(__file__).parent / "seeds"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_OPTIONAL = re.compile(r"\[(\w+)\]")


def _blocks(language: str) -> list[tuple[str, str]]:
    # newline="" reads the line ends as they are
    return [
        (path.stem, code)
        for path in sorted(_FOLDER.glob("*.md"))
        for kind, code in _BLOCK.findall(path.read_bytes().decode())
        if kind == language
    ]


_GATEWAYS = {seed: code for seed, code in _blocks("python") if "class GatewayServer" in code}
_SIGNATURES = [(seed, code) for seed, code in _blocks("python") if _OPTIONAL.search(code)]
_SNIPPETS = [
    (seed, code) for seed, code in _blocks("python") if "class GatewayServer" not in code and not _OPTIONAL.search(code)
]


def test_every_block_of_both_seeds_is_run_by_a_test_below():
    assert [path.name for path in sorted(_FOLDER.iterdir())] == ["readme-earlier.md", "readme-later.md"]
    assert list(_GATEWAYS) == ["readme-earlier", "readme-later"]
    assert len(_SIGNATURES) == 4
    assert len(_SNIPPETS) == 4
    assert len(_blocks("python")) == 10
    assert [code for _, code in _blocks("shell")] == ["uvicorn example:app\n"] * 2


async def _run(code: str, names: dict[str, object]) -> None:
    """Runs a block as the interactive interpreter would, with `await` outside of functions."""
    # A block may begin with what the one before it has left behind.
    compiled = compile(code, "<seed>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(compiled, CodeType)
    namespace: dict[str, object] = {"httpcore": httpcore, **names}
    try:
        result = eval(compiled, namespace)
        if inspect.isawaitable(result):
            await result
    finally:
        http = namespace["http"]
        assert isinstance(http, httpcore.ConnectionPool)
        await http.close()
    response = namespace["response"]
    assert isinstance(response, httpcore.Response)
    assert response.status_code == 200
    assert (namespace["part"] if "async for" in code else await response.read()) == b"Hello, world"


@pytest.mark.parametrize(("seed", "code"), _SNIPPETS)
async def test_snippet_runs_to_the_letter(seed: str, code: str, nginx: Nginx):
    assert ("http://example.com" in code) != ("method, url" in code)
    await _run(code.replace("http://example.com", nginx.url), {"method": "GET", "url": nginx.url})


@pytest.mark.parametrize(("seed", "code"), _SIGNATURES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("given", [False, True], ids=["defaults", "given"])
async def test_signature_takes_its_arguments_in_the_order_shown(
    seed: str, code: str, stream: bool, given: bool, nginx: Nginx
):
    # The brackets mark what may be left out; with them the call would pass lists.
    text = _OPTIONAL.sub(r"\1", code)
    names: dict[str, object] = {"method": "GET", "url": nginx.url, "stream": stream}
    names |= {"ssl": None, "timeout": None, "limits": None, "headers": (), "body": b""}
    if given:
        names["ssl"] = httpcore.SSLConfig(cert=None, verify=True)
        names["timeout"] = httpcore.TimeoutConfig(5.0)
        names["limits"] = httpcore.PoolLimits(soft_limit=10, hard_limit=100)
        names["headers"] = [(b"accept", b"text/plain")]
        names["body"] = b"some content"
    await _run(text, names)


@pytest.fixture(scope="module", params=["httptools", "h11"])
def http_implementation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=list(_GATEWAYS))
def gateway(
    request: pytest.FixtureRequest,
    http_implementation: str,
    nginx: Nginx,
    uvicorn_server: UvicornServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The URL of a gateway of the seeds, in front of nginx: `uvicorn example:app`, as they say."""
    folder = tmp_path_factory.mktemp("example")
    code = _GATEWAYS[request.param]
    assert code.count("http://example.org") == 1
    (folder / "example.py").write_bytes(code.replace("http://example.org", nginx.url).encode())
    # One of the two on whatever loop uvicorn chooses, which is uvloop where that is installed.
    loop = ["--loop", "asyncio"] if http_implementation == "h11" else []
    return uvicorn_server("example:app", *loop, app_dir=folder, http=http_implementation)


async def test_gateway_relays_a_large_download(gateway: str):
    digest, size = hashlib.sha256(), 0
    async with (
        httpcore.ConnectionPool() as http,
        await http.request("GET", gateway + "/large.bin", stream=True) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-length"] == str(LARGE)
        async for part in response.stream():
            digest.update(part)
            size += len(part)
    assert size == LARGE
    assert digest.hexdigest() == sha256(LARGE)


@pytest.mark.parametrize("headers", [{}, {"content-length": str(LARGE)}], ids=["chunked", "with its length"])
async def test_gateway_relays_a_large_upload(gateway: str, headers: dict[str, str]):
    async with httpcore.ConnectionPool() as http:
        response = await http.request("POST", gateway + "/app/upload", headers, lambda: blocks(LARGE))
    report = json.loads(response.body)
    assert report["method"] == "POST"
    assert report["size"] == LARGE
    assert report["sha256"] == sha256(LARGE)


@pytest.mark.parametrize("path", ["/data.json", "/app/gzip"])
async def test_gateway_leaves_gzip_alone_for_a_client_that_accepts_it(gateway: str, nginx: Nginx, path: str):
    accept = [("accept-encoding", "gzip")]
    direct = await fetch(nginx.url + path, headers=accept)
    through = await fetch(gateway + path, headers=accept)
    assert direct.field(b"content-encoding") == through.field(b"content-encoding") == b"gzip"
    assert through.body == direct.body
    assert gzip.decompress(through.body) == (await fetch(nginx.url + path)).body


@pytest.mark.parametrize("path", ["/data.json", "/app/gzip"])
async def test_gateway_gives_plain_content_to_a_client_that_accepts_no_coding(gateway: str, nginx: Nginx, path: str):
    direct = await fetch(nginx.url + path)
    through = await fetch(gateway + path)
    assert direct.field(b"content-encoding") is through.field(b"content-encoding") is None
    assert through.body == direct.body


async def test_gateway_relays_content_that_the_upstream_codes_unasked(gateway: str, nginx: Nginx):
    direct = await fetch(nginx.url + "/app/gzip/always")
    through = await fetch(gateway + "/app/gzip/always")
    # The later one reads stream(), which decodes what nobody asked to be coded; the earlier one reads raw().
    assert through.body in (direct.body, gzip.decompress(direct.body))
    assert through.field(b"content-length") in (None, b"%d" % len(through.body))


async def test_gateway_client_of_ours_gets_decoded_content(gateway: str, nginx: Nginx):
    async with httpcore.ConnectionPool() as http:
        response = await http.request("GET", gateway + "/data.json")
    assert response.body == (nginx.root / "data.json").read_bytes()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
async def test_gateway_adds_no_framing_to_a_request_without_a_body(gateway: str, method: str):
    if method == "HEAD":
        response = await fetch(gateway + "/framing", "HEAD")
        assert (response.status_code, response.body) == (200, b"")
    else:
        response = await fetch(gateway + "/framing", method)
        assert response.body == b"transfer-encoding: , content-length: "


async def test_gateway_relays_a_request_body_with_its_length(gateway: str):
    response = await fetch(gateway + "/app/upload", "POST", body=b"some content")
    report = json.loads(response.body)
    assert (report["size"], report["sha256"]) == (12, hashlib.sha256(b"some content").hexdigest())


async def test_gateway_relays_a_chunked_request_body(gateway: str):
    parts = [b"some ", b"content ", b"in ", b"chunks"]
    response = await fetch(gateway + "/app/upload", "PUT", body=parts)
    report = json.loads(response.body)
    assert report["method"] == "PUT"
    assert (report["size"], report["sha256"]) == (22, hashlib.sha256(b"".join(parts)).hexdigest())


async def test_gateway_relays_a_request_body_with_get(gateway: str):
    response = await fetch(gateway + "/app/upload", body=b"a query")
    assert json.loads(response.body)["size"] == 7


async def test_gateway_relays_the_answer_to_head(gateway: str, nginx: Nginx):
    response = await fetch(gateway + "/hello.txt", "HEAD")
    assert (response.status_code, response.body) == (200, b"")
    assert response.field(b"content-length") == b"13"


@pytest.mark.parametrize("status", [204, 304])
async def test_gateway_relays_a_response_without_content(gateway: str, status: int):
    response = await fetch(f"{gateway}/status/{status}")
    assert (response.status_code, response.body) == (status, b"")


async def test_gateway_relays_an_error_of_the_upstream(gateway: str, nginx: Nginx):
    direct = await fetch(nginx.url + "/missing")
    through = await fetch(gateway + "/missing")
    assert through.status_code == direct.status_code == 404
    assert through.body == direct.body


async def test_gateway_relays_path_and_query(gateway: str):
    response = await fetch(gateway + "/app/upload/some/path?a=1&b=%20&c")
    assert json.loads(response.body)["target"] == "/app/upload/some/path?a=1&b=%20&c"


async def test_gateway_relays_many_requests_at_once(gateway: str):
    async with httpcore.ConnectionPool() as http, asyncio.TaskGroup() as group:
        downloads = [group.create_task(http.request("GET", gateway + "/hello.txt")) for _ in range(50)]
        uploads = [
            group.create_task(http.request("POST", gateway + "/app/upload", body=b"x" * index)) for index in range(50)
        ]
    assert [task.result().body for task in downloads] == [b"Hello, world!"] * 50
    assert [json.loads(task.result().body)["size"] for task in uploads] == list(range(50))
