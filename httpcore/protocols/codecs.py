"""Which codec HTTP/1.1 connections have. A codec, and the library it stands on, is imported when it is chosen."""

from __future__ import annotations

import functools
from typing import Literal, TypeAlias, cast, get_args

from httpcore.protocols.codec import Codec

__all__ = ["CodecName", "auto_codec", "check_codec_name", "codec_named"]

CodecName: TypeAlias = Literal["auto", "h11", "llhttp"]


def check_codec_name(name: object) -> CodecName:
    """Returns `name`, for which there is a codec.

    Raises:
        TypeError, ValueError: it is no such name.
    """
    if not isinstance(name, str):
        raise TypeError(f"http1_codec takes a str, not {type(name).__name__}")
    if name not in get_args(CodecName):
        raise ValueError(f"http1_codec must be 'auto', 'h11' or 'llhttp', not {name!r}")
    return cast(CodecName, name)


def codec_named(name: CodecName) -> type[Codec]:
    """Returns the codec.

    Raises:
        ImportError: `"llhttp"` without the extra.
    """
    if name == "auto":
        return auto_codec()
    if name == "h11":
        from httpcore.protocols.h11_codec import H11Codec

        return H11Codec
    try:
        from httpcore.protocols.llhttp_codec import LLHTTPCodec
    except ImportError as exc:
        raise ImportError("http1_codec='llhttp' needs httptools: pip install httpcore[fast]") from exc
    return LLHTTPCodec


@functools.cache
def auto_codec() -> type[Codec]:
    """Returns the fastest codec whose library is installed."""
    try:
        return codec_named("llhttp")
    except ImportError:
        return codec_named("h11")
