"""Content for uploads and downloads: any size, always the same, no block like another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

_BLOCK = 64 * 1024


def blocks(size: int) -> Iterator[bytes]:
    """Gives `size` bytes that cannot be compressed, in blocks of 64 KiB."""
    for index in range(-(-size // _BLOCK)):
        yield random.Random(index).randbytes(_BLOCK)[: size - index * _BLOCK]


def sha256(size: int) -> str:
    """Returns what the content of that size hashes to."""
    digest = hashlib.sha256()
    for block in blocks(size):
        digest.update(block)
    return digest.hexdigest()
