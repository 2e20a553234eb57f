"""Indicator arrays that several calls share: while a sweep runs, the same indicator of the same bars is made once.

Only what hangs on the bars' own arrays is kept, for nobody writes to these; anything else is computed as ever. A kept
array is read-only.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from itertools import count
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")

SCALARS: Final = (int, float, bool, str, type(None))


class Memo:
    """Results by function and arguments, up to `limit` bytes of arrays; the one not asked for longest goes first.

    Of one thread.
    """

    def __init__(self, *roots: object, limit: int) -> None:
        """roots: bars and their arrays, whose indicators are kept."""
        self.limit, self.held = limit, 0
        # By id: the object itself, for an id means something only while its object lives, and a number of its own,
        # for an id comes again.
        self.known: dict[int, tuple[object, int]] = {}
        self.numbers = count()
        for root in roots:
            self._know(root)
        self.seen: set[Any] = set()
        self.gapless: set[int] = set()  # ids of known arrays that were looked through: nothing is missing
        self.results: OrderedDict[Any, tuple[Any, list[Any]]] = OrderedDict()

    def call(
        self, function: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any], at_once: bool
    ) -> R:
        """Return what the function gives, from the memo where it is there."""
        key = self._key(function, args, kwargs)
        if key is None:
            return function(*args, **kwargs)
        if key in self.results:
            self.results.move_to_end(key)
            kept: R = self.results[key][0]
            return kept
        result = function(*args, **kwargs)
        # Kept from the second call on: what is asked for once would only drive out what is shared.
        if at_once or key in self.seen:
            self._keep(key, result)
        self.seen.add(key)
        return result

    def _key(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        parts: list[Any] = [function]
        for name, value in [*enumerate(args), *sorted(kwargs.items())]:
            if id(value) in self.known:
                parts.append((name, "known", self.known[id(value)][1]))
            elif type(value) in SCALARS:
                parts.append((name, type(value), value))
            else:
                return None
        return tuple(parts)

    def _know(self, thing: object) -> None:
        self.known[id(thing)] = thing, next(self.numbers)

    def _keep(self, key: Any, result: Any) -> None:
        arrays = _arrays(result)
        size = sum(a.nbytes for a in arrays)
        if size > self.limit or not arrays:
            return
        # Not what it only hands on: that belongs to another result, or to the bars.
        own = [a for a in arrays if id(a) not in self.known]
        for array in own:
            array.flags.writeable = False
            self._know(array)
        self.results[key] = result, own
        self.held += sum(a.nbytes for a in own)
        while self.held > self.limit:
            _, (_, old) = self.results.popitem(last=False)
            for array in old:
                del self.known[id(array)]
                self.gapless.discard(id(array))
                self.held -= array.nbytes


def _arrays(result: Any) -> list[Any]:
    if isinstance(result, np.ndarray):
        return [result]
    if is_dataclass(result):
        result = tuple(getattr(result, f.name) for f in fields(result))
    return [v for v in result if isinstance(v, np.ndarray)] if isinstance(result, tuple) else []


_here = threading.local()


def memo_here() -> Memo | None:
    """Return what shares indicators in this thread."""
    found: Memo | None = getattr(_here, "memo", None)
    return found


@contextmanager
def sharing(memo: Memo | None) -> Iterator[None]:
    """Share indicators by way of `memo` in this thread until the block ends; None shares nothing."""
    before = memo_here()
    _here.memo = memo
    try:
        yield
    finally:
        _here.memo = before


def shared(function: Callable[P, R], *, at_once: bool = False) -> Callable[P, R]:
    """Return the indicator with its results shared inside `sharing`.

    at_once: kept from the first call on, for parts that are made to be shared.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        memo = memo_here()
        return function(*args, **kwargs) if memo is None else memo.call(function, args, kwargs, at_once)

    return call
