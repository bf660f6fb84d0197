"""An ASGI app for WebSockets alone: echoes, and closes or refuses when it is told to."""

from __future__ import annotations

from tests.origin_app import Message, Receive, Send


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Echoes each message, but closes with the code N at the text "close N". `/refuse` is refused.

    Of the subprotocols that are offered it takes the last.
    """
    if scope["type"] == "lifespan":
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})
        assert (await receive())["type"] == "lifespan.shutdown"
        await send({"type": "lifespan.shutdown.complete"})
        return
    assert scope["type"] == "websocket"
    assert await receive() == {"type": "websocket.connect"}
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    subprotocols = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": subprotocols[-1] if subprotocols else None})
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        if text is not None and text.startswith("close "):
            await send({"type": "websocket.close", "code": int(text.removeprefix("close ")), "reason": "as told"})
            return
        await send({"type": "websocket.send", "bytes": message["bytes"], "text": text})
    assert message["type"] == "websocket.disconnect"
