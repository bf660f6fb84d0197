"""An ASGI app that answers as the APIs of language models do: in one piece, or as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tests.origin_app import Message, Receive, Send

WORDS = ["The", " quick", " brown", " fox", " – ", "jumps."]
_USAGE = {"input_tokens": 3, "output_tokens": len(WORDS)}


class LLMApp:
    """The app.

    Attributes:
        requests: the decoded content of what was asked, in order.
        headers: the header fields of the last request.
        pause: an event that a stream waits for in its middle, if it is set.
        left: set once a client has left in the middle of a stream.
        overloaded: how many requests more are refused with 529, to be tried again.
    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: dict[bytes, bytes] = {}
        self.pause: asyncio.Event | None = None
        self.left = asyncio.Event()
        self.overloaded = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        self.headers = dict(scope["headers"])
        content = b""
        more = True
        while more:
            message = await receive()
            content += message["body"]
            more = message["more_body"]
        request = json.loads(content)
        self.requests.append(request)
        if self.overloaded:
            self.overloaded -= 1
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}}
            await _answer(send, 529, error, (b"retry-after-ms", b"1"))
            return
        openai = scope["path"] == "/v1/chat/completions"
        if not request.get("stream"):
            await _answer(send, 200, _completion() if openai else _message("".join(WORDS)))
            return
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        events = _chunks() if openai else _message_events()
        for index, event in enumerate(events):
            if index == len(events) // 2 and self.pause is not None:
                await self._wait(self.pause, receive)
                if self.left.is_set():
                    raise ConnectionResetError("the client has left")
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _wait(self, pause: asyncio.Event, receive: Receive) -> None:
        waiting = asyncio.ensure_future(pause.wait())
        leaving = asyncio.ensure_future(receive())
        try:
            await asyncio.wait([waiting, leaving], return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                self.left.set()
        finally:
            waiting.cancel()
            leaving.cancel()
            await asyncio.gather(waiting, leaving, return_exceptions=True)


async def _answer(send: Send, status: int, content: object, *headers: tuple[bytes, bytes]) -> None:
    body = json.dumps(content).encode()
    fields = [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _event(data: object, name: str = "") -> bytes:
    line = f"event: {name}\n" if name else ""
    return f"{line}data: {json.dumps(data)}\n\n".encode()


def _completion() -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(WORDS)}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "test", "choices": [choice]}


def _chunks() -> list[bytes]:
    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "test"}
        return _event({**head, "choices": [choice]})

    return [*(chunk({"content": word}) for word in WORDS), chunk({}, "stop"), b"data: [DONE]\n\n"]


def _message(text: str | None) -> dict[str, Any]:
    return {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "test",
        "content": [] if text is None else [{"type": "text", "text": text}],
        "stop_reason": None if text is None else "end_turn",
        "stop_sequence": None,
        "usage": _USAGE,
    }


def _message_events() -> list[bytes]:
    start: dict[str, Any] = {"content_block": {"type": "text", "text": ""}, "index": 0}
    end = {"delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": len(WORDS)}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message(None)},
        {"type": "content_block_start", **start},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", **end},
        {"type": "message_stop"},
    ]
    return [_event(event, event["type"]) for event in events]
