"""The tree of errors: parents, aliases, texts, and how text from a peer is quoted."""

from __future__ import annotations

import pytest

import httpcore
from httpcore import Phase, exceptions
from httpcore.exceptions import HTTPCoreError, quote_peer_text

TREE = {
    "HTTPCoreError": (Exception,),
    "TimeoutException": (HTTPCoreError, TimeoutError),
    "ConnectTimeout": (httpcore.TimeoutException,),
    "ReadTimeout": (httpcore.TimeoutException,),
    "WriteTimeout": (httpcore.TimeoutException,),
    "PoolTimeout": (httpcore.TimeoutException,),
    "TotalTimeout": (httpcore.TimeoutException,),
    "NetworkError": (HTTPCoreError,),
    "ConnectError": (httpcore.NetworkError,),
    "ReadError": (httpcore.NetworkError,),
    "WriteError": (httpcore.NetworkError,),
    "ProtocolError": (HTTPCoreError,),
    "LocalProtocolError": (httpcore.ProtocolError,),
    "RemoteProtocolError": (httpcore.ProtocolError,),
    "ProxyError": (HTTPCoreError,),
    "UnsupportedProtocol": (HTTPCoreError, ValueError),
    "InvalidURL": (HTTPCoreError, ValueError),
    "DecodingError": (HTTPCoreError,),
    "ResponseTooLarge": (HTTPCoreError,),
    "PoolClosed": (HTTPCoreError,),
    "StreamConsumed": (HTTPCoreError,),
    "ResponseClosed": (HTTPCoreError,),
    "ResponseNotRead": (HTTPCoreError, AttributeError),
}


@pytest.mark.parametrize("name, parents", TREE.items())
def test_error_has_its_place_in_the_tree(name: str, parents: tuple[type[BaseException], ...]) -> None:
    assert getattr(exceptions, name).__bases__ == parents


def test_the_tree_is_complete_and_public() -> None:
    errors = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, Exception) and value.__name__ == name
    }
    assert errors == set(TREE)
    assert errors <= set(exceptions.__all__)
    assert errors <= set(httpcore.__all__)


def test_names_of_the_first_httpcore_are_the_same_classes() -> None:
    assert httpcore.Timeout is httpcore.TimeoutException
    assert httpcore.BadResponse is httpcore.RemoteProtocolError


@pytest.mark.parametrize("name", TREE)
def test_error_says_what_it_was_given_and_knows_no_request(name: str) -> None:
    error: HTTPCoreError = getattr(exceptions, name)("what happened")
    assert str(error) == "what happened"
    assert (error.host, error.port, error.phase, error.request_sent) == (None, None, None, False)


@pytest.mark.parametrize(
    "host, phase, text",
    [
        ("example.org", None, "it broke (example.org:443)"),
        ("example.org", Phase.CONNECTING, "it broke (example.org:443, connecting)"),
        (None, Phase.RECEIVING_HEAD, "it broke (waiting for the response head)"),
        (None, None, "it broke"),
    ],
)
def test_error_says_where_and_when(host: str | None, phase: Phase | None, text: str) -> None:
    error = httpcore.ReadError("it broke")
    error.host, error.port, error.phase = host, 443, phase
    assert str(error) == text


def test_every_phase_reads_as_words() -> None:
    assert {str(phase) for phase in Phase} == {
        "waiting for a connection",
        "connecting",
        "sending the request head",
        "sending the request body",
        "waiting for the response head",
        "receiving the response body",
    }


def test_proxy_error_carries_the_refusal() -> None:
    bare = httpcore.ProxyError("refused")
    assert (bare.status_code, bare.headers, bare.body) == (None, [], b"")
    headers = [(b"proxy-authenticate", b"Basic")]
    error = httpcore.ProxyError("refused", status_code=407, headers=headers, body=b"no")
    assert (error.status_code, error.headers, error.body) == (407, headers, b"no")


@pytest.mark.parametrize(
    "text, quoted",
    [
        ("plain", "'plain'"),
        (b"plain", "'plain'"),
        (bytearray(b"plain"), "'plain'"),
        ("", "''"),
        ("line\r\nline\x00\x1b[31m", r"'line\r\nline\x00\x1b[31m'"),
        (b"caf\xe9", r"'caf\\xe9'"),
        ("café\u202e", r"'caf\xe9\u202e'"),
        ("it's", '''"it's"'''),
        ("x" * 120, "'" + "x" * 120 + "'"),
        ("x" * 121, "'" + "x" * 120 + "'..."),
        (b"x" * 100_000, "'" + "x" * 120 + "'..."),
        (b"\xff" * 121, "'" + r"\\xff" * 30 + "'..."),
    ],
)
def test_text_of_a_peer_is_escaped_and_cut(text: str | bytes, quoted: str) -> None:
    assert quote_peer_text(text) == quoted
    assert quote_peer_text(text).isascii() and quote_peer_text(text).isprintable()
