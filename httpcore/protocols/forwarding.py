"""Forwarding: what becomes of a request that a proxy is to send on (RFC 9112 3.2.2)."""

from __future__ import annotations

from httpcore.headers import Headers
from httpcore.request import Request

__all__ = ["forwarded"]


def forwarded(request: Request, fields: list[tuple[bytes, bytes]], *, absolute: bool) -> Request:
    """Returns `request` as it goes to a proxy.

    Args:
        request: as it would go to its origin.
        fields: what the proxy is told besides. Credentials give way to those that the request has for it.
        absolute: whether the target names the origin: on HTTP/1.1, where nothing else does that a proxy must heed.
    """
    if b"proxy-authorization" in request.names:
        fields = [(name, value) for name, value in fields if name.lower() != b"proxy-authorization"]
    copy = request.with_headers(fields)
    if not absolute:  # HTTP/2 sends what Host says as :authority, by which the proxy goes
        headers = [(name, value) for name, value in copy.headers if name.lower() != b"host"]
        copy.headers = Headers([(b"Host", request.url.host_header), *headers])
    else:
        origin = b"http://" + request.url.host_header
        if request.target[:1] == b"/":
            copy.target = origin + request.target
        elif request.target == b"*":  # RFC 9112 3.2.4: the last proxy makes it so again
            copy.target = origin
    return copy
