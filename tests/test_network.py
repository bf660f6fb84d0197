"""NetworkConfig: values, what it refuses, where `connect_to` leads, and that it is a key."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from httpcore import EgressCandidate, NetworkConfig


async def resolver(host: str) -> Sequence[str]:
    return [host]


def egress(candidate: EgressCandidate) -> bool:
    return True


# Values


def test_without_arguments_nothing_is_set() -> None:
    config = NetworkConfig()
    assert (config.uds, config.local_address, config.socket_options, config.connect_to) == (None, None, (), ())
    assert (config.resolver, config.egress) == (None, None)
    assert repr(config) == "NetworkConfig()"


def test_values_are_kept_in_one_form(tmp_path: Path) -> None:
    assert NetworkConfig(uds=tmp_path).uds == str(tmp_path)
    assert NetworkConfig(uds="\0abstract\0name").uds == "\0abstract\0name"
    assert NetworkConfig(local_address="127.0.0.2").local_address == ("127.0.0.2", 0)
    assert NetworkConfig(local_address=("0:0::1", 8080)).local_address == ("::1", 8080)
    assert NetworkConfig(local_address="fe80::1%lo").local_address == ("fe80::1%lo", 0)
    options = NetworkConfig(socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True), (1, 2, b"x")])
    assert options.socket_options == ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (1, 2, b"x"))
    assert type(options.socket_options[0][2]) is int


def test_repr_shows_what_is_set_and_can_be_read_back() -> None:
    config = NetworkConfig(local_address="127.0.0.2", socket_options=[(1, 2, 3)], connect_to={"A": "b:1"})
    text = "NetworkConfig(local_address=('127.0.0.2', 0), socket_options=((1, 2, 3),), connect_to=(('a', 'b:1'),))"
    assert repr(config) == text
    assert eval(text) == config
    assert repr(NetworkConfig(egress=egress)) == f"NetworkConfig(egress={egress!r})"


def test_it_is_a_key() -> None:
    keys = {
        NetworkConfig(),
        NetworkConfig(uds="/run/a"),
        NetworkConfig(uds="/run/b"),
        NetworkConfig(local_address="127.0.0.1"),
        NetworkConfig(local_address=("127.0.0.1", 1)),
        NetworkConfig(socket_options=[(1, 2, 3)]),
        NetworkConfig(socket_options=[(1, 2, 3), (1, 2, 4)]),
        NetworkConfig(socket_options=[(1, 2, 4), (1, 2, 3)]),  # the last one wins, so their order matters
        NetworkConfig(connect_to={"a": "b"}),
        NetworkConfig(connect_to={"a:80": "b"}),
        NetworkConfig(connect_to={"a": "b:80"}),
        NetworkConfig(resolver=resolver),
        NetworkConfig(egress=egress),
    }
    assert len(keys) == 13
    again = NetworkConfig(uds="/run/a")
    assert again in keys and hash(again) == hash(NetworkConfig(uds=Path("/run/a")))


def test_order_and_spelling_of_connect_to_do_not_matter() -> None:
    first = NetworkConfig(connect_to={"a": "b", "Example.ORG.:443": "[0::1]:1", "[2001:DB8::1]:80": "c"})
    second = NetworkConfig(connect_to=[("[2001:db8:0::1]:80", "c"), ("example.org:443", "[::1]:1"), ("A.", "B")])
    assert first == second and hash(first) == hash(second)
    assert first.connect_to == (("[2001:db8::1]:80", "c"), ("a", "b"), ("example.org:443", "[::1]:1"))


def test_it_cannot_be_changed_but_replaced() -> None:
    config = NetworkConfig(connect_to={"a": "b"}, local_address="127.0.0.1")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.uds = "/run/a"  # type: ignore[misc]
    other = dataclasses.replace(config, local_address=None, uds="/run/a")
    assert other == NetworkConfig(connect_to={"a": "b"}, uds="/run/a")
    assert other.destination("a", 80) == ("b", 80)


def test_copies_work_alike() -> None:
    config = NetworkConfig(connect_to={"a": "b"}, resolver=resolver)
    for other in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert other == config and other.destination("a", 80) == ("b", 80)


# What is refused

INVALID: list[tuple[dict[str, object], type[Exception], str]] = [
    ({"uds": b"/run/a"}, TypeError, "uds takes a path as str or os.PathLike, not bytes"),
    ({"uds": 1}, TypeError, "expected str, bytes or os.PathLike object, not int"),
    ({"uds": ""}, ValueError, "uds is an empty path"),
    ({"uds": "/run/a\0b"}, ValueError, "uds is a path with a NUL in it"),
    ({"uds": "/run/a", "local_address": "::1"}, ValueError, r"a unix socket \(uds\) has no local_address"),
    ({"local_address": "localhost"}, ValueError, "local_address takes an IP address, not 'localhost'"),
    ({"local_address": "127.1"}, ValueError, "takes an IP address, not '127.1'"),
    ({"local_address": ""}, ValueError, "takes an IP address, not ''"),
    ({"local_address": "127.0.0.1:80"}, ValueError, "takes an IP address, not '127.0.0.1:80'"),
    ({"local_address": ("::1", 65536)}, ValueError, "local_address has the port 65536"),
    ({"local_address": ("::1", -1)}, ValueError, "local_address has the port -1"),
    ({"local_address": ("::1", "80")}, TypeError, "local_address takes an IP address as str, or a tuple"),
    ({"local_address": ("::1", True)}, TypeError, "local_address takes an IP address as str, or a tuple"),
    ({"local_address": ("::1", 1, 2)}, TypeError, "local_address takes an IP address as str, or a tuple"),
    ({"local_address": ["::1", 1]}, TypeError, "local_address takes an IP address as str, or a tuple"),
    ({"local_address": 2130706433}, TypeError, "local_address takes an IP address as str, or a tuple"),
    ({"socket_options": [(1, 2)]}, TypeError, r"takes \(level, option, value\) triples, not \(1, 2\)"),
    ({"socket_options": [(1, 2, None)]}, TypeError, r"int, int, and int or bytes, not \(1, 2, None\)"),
    ({"socket_options": [(1, 2, "3")]}, TypeError, "int, int, and int or bytes"),
    ({"socket_options": [(1.5, 2, 3)]}, TypeError, "int, int, and int or bytes"),
    ({"socket_options": [(1, b"2", 3)]}, TypeError, "int, int, and int or bytes"),
    ({"socket_options": [(1, 2, 2**31)]}, ValueError, r"a number in it that is too large: \(1, 2, 2147483648\)"),
    ({"socket_options": [(1, -(2**31) - 1, 1)]}, ValueError, "a number in it that is too large"),
    ({"socket_options": 5}, TypeError, "not iterable"),
    ({"connect_to": "a:b"}, TypeError, "connect_to takes a mapping, not str"),
    ({"connect_to": ["ab"]}, TypeError, "connect_to takes a mapping or pairs, not 'ab'"),
    ({"connect_to": [("a", "b", "c")]}, TypeError, "connect_to takes a mapping or pairs"),
    ({"connect_to": {"a": 80}}, TypeError, "connect_to takes hosts and ports as str, not int"),
    ({"connect_to": {("a", 80): "b"}}, TypeError, "connect_to takes hosts and ports as str, not tuple"),
    ({"connect_to": {"a": "b", "A.": "c"}}, ValueError, "a stands in connect_to twice"),
    ({"connect_to": {"[::1]:1": "b", "[0::1]:1": "c"}}, ValueError, r"\[::1\]:1 stands in connect_to twice"),
    ({"resolver": "1.1.1.1"}, TypeError, "resolver takes a function, not str"),
    ({"egress": True}, TypeError, "egress takes a function, not bool"),
    ({"egress": resolver}, TypeError, "egress takes a plain function, not an async one"),
]


# A name without an address in it is the same in every process that runs a part of the tests.
NAMES = [str(arguments).partition(" at 0x")[0] for arguments, _, _ in INVALID]


@pytest.mark.parametrize("arguments, error, text", INVALID, ids=NAMES)
def test_invalid_argument_is_refused_at_once(arguments: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        NetworkConfig(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        *["", ":", ":80", "a:", "a:b", "a:0", "a:65536", "a:123456", "a:-1", "a:8 0", "a:٣", "http://a", "a/b", "u@a"],
        *[
            "a b",
            "a\n",
            "a..b",
            ".",
            "127.1",
            "0x7f.1",
            "a?b",
            "a#b",
            "a\\b",
            "*",
            "a" * 64,
            "fe80::1%lo",
            "[::1",
            "[]",
        ],
        *["[::1]80", "[a]:80", "[127.0.0.1]", "::1:", "1::2::3", "::g", "[[::1]]", "[::1]:", "[::1]:0"],
    ],
)
def test_what_is_no_place_is_refused_as_key_and_as_value(text: str) -> None:
    for connect_to in ({text: "b"}, {"a": text}):
        with pytest.raises(ValueError, match="connect_to takes 'host:port' or 'host', not "):
            NetworkConfig(connect_to=connect_to)


@pytest.mark.parametrize("name", ["resolver", "egress"])
def test_hook_that_cannot_be_part_of_a_key_is_refused_at_once(name: str) -> None:
    @dataclass
    class Hook:
        def __call__(self, argument: object) -> bool:
            return True

    with pytest.raises(TypeError, match=f"{name} must be hashable, as it is part of the pool's key"):
        NetworkConfig(**{name: Hook()})  # type: ignore[arg-type]


def test_system_without_unix_sockets_refuses_one_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ValueError, match="uds: this system has no unix sockets"):
        NetworkConfig(uds="/run/a")


# connect_to

MAP = {
    "example.org": "one.test",
    "Example.org.:443": "127.0.0.1:8443",
    "ports.test:80": "other.test",
    "::1": "six.test:1",
    "[2001:db8::1]:80": "[2001:db8::2]:81",
    "2001:db8::1": "2001:db8::3",
    "one.test": "never.test:9",
    "bücher.example": "books.test.",
    "192.0.2.1:80": "192.0.2.2:080",
}


@pytest.mark.parametrize(
    "host, port, expected",
    [
        ("example.org", 80, ("one.test", 80)),  # not looked up again, though one.test is a key
        ("example.org", 443, ("127.0.0.1", 8443)),  # the more specific one
        ("example.org.", 443, ("127.0.0.1", 8443)),
        ("EXAMPLE.org.", 8080, ("one.test", 8080)),
        ("www.example.org", 443, ("www.example.org", 443)),
        ("ports.test", 80, ("other.test", 80)),
        ("ports.test", 81, ("ports.test", 81)),
        ("::1", 5, ("six.test", 1)),
        ("0:0::1", 5, ("six.test", 1)),
        ("2001:db8::1", 80, ("2001:db8::2", 81)),
        ("2001:DB8:0::1", 443, ("2001:db8::3", 443)),
        ("one.test", 80, ("never.test", 9)),
        ("xn--bcher-kva.example", 80, ("books.test.", 80)),  # a value's final dot is for the resolver
        ("192.0.2.1", 80, ("192.0.2.2", 80)),
        ("192.0.2.1", 81, ("192.0.2.1", 81)),
        ("Other.Test.", 1, ("Other.Test.", 1)),
    ],
)
def test_destination(host: str, port: int, expected: tuple[str, int]) -> None:
    assert NetworkConfig(connect_to=MAP).destination(host, port) == expected


def test_destination_without_connect_to_is_what_was_asked_for() -> None:
    assert NetworkConfig().destination("Example.org.", 1) == ("Example.org.", 1)
