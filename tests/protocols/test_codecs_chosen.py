"""Which codec a connection has: what is asked for, or the best there is; and nothing is imported that is not used."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

import httpcore
from httpcore.protocols import HTTP11Protocol
from httpcore.protocols.codecs import CodecName, auto_codec, codec_named
from httpcore.protocols.h11_codec import H11Codec
from httpcore.protocols.handshake import Versions
from httpcore.protocols.llhttp_codec import LLHTTPCodec
from tests.pool.peers import auto_connector

pytestmark = pytest.mark.llhttp_only("they say what auto is, and choose again")

NAMES: list[CodecName] = ["auto", "h11", "llhttp"]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What was found of httptools so far is forgotten, before and after."""
    monkeypatch.delitem(sys.modules, "httpcore.protocols.llhttp_codec")
    auto_codec.cache_clear()
    yield monkeypatch
    auto_codec.cache_clear()


def test_auto_is_llhttp_where_it_is_installed() -> None:
    assert codec_named("auto") is LLHTTPCodec
    assert Versions.of(True, True).http1_codec == "auto"


def test_auto_is_h11_without_httptools(anew: pytest.MonkeyPatch) -> None:
    anew.setitem(sys.modules, "httptools", None)
    assert codec_named("auto") is H11Codec
    assert HTTP11Protocol()._make_codec is H11Codec


def test_llhttp_without_httptools_names_the_extra(anew: pytest.MonkeyPatch) -> None:
    anew.setitem(sys.modules, "httptools", None)
    with pytest.raises(ImportError, match=r"http1_codec='llhttp' needs httptools.*: pip install httpcore\[fast\]"):
        httpcore.ConnectionPool(http1_codec="llhttp")
    with pytest.raises(ImportError, match=r"pip install httpcore\[fast\]"):
        httpcore.SyncConnectionPool(http1_codec="llhttp")


def test_httptools_with_a_lenient_llhttp_is_not_used(anew: pytest.MonkeyPatch) -> None:
    old = ModuleType("httptools")
    vars(old)["HttpResponseParser"] = type("HttpResponseParser", (), {})
    anew.setitem(sys.modules, "httptools", old)
    assert codec_named("auto") is H11Codec
    with pytest.raises(ImportError, match=r"pip install httpcore\[fast\]") as excinfo:
        httpcore.ConnectionPool(http1_codec="llhttp")
    assert "before 0.6.4" in str(excinfo.value.__cause__)


@pytest.mark.parametrize("value", [None, True, 1, b"h11", H11Codec])
def test_codec_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match=f"^http1_codec takes a str, not {type(value).__name__}$"):
        httpcore.ConnectionPool(http1_codec=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "httptools", "H11"])
def test_codec_of_another_name_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"^http1_codec must be 'auto', 'h11' or 'llhttp', not '{value}'$"):
        httpcore.ConnectionPool(http1_codec=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
async def test_connection_has_the_codec_that_was_asked_for(name: CodecName) -> None:
    async with auto_connector() as connector:
        connection = await httpcore.ClientConnection.connect("http://a/", http1_codec=name, connector=connector)
        assert isinstance(connection._protocol, HTTP11Protocol)
        assert connection._protocol._make_codec is codec_named(name)
        assert (await connection.request("GET", "http://a/")).status_code == 200
        await connection.close()


@pytest.mark.parametrize("name", NAMES)
async def test_connections_of_a_pool_have_the_codec_that_was_asked_for(name: CodecName) -> None:
    async with auto_connector() as connector, httpcore.ConnectionPool(http1_codec=name, connector=connector) as pool:
        assert (await pool.request("GET", "http://a/")).status_code == 200
        assert pool.num_keepalive_connections == 1
        loop = asyncio.get_running_loop()
        live = [obj for obj in gc.get_objects() if type(obj) is HTTP11Protocol and obj.available and obj.loop is loop]
        assert [protocol._make_codec for protocol in live] == [codec_named(name)]


@pytest.mark.parametrize(("name", "imported"), [("h11", ["h11"]), ("llhttp", ["h11", "httptools"])])
def test_libraries_are_imported_once_they_are_chosen(name: str, imported: list[str]) -> None:
    code = (
        "import sys\n"
        "import httpcore.protocols.codecs as codecs\n"
        "assert not {'h11', 'httptools'} & set(sys.modules)\n"
        f"codecs.codec_named({name!r})\n"
        f"assert sorted({{'h11', 'httptools'}} & set(sys.modules)) == {imported!r}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pool_that_speaks_no_http1_imports_no_codec() -> None:
    code = (
        "import sys, httpcore\n"
        "httpcore.ConnectionPool(http1=False)\n"
        "assert not {'h11', 'httptools'} & set(sys.modules)\n"
        "httpcore.ConnectionPool()\n"
        "assert {'h11', 'httptools'} <= set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
