"""The SOCKS handshake: the bytes of RFC 1928, RFC 1929 and SOCKS4/4a, and proxies that do not keep to them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpcore import LocalProtocolError, ProxyError
from httpcore.protocols.socks import SOCKS, SocksEvent, SocksHandshake, SocksState

USER, PASSWORD = b"aladdin", b"open sesame"
AUTH = (USER, PASSWORD)
CREDENTIALS = b"\x01\x07aladdin\x0bopen sesame"
REQUEST = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"
GRANTED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
GRANTED_4 = b"\x00\x5a\x00\x00\x00\x00\x00\x00"


class Transcript(NamedTuple):
    """A whole handshake: what the client is made with, what it sends, and what the proxy answers to each."""

    version: Literal[4, 5]
    host: str
    port: int
    auth: tuple[bytes, bytes] | None
    sent: list[bytes]
    answers: list[bytes]

    def client(self) -> SocksHandshake:
        return SocksHandshake(self.version, self.host, self.port, self.auth)


TRANSCRIPTS = {
    "socks5-name": Transcript(5, "example.com", 443, None, [b"\x05\x01\x00", REQUEST], [b"\x05\x00", GRANTED]),
    "socks5-ipv4": Transcript(
        5,
        "192.0.2.1",
        80,
        None,
        [b"\x05\x01\x00", b"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50"],
        [b"\x05\x00", b"\x05\x00\x00\x01\xc6\x33\x64\x07\xd4\x31"],
    ),
    "socks5-ipv6": Transcript(
        5,
        "2001:db8::1",
        65535,
        None,
        [b"\x05\x01\x00", b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\xff\xff"],
        [b"\x05\x00", b"\x05\x00\x00\x04" + bytes(15) + b"\x01\x04\x38"],
    ),
    "socks5-bound-to-a-name": Transcript(
        5, "example.com", 443, None, [b"\x05\x01\x00", REQUEST], [b"\x05\x00", b"\x05\x00\x00\x03\x04gate\x04\x38"]
    ),
    "socks5-bound-to-an-empty-name": Transcript(
        5, "example.com", 443, None, [b"\x05\x01\x00", REQUEST], [b"\x05\x00", b"\x05\x00\x00\x03\x00\x00\x00"]
    ),
    "socks5-bound-to-the-longest-name": Transcript(
        5,
        "example.com",
        443,
        None,
        [b"\x05\x01\x00", REQUEST],
        [b"\x05\x00", b"\x05\x00\x00\x03\xff" + b"\0" * 255 + b"\x04\x38"],
    ),
    "socks5-password": Transcript(
        5,
        "example.com",
        443,
        AUTH,
        [b"\x05\x02\x00\x02", CREDENTIALS, REQUEST],
        [b"\x05\x02", b"\x01\x00", GRANTED],
    ),
    "socks5-password-not-wanted": Transcript(
        5, "example.com", 443, AUTH, [b"\x05\x02\x00\x02", REQUEST], [b"\x05\x00", GRANTED]
    ),
    "socks4": Transcript(4, "192.0.2.1", 80, None, [b"\x04\x01\x00\x50\xc0\x00\x02\x01\x00"], [GRANTED_4]),
    "socks4-user": Transcript(
        4,
        "192.0.2.1",
        80,
        (b"aladdin", b""),
        [b"\x04\x01\x00\x50\xc0\x00\x02\x01aladdin\x00"],
        [b"\x00\x5a\x12\x34\x01\x02\x03\x04"],
    ),
    "socks4a": Transcript(
        4, "example.com", 443, None, [b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00example.com\x00"], [GRANTED_4]
    ),
    "socks4a-user": Transcript(
        4,
        "example.com",
        443,
        (b"aladdin", b""),
        [b"\x04\x01\x01\xbb\x00\x00\x00\x01aladdin\x00example.com\x00"],
        [GRANTED_4],
    ),
}
every_transcript = pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())


def up_to(transcript: Transcript, step: int) -> SocksHandshake:
    """Returns a handshake that awaits the answer number `step`."""
    client = transcript.client()
    assert client.begin() == transcript.sent[0]
    for answer, message in zip(transcript.answers[:step], transcript.sent[1:], strict=False):
        assert client.receive(answer) == message
    return client


def steps() -> Iterator[object]:
    for name, transcript in TRANSCRIPTS.items():
        for step in range(len(transcript.answers)):
            yield pytest.param(transcript, step, id=f"{name}-{step}")


every_step = pytest.mark.parametrize("transcript, step", list(steps()))

# What each transcript awaits at each step, as `eof` says it.
METHOD = "instead of choosing a method of authentication"
VERDICT = "instead of answering to user and password"
REPLY = "instead of answering to the request to connect"


def awaited(transcript: Transcript, step: int) -> str:
    if step == len(transcript.answers) - 1:
        return REPLY
    return (METHOD, VERDICT)[step]


# Handshakes that succeed.


@every_transcript
def test_handshake_sends_what_the_specification_says(transcript: Transcript) -> None:
    client = transcript.client()
    sent = [client.begin()]
    for answer in transcript.answers:
        assert not client.done
        sent.append(client.receive(answer))
    assert client.done
    assert sent == [*transcript.sent, b""]
    assert client.leftover == b""


@every_transcript
def test_handshake_fed_one_byte_at_a_time_sends_the_same(transcript: Transcript) -> None:
    client = transcript.client()
    sent = [client.begin()]
    for answer in transcript.answers:
        pieces = [client.receive(answer[index : index + 1]) for index in range(len(answer))]
        assert pieces[:-1] == [b""] * (len(answer) - 1)
        sent.append(pieces[-1])
    assert client.done
    assert sent == [*transcript.sent, b""]
    assert client.leftover == b""


@given(st.sampled_from(list(TRANSCRIPTS.values())), st.binary(max_size=40), st.data())
def test_handshake_cut_anywhere_sends_the_same_and_keeps_what_follows(
    transcript: Transcript, behind: bytes, data: st.DataObject
) -> None:
    client = transcript.client()
    sent = [client.begin()]
    for number, answer in enumerate(transcript.answers):
        last = number == len(transcript.answers) - 1
        # Pieces may be empty. Only in the piece that ends the last answer may there be more.
        cuts = sorted(data.draw(st.lists(st.integers(0, len(answer) - 1), max_size=6)))
        bounds = [0, *cuts, len(answer)]
        message = b""
        for start, end in itertools.pairwise(bounds):
            assert not client.done
            piece = answer[start:end] + (behind if last and end == len(answer) else b"")
            message = client.receive(piece)
            assert (message == b"") or end == len(answer)
        sent.append(message)
    assert client.done
    assert sent == [*transcript.sent, b""]
    assert client.leftover == behind


def test_no_bytes_change_nothing() -> None:
    client = up_to(TRANSCRIPTS["socks5-name"], 0)
    assert client.receive(b"") == b""
    assert client.receive(b"\x05") == b""
    assert client.receive(b"") == b""
    assert client.receive(b"\x00") == REQUEST


def test_auth_may_be_left_out() -> None:
    assert SocksHandshake(5, "example.com", 80).begin() == b"\x05\x01\x00"


@pytest.mark.parametrize(
    "auth, message",
    [
        ((b"", b""), b"\x01\x00\x00"),
        ((b"token", b""), b"\x01\x05token\x00"),
        ((b"", b"token"), b"\x01\x00\x05token"),
        ((b"\0\xff", b"\r\n"), b"\x01\x02\0\xff\x02\r\n"),
        ((b"u" * 255, b"p" * 255), b"\x01\xff" + b"u" * 255 + b"\xff" + b"p" * 255),
    ],
)
def test_credentials_of_every_length_are_sent_as_they_are(auth: tuple[bytes, bytes], message: bytes) -> None:
    client = SocksHandshake(5, "example.com", 80, auth)
    client.begin()
    assert client.receive(b"\x05\x02") == message


def test_longest_name_is_sent_whole() -> None:
    name = ".".join(["a" * 50] * 5) + "."
    assert len(name) == 255
    client = SocksHandshake(5, name, 80, None)
    client.begin()
    assert client.receive(b"\x05\x00") == b"\x05\x01\x00\x03\xff" + name.encode() + b"\x00\x50"
    assert SocksHandshake(4, name, 80, None).begin() == b"\x04\x01\x00\x50\0\0\0\x01\0" + name.encode() + b"\0"


def test_unspecified_address_is_no_name_to_socks4() -> None:
    assert SocksHandshake(4, "0.0.0.0", 80, None).begin() == b"\x04\x01\x00\x50\0\0\0\0\0"


def test_bytes_behind_the_last_reply_are_left_over() -> None:
    client = up_to(TRANSCRIPTS["socks5-name"], 1)
    assert client.receive(GRANTED + b"SSH-2.0-x") == b""
    assert client.done
    assert client.leftover == b"SSH-2.0-x"


# What cannot be sent.


@pytest.mark.parametrize(
    "version, host, match",
    [
        (5, "a" * 256, "256 bytes, and SOCKS carries 255"),
        (4, "a" * 256, "256 bytes, and SOCKS carries 255"),
        (5, "a" * 70_000, "70000 bytes"),
        (5, "", "neither an IP address nor a name"),
        (4, "", "neither an IP address nor a name"),
        (4, "a\0b", "neither an IP address nor a name"),
        (5, "a\0b", "neither an IP address nor a name"),
        (5, "bücher.example", "neither an IP address nor a name"),
        (5, "[::1]", "neither an IP address nor a name"),
        (5, "example.com:80", "neither an IP address nor a name"),
        (5, "example.com\n", "neither an IP address nor a name"),
        (5, "fe80::1%eth0", "zone"),
        (4, "fe80::1%eth0", "zone"),
        (4, "::1", "IPv6"),
        (4, "::ffff:192.0.2.1", "IPv6"),
        (4, "0.0.0.1", "announces a name"),
        (4, "0.0.0.255", "announces a name"),
    ],
)
def test_host_that_socks_cannot_carry_is_a_local_error(version: Literal[4, 5], host: str, match: str) -> None:
    with pytest.raises(LocalProtocolError, match=match):
        SocksHandshake(version, host, 80, None)


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_that_does_not_exist_is_a_local_error(port: int) -> None:
    with pytest.raises(LocalProtocolError, match=f"the port {port} does not exist"):
        SocksHandshake(5, "example.com", port, None)


def test_version_that_does_not_exist_is_a_local_error() -> None:
    version: Literal[4, 5] = 6  # type: ignore[assignment]
    with pytest.raises(LocalProtocolError, match="versions 4 and 5"):
        SocksHandshake(version, "example.com", 80, None)


@pytest.mark.parametrize(
    "version, auth, match",
    [
        (5, (b"u" * 256, b"secret"), "the user has 256 bytes"),
        (5, (b"user", b"secret" * 50), "the password has 300 bytes"),
        (4, (b"u" * 256, b""), "the user has 256 bytes"),
        (4, (b"us\0er", b""), "NUL"),
        (4, (b"user", b"secret"), "SOCKS4 has no passwords"),
    ],
)
def test_credentials_that_socks_cannot_carry_are_a_local_error(
    version: Literal[4, 5], auth: tuple[bytes, bytes], match: str
) -> None:
    with pytest.raises(LocalProtocolError, match=match) as caught:
        SocksHandshake(version, "example.com", 80, auth)
    assert "secret" not in str(caught.value)


# What the proxy refuses.

REPLIES = {
    1: "general failure",
    2: "connection not allowed by the ruleset",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}
REPLIES_4 = {
    91: "request rejected or failed",
    92: "request rejected, as the proxy cannot reach identd on the client",
    93: "request rejected, as the client's identd reports another user",
}


def test_refusal_of_socks5_says_what_its_code_means() -> None:
    for code in range(1, 256):
        client = up_to(TRANSCRIPTS["socks5-name"], 1)
        meaning = REPLIES.get(code, "a reply that is not assigned")
        with pytest.raises(ProxyError) as caught:
            client.receive(bytes((5, code)) + GRANTED[2:])
        assert str(caught.value) == f"the SOCKS5 proxy refused: {meaning} (reply code {code})"
        assert caught.value.reply_code == code
        assert caught.value.status_code is None
        assert not client.done


def test_refusal_of_socks4_says_what_its_code_means() -> None:
    for code in {*range(256)} - {90}:
        client = up_to(TRANSCRIPTS["socks4a"], 0)
        meaning = REPLIES_4.get(code, "a reply that is not assigned")
        with pytest.raises(ProxyError) as caught:
            client.receive(bytes((0, code)) + bytes(6))
        assert str(caught.value) == f"the SOCKS4 proxy refused: {meaning} (reply code {code})"
        assert caught.value.reply_code == code


@pytest.mark.parametrize("name, step, refusal", [("socks5-name", 1, b"\x05\x05"), ("socks4", 0, b"\x00\x5b")])
def test_refusal_that_is_cut_short_is_understood(name: str, step: int, refusal: bytes) -> None:
    client = up_to(TRANSCRIPTS[name], step)
    assert client.receive(refusal[:1]) == b""
    with pytest.raises(ProxyError, match="refused: ") as caught:
        client.receive(refusal[1:])
    assert caught.value.reply_code == refusal[1]


def test_refused_credentials_say_so() -> None:
    for status in range(1, 256):
        client = up_to(TRANSCRIPTS["socks5-password"], 1)
        with pytest.raises(ProxyError) as caught:
            client.receive(bytes((1, status)))
        assert str(caught.value) == f"the SOCKS5 proxy refused user and password (status {status})"
        assert caught.value.reply_code is None


@pytest.mark.parametrize(
    "auth, offered", [(None, "no authentication"), (AUTH, "no authentication, and user and password")]
)
def test_no_acceptable_method_says_what_was_offered(auth: tuple[bytes, bytes] | None, offered: str) -> None:
    client = SocksHandshake(5, "example.com", 443, auth)
    client.begin()
    with pytest.raises(ProxyError) as caught:
        client.receive(b"\x05\xff")
    assert str(caught.value) == (
        f"the SOCKS5 proxy accepts none of the methods of authentication that were offered: {offered}"
    )
    assert caught.value.reply_code is None


@pytest.mark.parametrize("auth", [None, AUTH])
def test_method_that_was_not_offered_is_an_error(auth: tuple[bytes, bytes] | None) -> None:
    for method in {*range(1, 255)} - ({2} if auth else set()):
        client = SocksHandshake(5, "example.com", 443, auth)
        client.begin()
        name = {1: "GSSAPI", 2: "user and password"}.get(method, "unknown")
        with pytest.raises(
            ProxyError, match=re.escape(f"chose the method of authentication {method:#04x} ({name}), but")
        ):
            client.receive(bytes((5, method)))


# What is no SOCKS.


@every_step
def test_wrong_version_byte_is_an_error_at_once(transcript: Transcript, step: int) -> None:
    expected = transcript.answers[step][0]
    for version in {*range(256)} - {expected}:
        client = up_to(transcript, step)
        with pytest.raises(ProxyError, match=f"sent the version byte {version:#04x}, not {expected:#04x}, in "):
            client.receive(bytes((version,)))


@pytest.mark.parametrize("size", [1, 4, 5, 400])
@pytest.mark.parametrize("name", ["socks5-name", "socks4a"])
def test_http_server_is_recognised_and_quoted_cut(name: str, size: int) -> None:
    client = up_to(TRANSCRIPTS[name], 0)
    response = (b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 400)[:size]
    with pytest.raises(ProxyError, match="looks like an HTTP server") as caught:
        client.receive(response)
    assert ascii(response[:28].decode())[1:-1] in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name, received, hint",
    [
        ("socks5-name", b"\x15\x03\x01\x00\x02\x02\x46", "TLS server"),
        ("socks5-name", b"\x15", "TLS server"),
        ("socks5-name", b"SSH-2.0-OpenSSH_9.2\r\n", "SSH server"),
        ("socks5-name", b"\x00\x5b\x00\x00\x00\x00\x00\x00", "SOCKS4 proxy"),
        ("socks4a", b"\x05\xff", "SOCKS5 proxy"),
        ("socks5-name", b"HTTX", None),
        ("socks5-name", b"\x15\x15", None),
        ("socks5-name", b"\x04\x5a", None),
        ("socks4a", b"\x04\x5a", None),
    ],
)
def test_other_protocols_are_hinted_at(name: str, received: bytes, hint: str | None) -> None:
    client = up_to(TRANSCRIPTS[name], 0)
    with pytest.raises(ProxyError, match=f"this looks like an? {hint}$" if hint else "'$"):
        client.receive(received)


def test_reserved_byte_of_the_reply_has_to_be_zero() -> None:
    for reserved in range(1, 256):
        client = up_to(TRANSCRIPTS["socks5-name"], 1)
        with pytest.raises(ProxyError, match=f"malformed reply: its reserved byte is {reserved:#04x}") as caught:
            client.receive(b"\x05\x00" + bytes((reserved,)))
        assert caught.value.reply_code is None


@pytest.mark.parametrize("behind", [b"", bytes(1), bytes(300)])
def test_address_type_of_the_reply_has_to_exist(behind: bytes) -> None:
    for address_type in {*range(256)} - {1, 3, 4}:
        client = up_to(TRANSCRIPTS["socks5-name"], 1)
        with pytest.raises(ProxyError, match=f"malformed reply: its address type is {address_type:#04x}"):
            client.receive(b"\x05\x00\x00" + bytes((address_type,)) + behind)


@pytest.mark.parametrize("name, step", [("socks5-name", 0), ("socks5-password", 0), ("socks5-password", 1)])
def test_answer_to_what_was_not_sent_yet_is_an_error(name: str, step: int) -> None:
    transcript = TRANSCRIPTS[name]
    client = up_to(transcript, step)
    early = transcript.answers[step + 1]
    with pytest.raises(ProxyError, match=f"sent {len(early)} bytes too many, before they were asked for"):
        client.receive(transcript.answers[step] + early)


@every_step
@given(garbage=st.binary(min_size=1, max_size=600))
def test_garbage_is_a_proxy_error_or_an_answer_but_nothing_else(
    transcript: Transcript, step: int, garbage: bytes
) -> None:
    client = up_to(transcript, step)
    error: ProxyError | None = None
    for index in range(len(garbage)):
        try:
            client.receive(garbage[index : index + 1])
        except ProxyError as exc:
            error = exc
        assert len(client._received) <= 262  # what is kept between two calls
        if client.done or error is not None:
            break
    assert error is None or (str(error).startswith(f"the SOCKS{transcript.version} proxy ") and not client.done)


# Endings.


@every_step
def test_close_at_every_byte_says_at_which_step(transcript: Transcript, step: int) -> None:
    answer = transcript.answers[step]
    for count in range(len(answer)):
        client = up_to(transcript, step)
        assert client.receive(answer[:count]) == b""
        with pytest.raises(ProxyError) as caught:
            client.eof()
        partly = f", {count} bytes into its answer" if count else ""
        assert str(caught.value) == (
            f"the SOCKS{transcript.version} proxy closed the connection {awaited(transcript, step)}{partly}"
        )
        assert caught.value.reply_code is None
        assert not client.done


def test_close_before_the_handshake_says_so() -> None:
    with pytest.raises(ProxyError, match="the SOCKS5 proxy closed the connection before the handshake began"):
        SocksHandshake(5, "example.com", 443, None).eof()


def failed() -> SocksHandshake:
    client = up_to(TRANSCRIPTS["socks5-name"], 1)
    with pytest.raises(ProxyError):
        client.receive(b"\x05\x01")
    return client


def finished() -> SocksHandshake:
    client = up_to(TRANSCRIPTS["socks5-name"], 1)
    client.receive(GRANTED)
    return client


def test_use_out_of_order_is_a_bug_of_ours() -> None:
    for client in (failed(), finished()):
        with pytest.raises(RuntimeError, match="httpcore bug"):
            client.receive(b"x")
        with pytest.raises(RuntimeError, match="httpcore bug"):
            client.begin()
        with pytest.raises(RuntimeError, match="httpcore bug"):
            client.eof()
    client = TRANSCRIPTS["socks5-name"].client()
    with pytest.raises(RuntimeError, match="httpcore bug"):
        client.receive(b"\x05\x00")
    client.begin()
    with pytest.raises(RuntimeError, match="httpcore bug"):
        client.begin()


# state event next
ARROWS = """
START             OFFER         AWAITING_METHOD
START             REQUEST       AWAITING_REPLY
AWAITING_METHOD   AUTHENTICATE  AWAITING_VERDICT
AWAITING_METHOD   REQUEST       AWAITING_REPLY
AWAITING_VERDICT  REQUEST       AWAITING_REPLY
AWAITING_REPLY    GRANTED       DONE
START             FAIL          FAILED
AWAITING_METHOD   FAIL          FAILED
AWAITING_VERDICT  FAIL          FAILED
AWAITING_REPLY    FAIL          FAILED
"""


def test_table_has_these_arrows_and_no_others() -> None:
    arrows = [line.split() for line in ARROWS.strip().splitlines()]
    drawn = {(SocksState[start], SocksEvent[event]): SocksState[end] for start, event, end in arrows}
    assert dict(SOCKS) == drawn


# Credentials.


@pytest.mark.parametrize("version", [4, 5])
def test_repr_has_the_state_and_no_credentials(version: Literal[4, 5]) -> None:
    client = SocksHandshake(version, "example.com", 443, AUTH if version == 5 else (USER, b""))
    assert repr(client) == f"<SocksHandshake SOCKS{version} START>"
    client.begin()
    state = "AWAITING_METHOD" if version == 5 else "AWAITING_REPLY"
    assert repr(client) == f"<SocksHandshake SOCKS{version} {state}>"


@pytest.mark.parametrize("prefix", [b"", b"HTTP/1.1 400 ", b"\x01\x01", b"\x05\x00\x01", b"\x05\x01", b"\x00\x00"])
@pytest.mark.parametrize("name, step", [("socks5-password", 1), ("socks5-password", 2), ("socks4a-user", 0)])
def test_credentials_sent_back_are_not_quoted(name: str, step: int, prefix: bytes) -> None:
    client = up_to(TRANSCRIPTS[name], step)
    with pytest.raises(ProxyError) as caught:
        client.receive(prefix + USER + b" " + PASSWORD)
    assert "aladdin" not in str(caught.value)
    assert "sesame" not in str(caught.value)
