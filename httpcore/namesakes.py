"""Namesakes: classes whose names httpcore 1.x has as well, for something else. Keywords tell which one is meant."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Set
from typing import TypeVar

__all__ = ["share_name"]

_T = TypeVar("_T")


def share_name(cls: type[_T], module: str, keywords: Set[str]) -> None:
    """Has a call of `cls` with any of `keywords` make one of its namesake in `module`.

    Subclasses are left alone, and so is every other call.

    Args:
        cls: the class, which has no `__new__` of its own.
        module: where the namesake is; imported when it is first called.
        keywords: those that the namesake knows and `cls` does not.
    """
    namesake: type | None = None

    @functools.wraps(cls.__init__)  # whose signature is what is shown of the class
    def new(called: type[_T], /, *args: object, **kwargs: object) -> object:
        nonlocal namesake
        if not kwargs or called is not cls or keywords.isdisjoint(kwargs):
            return object.__new__(called)
        if namesake is None:
            namesake = getattr(importlib.import_module(module), cls.__name__)
        return namesake(*args, **kwargs)

    new.__name__, new.__qualname__ = "__new__", f"{cls.__qualname__}.__new__"
    cls.__new__ = new  # type: ignore[method-assign, assignment]
