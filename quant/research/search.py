"""Search by optuna: which combinations of a grid to try next, from what those before gave.

Asked and told in batches of a fixed size, all on one thread, so that a seed means the same trials whoever computes
them. Knows no bars, no engine and no files: who resumes asks again and finds the rows of each batch held.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import backtrader as bt

from quant.errors import ParameterError
from quant.metrics import NAMES
from quant.research.grid import Valid, check_samples, grid_values, places_of, validator
from quant.strategy.compute import defaults

BATCH: Final = 32  # combinations asked for before any of them is told; part of what a seed means
MISSES: Final = 10  # suggestions in a row that are known or invalid, until one is drawn at random instead


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What is searched. values: of each name, typed. base: all parameters at their defaults. lowest: is the best."""

    values: Mapping[str, Sequence[Any]]
    base: Mapping[str, Any]
    valid: Valid | None
    metric: str
    lowest: bool
    samples: int
    seed: int

    @property
    def total(self) -> int:
        """How many combinations there are, valid or not."""
        return math.prod(len(v) for v in self.values.values())

    def start(self) -> Study:
        """Return the search at its beginning."""
        return Study(self)


def search_of(
    strategy: type[bt.Strategy],
    grid: Mapping[str, Any],
    *,
    metric: str,
    lowest: bool,
    samples: int | None,
    seed: int,
) -> Search:
    """Return the search of `samples` combinations of `grid` for the best by a metric.

    grid: as of a sweep: name -> the values that may be tried. Numbers are searched in their order, so 5, 10, 20 are
    neighbours; all else (true and false, text, None) as choices without one.
    Raises ParameterError for what cannot be used, and where optuna is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        reason = 'needs optuna, which is not installed: pip install "quant-ib[optuna]"'
        raise ParameterError("search", "optuna", reason)
    if metric not in NAMES:
        raise ParameterError("metric", metric, f"there is {', '.join(NAMES)}")
    if samples is None:
        raise ParameterError("samples", None, "a search needs to know how many to try, e.g. samples=200")
    check_samples(samples, seed)
    values = grid_values(strategy, grid)
    return Search(values, defaults(strategy), validator(strategy), metric, lowest, int(samples), int(seed))


class Study:
    """A search on its way: `ask`, compute, `tell`, and again."""

    def __init__(self, search: Search) -> None:
        import optuna

        self.dropped = 0  # suggestions that `valid` refused
        self._search = search
        self._names = tuple(search.values)
        self._order = {n: _ordered(v) for n, v in search.values.items()}
        self._space: dict[str, Any] = {}
        for name, order in self._order.items():
            size = len(search.values[name])
            self._space[name] = (
                optuna.distributions.CategoricalDistribution(range(size))
                if order is None
                else optuna.distributions.IntDistribution(0, size - 1)
            )
        self._seen: set[tuple[int, ...]] = set()
        self._open: list[Any] = []  # trials that were asked for and not told
        self._others = places_of([len(v) for v in search.values.values()], search.samples, search.seed)
        with _quiet():
            # multivariate: parameters of a strategy act together. constant_liar: a batch is asked for before any of
            # it is told, and should not be one point over and over.
            sampler = optuna.samplers.TPESampler(seed=search.seed, multivariate=True, constant_liar=True)
            directions = optuna.study.StudyDirection
            direction = directions.MINIMIZE if search.lowest else directions.MAXIMIZE
            self._study = optuna.create_study(sampler=sampler, direction=direction)

    def ask(self, count: int) -> list[dict[str, Any]]:
        """Return the next combinations: valid, never asked for before; fewer than `count` where no more are found."""
        from optuna.trial import TrialState

        found: list[dict[str, Any]] = []
        misses = 0
        with _quiet():
            while len(found) < count:
                if misses == MISSES and not self._queue_another():
                    break
                trial = self._study.ask(self._space)
                places = self._places(trial.params)
                row = self._row(places)
                if places in self._seen:
                    self._study.tell(trial, state=TrialState.FAIL)  # tells the sampler nothing
                    misses = min(misses + 1, MISSES)
                    continue
                self._seen.add(places)
                if self._refused(row):
                    self._study.tell(trial, state=TrialState.PRUNED)  # it learns to keep away
                    misses = min(misses + 1, MISSES)
                    continue
                misses = 0
                self._open.append(trial)
                found.append(row)
        return found

    def tell(self, results: Sequence[float]) -> None:
        """Tell what the combinations of the last `ask` gave, in its order; NaN = failed, or without a value."""
        from optuna.trial import TrialState

        with _quiet():
            for trial, value in zip(self._open, results, strict=True):
                if math.isfinite(value):
                    self._study.tell(trial, value)
                else:
                    self._study.tell(trial, state=TrialState.PRUNED)
        self._open = []

    def _places(self, params: Mapping[str, int]) -> tuple[int, ...]:
        """Return the places in the lists of values that a suggestion means."""
        orders = ((params[n], self._order[n]) for n in self._names)
        return tuple(k if order is None else order[k] for k, order in orders)

    def _row(self, places: Sequence[int]) -> dict[str, Any]:
        chosen = {n: self._search.values[n][k] for n, k in zip(self._names, places, strict=True)}
        return {**self._search.base, **chosen}

    def _refused(self, row: Mapping[str, Any]) -> bool:
        refused = self._search.valid is not None and not self._search.valid(row)
        self.dropped += refused
        return refused

    def _queue_another(self) -> bool:
        """Make a random valid combination that was never asked for the next suggestion; False if there is none."""
        for places in self._others:
            if places in self._seen:
                continue
            if self._refused(self._row(places)):
                self._seen.add(places)
                continue
            ranks = {
                n: k if order is None else order.index(k)
                for k, (n, order) in zip(places, self._order.items(), strict=True)
            }
            self._study.enqueue_trial(ranks)
            return True
        return False


def _ordered(values: Sequence[Any]) -> list[int] | None:
    """Return the places of the values from the least to the greatest, None where they are not all numbers."""
    if any(isinstance(v, bool) or not isinstance(v, int | float) or v != v for v in values):
        return None
    return sorted(range(len(values)), key=values.__getitem__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep optuna's log lines and its warnings about options that may change to itself; both as before afterwards."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
