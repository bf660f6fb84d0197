"""A small client in the manner of requests, for asyncio: sessions with cookies, redirects and credentials.

    async with Session() as session:
        response = await session.post("https://example.org/login", data={"name": "me"})
        response.raise_for_status()
        print((await session.get("https://example.org/items", params={"page": "2"})).json())

To see where a URL leads:

    python examples/requests_async.py https://example.org/
"""

from __future__ import annotations

import asyncio
import base64
import json as jsonlib
import sys
import urllib.request
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from functools import partialmethod
from http.client import HTTPMessage
from http.cookiejar import CookieJar
from typing import Any, Self, cast
from urllib.parse import urlencode, urljoin, urlsplit

import httpcore

Body = bytes | str | AsyncIterable[bytes] | Callable[[], AsyncIterable[bytes]] | None
Fields = Mapping[str, str]

_REDIRECTS = {301, 302, 303, 307, 308}
_CREDENTIALS = {"authorization", "cookie", "proxy-authorization"}  # for nobody but the origin they were given for


class HTTPError(Exception):
    """`raise_for_status` found 4xx or 5xx: `response` is the answer."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"{response.status_code} for {response.url}")
        self.response = response


class TooManyRedirects(Exception):
    """There were more than the session's `max_redirects`."""


class Response:
    """A response. `history` has the redirects that led to it. Close a streamed one, best by `async with`."""

    def __init__(self, response: httpcore.Response, url: str, history: list[Response]) -> None:
        self.status_code, self.headers = response.status_code, response.headers
        self.url, self.history = url, history
        self._response = response
        self._message = HTTPMessage()
        for name, value in response.headers:
            self._message[name.decode("latin-1")] = value.decode("latin-1")

    def info(self) -> HTTPMessage:
        """The header fields in the form that the standard library, and so a `CookieJar`, reads."""
        return self._message

    @property
    def content(self) -> bytes:
        return self._response.body

    @property
    def text(self) -> str:
        return self.content.decode(self._message.get_content_charset("utf-8"), "replace")

    def json(self) -> Any:
        return jsonlib.loads(self.content)

    def raise_for_status(self) -> None:
        if self.status_code >= 400:
            raise HTTPError(self)

    def stream(self) -> AsyncIterator[bytes]:
        """The content in pieces as they come, decoded."""
        return self._response.stream()

    async def read(self) -> bytes:
        return await self._response.read()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._response.close()


class Session:
    """Keeps connections, cookies, and what all requests have in common: header fields, and credentials for Basic.

    No credentials that a request has go to another origin that a redirect leads to.
    """

    def __init__(
        self, pool: httpcore.ConnectionPool | None = None, *, headers: Fields | None = None, max_redirects: int = 20
    ) -> None:
        self.headers = dict(headers or {})
        self.auth: tuple[str, str] | None = None
        self.cookies = CookieJar()
        self.max_redirects = max_redirects
        self._pool = httpcore.ConnectionPool() if pool is None else pool

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Fields | None = None,
        headers: Fields | None = None,
        data: Body | Fields = None,
        json: object = None,
        auth: tuple[str, str] | None = None,
        follow_redirects: bool = True,
        stream: bool = False,
        timeout: float | None = None,
    ) -> Response:
        """Sends a request, and follows redirects, except with a body that would have to be sent again and cannot."""
        if params:
            parts = urlsplit(url)
            url = parts._replace(query="&".join(filter(None, [parts.query, urlencode(params)]))).geturl()
        fields = {name.lower(): value for name, value in {**self.headers, **(headers or {})}.items()}
        body, content_type = _encode(data, json)
        if content_type is not None:
            fields.setdefault("content-type", content_type)
        if credentials := auth or self.auth:
            fields.setdefault("authorization", f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}")

        history: list[Response] = []
        while True:
            asked = urllib.request.Request(url, headers=fields)  # the form in which the jar wants it
            self.cookies.add_cookie_header(asked)
            cookie = asked.get_header("Cookie")
            sent = fields if cookie is None else {**fields, "cookie": cookie}
            received = await self._pool.request(method, url, sent, body, stream, timeout=timeout)
            response = Response(received, url, history)
            self.cookies.extract_cookies(cast(Any, response), asked)

            status, location = response.status_code, response.headers.get("location")
            if not follow_redirects or status not in _REDIRECTS or location is None:
                return response
            # RFC 9110 15.4: these become GET, the latter two by custom; all others are sent again as they were.
            becomes_get = (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST")
            if not (becomes_get or body is None or isinstance(body, (bytes, str)) or callable(body)):
                return response
            async with response:
                await response.read()  # and the connection can be used again
            history = [*history, response]
            if len(history) > self.max_redirects:
                raise TooManyRedirects(f"more than {self.max_redirects} redirects from {history[0].url}")
            before, url = url, _target(url, location)
            same_origin = httpcore.URL(url).origin == httpcore.URL(before).origin
            if becomes_get:
                method, body = "GET", None
            fields = {
                name: value
                for name, value in fields.items()
                if (same_origin or name not in _CREDENTIALS) and not (becomes_get and name.startswith("content-"))
            }

    get = partialmethod(request, "GET")
    head = partialmethod(request, "HEAD")
    post = partialmethod(request, "POST")
    put = partialmethod(request, "PUT")
    patch = partialmethod(request, "PATCH")
    delete = partialmethod(request, "DELETE")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._pool.close()


def _encode(data: Body | Fields, json: object) -> tuple[Body, str | None]:
    if json is not None:
        return jsonlib.dumps(json), "application/json"
    return (urlencode(data), "application/x-www-form-urlencoded") if isinstance(data, Mapping) else (data, None)


def _target(url: str, location: str) -> str:
    """Where a redirect leads. The fragment is passed on, unless it brings one of its own (RFC 9110 10.2.2)."""
    target = urlsplit(urljoin(url, location.encode("latin-1").decode("utf-8", "replace")))
    return target._replace(fragment=target.fragment or urlsplit(url).fragment).geturl()


async def main(url: str) -> None:
    async with Session() as session:
        response = await session.get(url)
    for each in [*response.history, response]:
        print(each.status_code, each.url)
    print(response.text)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
