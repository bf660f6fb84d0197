"""An ASGI app with what clients of the web's sort live by: redirects, cookies, credentials. Else origin_app."""

from __future__ import annotations

import base64

from tests.origin_app import Message, Receive, Send, app

_BASIC = b"Basic " + base64.b64encode(b"user:secret")
_CHALLENGE = b'Digest realm="tests", nonce="0123456789abcdef", qop="auth", algorithm=MD5'


async def web_app(scope: Message, receive: Receive, send: Send) -> None:
    """Answers `/redirect/<status>`, `/set-cookie`, `/cookies`, `/basic` and `/digest` itself."""
    _, name, *rest = scope["path"].split("/")
    headers = dict(scope["headers"])
    if name == "redirect":
        await _answer(send, int(rest[0]), b"elsewhere", (b"location", b"/upload"))
    elif name == "set-cookie":
        await _answer(send, 200, b"", (b"set-cookie", b"first=1; Path=/"), (b"set-cookie", b"second=2; Path=/"))
    elif name == "cookies":
        await _answer(send, 200, headers.get(b"cookie", b""))
    elif name == "basic":
        await _answer(send, 200 if headers.get(b"authorization") == _BASIC else 401, b"")
    elif name == "digest":
        if headers.get(b"authorization", b"").startswith(b"Digest "):
            await _answer(send, 200, b"welcome")
        else:
            await _answer(send, 401, b"who is it?", (b"www-authenticate", _CHALLENGE))
    else:
        await app(scope, receive, send)


async def _answer(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fields = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
