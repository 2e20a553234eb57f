"""Parameters at the edges of what one may pass, and histories shorter than any indicator.

All of it is about other parameters and bars than those that are checked, so it makes notes. What is refused in
plain words (`valid`, ParameterError, BarsError) or gives legal signals is as it should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from quant.core.finding import Finding
from quant.errors import QuantError, StrategyError
from quant.research.check.look_ahead import shorter
from quant.research.check.result import Part
from quant.research.check.subject import Subject
from quant.strategy import parameters

BARS: Final = 2000  # of the bars' start, on which parameters are tried: enough to see a crash
SHORT: Final = (1, 2, 3, 5, 10, 30)  # bars
HUGE: Final = 1e6  # for parameters that are no whole numbers; a huge whole one would be a matter of memory


def edges(subject: Subject, honest: bool) -> tuple[Part, list[Finding]]:
    """Return notes on parameters and short histories. honest: look at other parameters for look-ahead too."""
    end = min(len(subject.longest), BARS)
    begun = [b[:n] for b, n in zip(subject.bars, subject.over(end), strict=True)]
    found = list(_short(subject))
    tried = refused = 0
    for name, value in [(n, v) for n in subject.params for v in at_edges(subject.params[n], end)]:
        tried += 1
        try:
            chosen = parameters(subject.strategy, {**subject.params, name: value})
            other = replace(subject, params=chosen, bars=tuple(begun))
            other = replace(other, plans=other.compute(begun))
        except StrategyError as e:
            found.append(_crash(name, value, str(e.reason)))
        except QuantError:
            refused += 1
        except Exception as e:  # noqa: BLE001  # `valid` is the user's code; whatever it raises is named
            found.append(_crash(name, value, f"valid raised {type(e).__name__}: {e}"))
        else:
            found += _peeks(other, name, value) if honest else ()
    told = f"{tried} values of {_numeric(subject)} parameters, {refused} of them refused; histories from 1 bar on"
    return Part("edges", "note" if found else "ok", told), found


def at_edges(value: Any, bars: int) -> list[Any]:
    """Return the values to try beside `value`: 0, 1, -1, its neighbours, and one beyond all the bars."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        tried: list[Any] = [0, 1, -1, value - 1, value + 1, 10 * bars]
    elif isinstance(value, float):
        tried = [0.0, 1.0, -1.0, value - 1.0, value + 1.0, HUGE]
    else:
        return []
    return [v for v in dict.fromkeys(tried) if v != value]


def _numeric(subject: Subject) -> int:
    return sum(bool(at_edges(v, 1)) for v in subject.params.values())


def _crash(name: str, value: Any, reason: str) -> Finding:
    message = f"with {name}={value!r} {reason}. Refuse such values in `valid`, or raise ParameterError"
    return Finding("parameter-crash", message, level="note")


def _peeks(subject: Subject, name: str, value: Any) -> Iterator[Finding]:
    length = len(subject.longest)
    for end in sorted({length // 3, 2 * length // 3 + 1, length - 1} - {0, length}):
        if all(subject.over(end)) and shorter(subject, end).change is not None:
            message = f"with {name}={value!r} signals look ahead. Refuse such values in `valid`"
            yield Finding("look-ahead-with-parameter", message, level="note")
            return


def _short(subject: Subject) -> Iterator[Finding]:
    """Yield a note where signals end in an error that nobody wrote on bars that are fewer than the warm-up."""
    crashes = {}
    for end in (n for n in SHORT if n < len(subject.longest)):
        parts = [b[:n] for b, n in zip(subject.bars, subject.over(end), strict=True)]
        if not all(len(part) for part in parts):
            continue
        try:
            subject.compute(parts)
        except StrategyError as e:
            crashes[end] = e.reason
        except QuantError:
            pass  # said by the strategy on purpose
    if crashes:
        longest = max(crashes)
        message = (
            f"on a history of {longest} bars {crashes[longest]}. Return NaN or 0 there, or raise BarsError with the "
            "number of bars that it needs"
        )
        yield Finding("short-history-crash", message, len(crashes), "note")
