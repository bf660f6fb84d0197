"""The documents hold: every Python snippet runs, the tables are the code's, and the diagrams are current.

The snippets talk to real servers and proxies on loopback. Only the look-up of names is ours: it finds example.com,
example.org and the places that they name there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import importlib
import inspect
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FunctionType

import pytest
import uvicorn
import uvloop

import httpcore
from httpcore.pool.connection_pool import ConnectionPool
from httpcore.pool.routes import Route
from httpcore.protocols.base import DEFAULT_TIMEOUT
from httpcore.sync import SyncConnectionPool
from httpcore.testing import ASGIConnector, WSGIConnector
from scripts.upstream import Client, Upstream
from tests.conftest import TLSFiles
from tests.proxies.http2_proxy import http2_proxy
from tests.proxies.http_proxy import http_proxy
from tests.proxies.relay import Proxy
from tests.proxies.socks_server import socks_server

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROUTES = (ROOT / "docs" / "routes.md").read_text(encoding="utf-8")
DOCUMENTS = {"README.md": README, "docs/routes.md": ROUTES}

PASSWORD = ("user", "password")  # of the HTTP proxies
PROXY_HEADER = 16  # bytes in front of the addresses, in version 2 of the PROXY protocol


def snippets(document: str) -> dict[str, list[str]]:
    """Returns the Python code blocks of a document, each padded to its line, by the part (##) they stand in."""
    text = DOCUMENTS[document]
    found: dict[str, list[str]] = {}
    for match in re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        before = text[: match.start(1)]
        part = re.findall(r"^## (.+)$", before, flags=re.MULTILINE)[-1]
        found.setdefault(part, []).append("\n" * before.count("\n") + match[1])
    return found


async def run(document: str, source: str, namespace: dict[str, object]) -> None:
    """Runs a snippet: on this loop if it awaits, otherwise in a thread where it may block, or start a loop of its own.

    The servers are on this loop, so what blocks could not be answered here.
    """
    code = compile(source, ROOT / document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    function = FunctionType(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        await function()
    else:
        await asyncio.to_thread(function)


@pytest.fixture
def in_folder(tmp_path: Path, tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the test into a folder with the files that the README names, and where no environment has a say."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    (tmp_path / "picture.png").write_bytes(b"not really a picture" * 10_000)
    (tmp_path / "ca.pem").write_bytes(tls.ca_path.read_bytes())
    certificate = tls.authority.issue_cert("client.example.org")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "client.key")
    monkeypatch.chdir(tmp_path)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await Client(reader, writer).serve()
    writer.close()


async def serve_behind_a_balancer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readexactly(PROXY_HEADER)
    await reader.readexactly(int.from_bytes(head[-2:]))
    await serve(reader, writer)


@contextlib.asynccontextmanager
async def example_org(tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Proxy]]:
    """Serves example.com and example.org, with and without TLS, on a unix socket, and behind a PROXY header.

    Gives the proxies that lead there, by what stands for them in the documents.
    """
    getaddrinfo = socket.getaddrinfo
    proxy_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.authority.issue_cert("proxy.example.org").configure_cert(proxy_context)
    async with (
        Upstream() as plain,
        Upstream(tls.server_context) as with_tls,
        http_proxy(auth=PASSWORD) as proxy,
        http2_proxy(proxy_context, auth=PASSWORD) as https_proxy,
        socks_server() as socks,
        await asyncio.start_unix_server(serve, "server.sock"),
        await asyncio.start_server(serve_behind_a_balancer, "127.0.0.1", 0) as balanced,
    ):
        places = {
            ("example.com", 80): plain.port,
            ("example.org", 80): plain.port,
            ("example.org", 443): with_tls.port,
            ("127.0.0.1", 80): plain.port,
            ("127.0.0.1", 8443): with_tls.port,
            ("proxy.example.org", 3128): proxy.port,
            ("proxy.example.org", 8443): https_proxy.port,
            ("127.0.0.1", 1080): socks.port,
            ("backend.example.org", 80): balanced.sockets[0].getsockname()[1],
        }

        def look_up(host: str, port: int, *args: int, **kwargs: int):
            if (host, port) in places:
                host, port = "127.0.0.1", places[host, port]
            return getaddrinfo(host, port, *args, **kwargs)

        # uvloop asks libuv, and does so in create_connection, too.
        loop_type = type(asyncio.get_running_loop())
        create_connection = loop_type.create_connection

        async def look_up_in_thread(loop: asyncio.AbstractEventLoop, host: str, port: int, **kwargs: int):
            return await loop.run_in_executor(None, functools.partial(look_up, host, port, **kwargs))

        def connect(loop, factory, *address, **kwargs):
            address = ("127.0.0.1", places[address]) if address in places else address
            return create_connection(loop, factory, *address, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", look_up)
            if issubclass(loop_type, uvloop.Loop):
                patch.setattr(loop_type, "getaddrinfo", look_up_in_thread)
                patch.setattr(loop_type, "create_connection", connect)
            yield {
                "user:password@proxy.example.org:3128": proxy,
                "https://proxy.example.org:8443": https_proxy,
                "socks5h://127.0.0.1:1080": socks,
            }


@pytest.mark.usefixtures("in_folder")
@pytest.mark.parametrize(
    ("document", "part"), [(document, part) for document in DOCUMENTS for part in snippets(document)]
)
async def test_snippets_run(document: str, part: str, tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, object] = {"asyncio": asyncio, "httpcore": httpcore, "__name__": "readme"}
    pools: list[ConnectionPool | SyncConnectionPool] = []

    def remembering(made: Callable[..., None]) -> Callable[..., None]:
        def remember(self: ConnectionPool | SyncConnectionPool, *args: object, **kwargs: object) -> None:
            made(self, *args, **kwargs)
            if type(self) in (ConnectionPool, SyncConnectionPool):  # not what is inside of one that blocks
                pools.append(self)

        return remember

    for kind in (ConnectionPool, SyncConnectionPool):  # the snippets are about something else than closing
        monkeypatch.setattr(kind, "__init__", remembering(kind.__init__))
    async with example_org(tls, monkeypatch) as proxies:
        try:
            for source in snippets(document)[part]:
                await run(document, source, namespace)
        finally:
            for pool in pools:
                await (pool.close() if isinstance(pool, ConnectionPool) else asyncio.to_thread(pool.close))
        requested = "".join(source for source in snippets(document)[part] if "await http.request" in source)
        for url, proxy in proxies.items():
            assert bool(proxy.connections) is (url in requested), url


@pytest.mark.usefixtures("in_folder")
async def test_readme_gateway_relays_both_ways(tls: TLSFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, object] = {}
    for source in snippets("README.md")["Building a Gateway Server"]:
        await run("README.md", source, namespace)
    gateway = namespace["app"]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(gateway, log_level="error", timeout_keep_alive=60))  # type: ignore[arg-type]  # an app
        async with example_org(tls, monkeypatch):
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                async with httpcore.ConnectionPool() as http:
                    response = await http.request("GET", url + "/gzip")
                    assert response.body == b"Hello, world\n" * 10_000
                    assert dict(response.raw_headers)[b"content-encoding"] == b"gzip"
                    response = await http.request("POST", url + "/upload", body=iter([b"part"] * 100_000))
                    assert response.body.startswith(b"400000 bytes ")
                    response = await http.request("GET", url + "/download?size=1000000")
                    assert len(response.body) == 1_000_000
            finally:
                server.should_exit = True
                await serving
                await gateway.http.close()  # type: ignore[attr-defined]  # the snippet's own class


def table(document: str, name: str) -> dict[str, str]:
    """Returns {first cell: second cell} of the table whose first heading is `name`."""
    rows = document.partition(f"| {name} |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = ([cell.strip().strip("`") for cell in row.split("|")] for row in rows)
    return {row[1]: row[2] for row in cells}


def as_text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def defaults_of(kind: type) -> dict[str, str]:
    """Returns {name: default} of the arguments, as the tables have it."""
    parameters = inspect.signature(kind).parameters.values()
    return {each.name: "" if each.default is each.empty else as_text(each.default) for each in parameters}


def test_readme_names_every_timeout_with_its_default() -> None:
    assert table(README, "`TimeoutConfig`") == {
        name: as_text(getattr(DEFAULT_TIMEOUT, name)) for name in httpcore.TimeoutConfig.__dataclass_fields__
    }


def test_readme_names_every_limit_with_its_default() -> None:
    limits = httpcore.PoolLimits()
    assert table(README, "`PoolLimits`") == {
        name: as_text(getattr(limits, name)) for name in httpcore.PoolLimits.__dataclass_fields__
    }
    parameters = inspect.signature(ConnectionPool).parameters
    assert table(README, "`ConnectionPool`") == {
        name: as_text(parameters[name].default) for name in ("max_body_size", "high_water", "low_water")
    }


def test_readme_names_every_setting_of_http2_with_its_default() -> None:
    config = httpcore.HTTP2Config()
    assert table(README, "`HTTP2Config`") == {
        name: as_text(getattr(config, name)) for name in httpcore.HTTP2Config.__dataclass_fields__
    }


@pytest.mark.parametrize("kind", [httpcore.NetworkConfig, httpcore.Proxy, httpcore.ProxyProtocol, httpcore.SSLConfig])
def test_readme_names_every_setting_of_routes_with_its_default(kind: type) -> None:
    assert table(README, f"`{kind.__name__}`") == defaults_of(kind)


def test_readme_names_every_setting_of_apps_in_process_with_its_default() -> None:
    asgi, wsgi = table(README, "`ASGIConnector`"), table(README, "`WSGIConnector`")
    assert asgi == defaults_of(ASGIConnector)
    assert {name: default for name, default in asgi.items() if name != "lifespan"} | wsgi == defaults_of(WSGIConnector)


def test_readme_names_every_example() -> None:
    examples = {f"examples/{path.name}" for path in (ROOT / "examples").glob("*.py")}
    assert set(re.findall(r"\]\((examples/\w+\.py)\)", README.partition("## More")[2])) == examples


def test_readme_names_every_argument_of_a_pool_and_of_a_request() -> None:
    for function in (ConnectionPool, ConnectionPool.request):
        for name in inspect.signature(function).parameters:
            assert name == "self" or re.search(rf"\b{name}\b=?", README), name
    connect = inspect.signature(httpcore.ClientConnection.connect).parameters.keys()
    assert connect == inspect.signature(ConnectionPool).parameters.keys() - {"limits"} | {"url"}


def test_readme_names_every_callback() -> None:
    def public(cls: type) -> set[str]:
        return {name for name in {**vars(cls), **cls.__annotations__} if not name.startswith("_")}

    for cls in (httpcore.ResponseHandler, httpcore.Exchange):
        rows = README.partition(f"| `{cls.__name__}` |")[2].partition("\n\n")[0].splitlines()[2:]
        named = {name for row in rows for name in re.findall(r"`(\w+)", row.split("|")[1])}
        assert named == public(cls)


def test_readme_has_the_tree_of_errors() -> None:
    tree = README.partition("```text\nHTTPCoreError\n")[2].partition("```")[0]
    drawn: dict[str, str] = {}
    parents = ["HTTPCoreError"]
    for line in tree.splitlines():
        match = re.match(r"([│ ├└─]+)(\w+)", line)
        assert match is not None
        depth = len(match[1]) // 4
        parents[depth:] = [match[2]]
        drawn[match[2]] = parents[depth - 1]
    errors = {
        value.__name__: value.__bases__[0].__name__
        for value in vars(importlib.import_module("httpcore.exceptions")).values()
        if isinstance(value, type) and issubclass(value, httpcore.HTTPCoreError) and value is not httpcore.HTTPCoreError
    }
    assert drawn == errors


def test_readme_names_every_trace_event() -> None:
    events = {event.name for event in httpcore.TraceEvent.__subclasses__()}
    named: set[str] = set()
    for row in README.partition("| Events |")[2].partition("\n\n")[0].splitlines()[2:]:
        noun = ""
        for name in re.findall(r"`([\w.]+)`", row.split("|")[1]):
            noun = name.partition(".")[0] or noun
            named.add(noun + "." + name.partition(".")[2])
    assert named == events


@pytest.mark.parametrize("document", [*DOCUMENTS, "docs/architecture.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        file, _, part = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if part:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert part in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}, link


def test_state_machines_of_the_architecture_page_are_the_code_s() -> None:
    diagrams = importlib.import_module("scripts.diagrams")
    assert diagrams.rewrite(ARCHITECTURE) == ARCHITECTURE, "run scripts/diagrams"


def test_budgets_of_the_architecture_page_are_the_code_s() -> None:
    modules = [
        importlib.import_module(f"httpcore.{name}")
        for name in (
            "protocols.codec",
            "protocols.http2_frames",
            "protocols.http2_receiver",
            "protocols.http2_settings",
            "decoders",
            "pool.dispatcher",
            "pool.tunnels",
            "exceptions",
        )
    ]
    rows = ARCHITECTURE.partition("| What | At most | Where |")[2].partition("\n\n")[0].splitlines()[2:]
    checked = 0
    for row in rows:
        _, _, most, where, _ = (cell.strip() for cell in row.split("|"))
        if name := re.match(r"`(\w+)`", where):
            value = next(vars(module)[name[1]] for module in modules if name[1] in vars(module))
            assert int(most) == (2**value if name[1].endswith("_LOG") else value), name[1]
            checked += 1
    assert checked == len(rows) - 3  # what is h11's and h2's doing, and what depends on the stream, say so


def test_modules_of_the_architecture_page_are_there() -> None:
    rows = ARCHITECTURE.partition("| Layer | Module | What it owns |")[2].partition("\n\n")[0].splitlines()[2:]
    named = {name for row in rows for name in re.findall(r"`(\w+)\.py`", row.split("|")[2])}
    files = {
        path.stem
        for path in (ROOT / "httpcore").rglob("*.py")
        if path.stem != "__init__" and "testing" not in path.parts
    }
    assert named == files


def test_routes_page_names_what_is_part_of_the_key() -> None:
    assert table(ROUTES, "part").keys() == set(Route._fields)


def test_routes_page_knows_the_schemes_of_proxies() -> None:
    told = {scheme: "names" in words for scheme, words in table(ROUTES, "URL").items()}
    assert told == {url: httpcore.Proxy(url + "proxy.example.org").resolves_names for url in told}
    assert len(told) == 6
    with pytest.raises(httpcore.UnsupportedProtocol) as caught:
        httpcore.Proxy("ftp://proxy.example.org")
    assert all(url.removesuffix("://") in str(caught.value) for url in told)


def test_routes_page_names_modules_that_are_there() -> None:
    named = set(re.findall(r"\b[\w/]+\.py\b", ROUTES))
    assert len(named) > 5
    for name in named:
        assert (ROOT / "httpcore" / name).exists() or (ROOT / name).exists(), name


def test_demo_runs() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
