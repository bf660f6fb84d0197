"""The clients of the openai and anthropic packages on this core: answers, streams of server-sent events, and errors."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import anthropic
import openai
import pytest

import httpcore
from tests.adapters.httpx_kinds import KINDS, Kind, kinds
from tests.adapters.llm_app import WORDS, LLMApp
from tests.asgi_server import asgi_server
from tests.asgi_server_h2 import asgi_server_h2
from tests.conftest import TLSFiles

# anthropic takes clients of httpx2 alone.
httpx2_kinds = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name == "httpx2"], ids=str)
MESSAGES: Any = [{"role": "user", "content": "Say it – all of it"}]
OPENAI: dict[str, Any] = {"model": "test", "messages": MESSAGES}
ANTHROPIC: dict[str, Any] = {"model": "test", "messages": MESSAGES, "max_tokens": 100}


@pytest.fixture(autouse=True)
def _own_settings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("ANTHROPIC_", "OPENAI_")):
            monkeypatch.delenv(name)


def _openai(kind: Kind, url: str, http_client: Any, **options: Any) -> Any:
    make = openai.OpenAI if kind.blocking else openai.AsyncOpenAI
    return make(api_key="secret", base_url=f"{url}/v1", http_client=http_client, **options)


def _anthropic(kind: Kind, url: str, http_client: Any, **options: Any) -> Any:
    make: Any = anthropic.Anthropic if kind.blocking else anthropic.AsyncAnthropic
    return make(api_key="secret", base_url=url, http_client=http_client, **options)


async def _items(kind: Kind, stream: Any) -> list[Any]:
    if kind.blocking:
        return await asyncio.to_thread(list, stream)
    return [item async for item in stream]


def _text(chunks: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@kinds
async def test_openai_completion(kind: Kind) -> None:
    app = LLMApp()
    async with asgi_server(app) as origin, kind.client() as http:
        completion = await kind.call(_openai(kind, origin.url, http).chat.completions.create, **OPENAI)
        assert completion.choices[0].message.content == "".join(WORDS)
        assert app.requests == [OPENAI]
        assert app.headers[b"authorization"] == b"Bearer secret"


@kinds
async def test_openai_stream(kind: Kind) -> None:
    async with asgi_server(LLMApp()) as origin, kind.client() as http:
        create = _openai(kind, origin.url, http).chat.completions.create
        for _ in range(2):
            chunks = await _items(kind, await kind.call(create, **OPENAI, stream=True))
            assert _text(chunks) == "".join(WORDS)
        assert origin.connections == 1


@kinds
async def test_openai_stream_over_http2(kind: Kind, tls: TLSFiles) -> None:
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    async with asgi_server_h2(LLMApp(), tls.server_context) as origin, kind.client(ssl=ssl) as http:
        create = _openai(kind, origin.url, http).chat.completions.create
        streams = await asyncio.gather(*(kind.call(create, **OPENAI, stream=True) for _ in range(10)))
        for chunks in await asyncio.gather(*(_items(kind, stream) for stream in streams)):
            assert _text(chunks) == "".join(WORDS)


@kinds
async def test_openai_events_come_as_they_are_sent(kind: Kind) -> None:
    app = LLMApp()
    app.pause = asyncio.Event()
    async with asgi_server(app) as origin, kind.client() as http:
        stream = await kind.call(_openai(kind, origin.url, http).chat.completions.create, **OPENAI, stream=True)
        parts = aiter(stream) if not kind.blocking else iter(stream)
        first = await (asyncio.to_thread(next, parts) if kind.blocking else anext(parts))
        assert _text([first]) == WORDS[0]
        app.pause.set()
        assert _text([first, *await _items(kind, parts)]) == "".join(WORDS)


@kinds
async def test_openai_stream_that_is_left(kind: Kind) -> None:
    app = LLMApp()
    app.pause = asyncio.Event()
    async with asgi_server(app) as origin, kind.client() as http:
        client = _openai(kind, origin.url, http)
        stream = await kind.call(client.chat.completions.create, **OPENAI, stream=True)
        await kind.call(stream.close)
        await app.left.wait()
        app.pause.set()
        assert (await kind.call(client.chat.completions.create, **OPENAI)).id == "1"
        origin.errors.clear()


@kinds
async def test_openai_tries_again(kind: Kind) -> None:
    app = LLMApp()
    app.overloaded = 2
    async with asgi_server(app) as origin, kind.client() as http:
        client = _openai(kind, origin.url, http, max_retries=2)
        assert (await kind.call(client.chat.completions.create, **OPENAI)).id == "1"
        assert len(app.requests) == 3


@kinds
async def test_openai_errors(kind: Kind) -> None:
    app = LLMApp()
    app.pause = asyncio.Event()
    async with asgi_server(app) as origin, kind.client() as http:
        client = _openai(kind, origin.url, http, max_retries=0)
        # A timeout in a stream is the client's own error, which the package does not translate.
        stream = await kind.call(client.chat.completions.create, **OPENAI, stream=True, timeout=0.05)
        with pytest.raises((kind.module.ReadTimeout, openai.APITimeoutError)):
            await _items(kind, stream)
        await app.left.wait()
        origin.errors.clear()
    async with kind.client() as http:
        with pytest.raises(openai.APIConnectionError) as caught:
            client = _openai(kind, origin.url, http, max_retries=0)
            await kind.call(client.chat.completions.create, **OPENAI)
        assert type(caught.value.__cause__) is kind.module.ConnectError


@httpx2_kinds
async def test_anthropic_message(kind: Kind) -> None:
    app = LLMApp()
    async with asgi_server(app) as origin, kind.client() as http:
        message = await kind.call(_anthropic(kind, origin.url, http).messages.create, **ANTHROPIC)
        assert message.content[0].text == "".join(WORDS)
        assert app.requests == [ANTHROPIC]
        assert b"anthropic-version" in app.headers


@httpx2_kinds
async def test_anthropic_events(kind: Kind) -> None:
    async with asgi_server(LLMApp()) as origin, kind.client() as http:
        create = _anthropic(kind, origin.url, http).messages.create
        events = await _items(kind, await kind.call(create, **ANTHROPIC, stream=True))
        assert [event.delta.text for event in events if event.type == "content_block_delta"] == WORDS
        assert events[-1].type == "message_stop"


@httpx2_kinds
async def test_anthropic_text_stream_over_http2(kind: Kind, tls: TLSFiles) -> None:
    ssl = httpcore.SSLConfig(verify=tls.ca_path)
    async with asgi_server_h2(LLMApp(), tls.server_context) as origin, kind.client(ssl=ssl) as http:
        manager = _anthropic(kind, origin.url, http).messages.stream(**ANTHROPIC)
        if kind.blocking:

            def read() -> Any:
                with manager as stream:
                    return list(stream.text_stream), stream.get_final_message()

            words, message = await asyncio.to_thread(read)
        else:
            async with manager as stream:
                words = [word async for word in stream.text_stream]
                message = await stream.get_final_message()
        assert words == WORDS
        assert message.stop_reason == "end_turn"


@httpx2_kinds
async def test_anthropic_errors(kind: Kind) -> None:
    app = LLMApp()
    app.overloaded = 1
    async with asgi_server(app) as origin, kind.client() as http:
        client = _anthropic(kind, origin.url, http, max_retries=0)
        with pytest.raises(anthropic.APIStatusError) as refused:
            await kind.call(client.messages.create, **ANTHROPIC)
        assert refused.value.status_code == 529
    async with kind.client() as http:
        client = _anthropic(kind, origin.url, http, max_retries=0)
        with pytest.raises(anthropic.APIConnectionError) as caught:
            await kind.call(client.messages.create, **ANTHROPIC)
        assert type(caught.value.__cause__) is kind.module.ConnectError
