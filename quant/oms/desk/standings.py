"""The standings of all orders, kept up as records come. The same as `order_standing` on everything, only quicker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from quant.core.orders import Commission, Completed, Echo, Execution, Report, Status, Told
from quant.oms.fills import exec_key
from quant.oms.ledger import Intent, Ledger, Mark, modified, noted, versions
from quant.oms.state import OrderStanding, order_standing, same


class Standings:
    """How each of our orders stands. Made from a ledger, then told of each record that the journal has taken."""

    def __init__(self, ledger: Ledger) -> None:
        self._versions: dict[str, list[Intent]] = {}
        self._intents: dict[str, Intent] = {}  # as last modified
        self._marks: dict[str, list[Mark]] = defaultdict(list)  # those that count
        self._standings: dict[str, OrderStanding] = {}
        # Facts by each of the names by which an order's may be found; `order_standing` takes only those that are.
        self._by_ref: dict[str, set[Report]] = defaultdict(set)
        self._by_perm: dict[int, set[Report]] = defaultdict(set)
        self._by_id: dict[tuple[int, int], set[Report]] = defaultdict(set)
        self._echoed: set[tuple[object, ...]] = set()  # of which there may be as many as modifications
        self._told: dict[int, set[Report]] = defaultdict(set)
        self._commissions: dict[str, set[Report]] = defaultdict(set)
        # And back, from those names to the orders that have them.
        self._refs_of_perm: dict[int, set[str]] = defaultdict(set)
        self._refs_of_stem: dict[str, set[str]] = defaultdict(set)
        self._ref_of_id: dict[int, str] = {}
        early: dict[str, list[Mark]] = defaultdict(list)
        for mark in ledger.marks:
            early[mark.ref].append(mark)
        for fact in ledger.facts:
            self._keep(fact.report)
        for intent in ledger.intents:
            self._add(intent, early[intent.ref])

    def __getitem__(self, ref: str) -> OrderStanding:
        return self._standings[ref]

    def __contains__(self, ref: str) -> bool:
        return ref in self._standings

    def __iter__(self) -> Iterator[OrderStanding]:
        return iter(self._standings.values())

    def __reversed__(self) -> Iterator[OrderStanding]:
        return reversed(self._standings.values())

    def __len__(self) -> int:
        return len(self._standings)

    @property
    def open(self) -> tuple[OrderStanding, ...]:
        """Orders that are not final, in the order in which they were decided."""
        return tuple(s for s in self._standings.values() if not s.is_final)

    def intent(self, ref: str) -> Intent:
        """Return the intent of an order, as it was last modified; KeyError where it is not ours."""
        return self._intents[ref]

    def versions(self, ref: str) -> tuple[Intent, ...]:
        """Return an order as it was asked for at first, and at each modification; `at` is when that was decided."""
        return tuple(self._versions[ref])

    def marks(self, ref: str) -> tuple[Mark, ...]:
        """Return what was done with an order, mark by mark, without what a later modification has superseded."""
        return tuple(self._marks[ref])

    def add_intent(self, intent: Intent) -> OrderStanding:
        """Take an intent and return how it stands."""
        return self._add(intent, ())

    def add_mark(self, mark: Mark) -> OrderStanding:
        """Take a mark and return how its order stands."""
        self._note(mark)
        return self._renew(mark.ref)

    def _add(self, intent: Intent, marks: Iterable[Mark]) -> OrderStanding:
        self._versions[intent.ref] = [intent]
        self._intents[intent.ref] = intent
        self._ref_of_id[intent.order_id] = intent.ref
        for mark in marks:
            self._note(mark)
        return self._renew(intent.ref)

    def _note(self, mark: Mark) -> None:
        noted(self._marks[mark.ref], mark)
        if mark.ticket is not None:
            first = self._versions[mark.ref][0]
            self._intents[mark.ref] = modified(first, mark)
            self._versions[mark.ref] += list(versions(first, [mark]))[1:]

    def add_reports(self, reports: Iterable[Report]) -> tuple[OrderStanding, ...]:
        """Take reports and return the orders that now stand otherwise, each once, in the order of their intents."""
        touched: set[str] = set()
        for report in reports:
            self._keep(report)
            touched |= self._refs(report)
        ours = sorted(touched & self._intents.keys(), key=lambda ref: self._intents[ref].number)
        before = {ref: self._standings[ref] for ref in ours}
        after = {ref: self._renew(ref) for ref in before}
        return tuple(standing for ref, standing in after.items() if not same(standing, before[ref]))

    def _renew(self, ref: str) -> OrderStanding:
        intent = self._intents[ref]
        standing = order_standing(intent, self._marks[ref], self._facts(intent))
        self._standings[ref] = standing
        return standing

    def _facts(self, intent: Intent) -> set[Report]:
        """Return all facts that may be the order's, and some that are not."""
        named = self._by_ref[intent.ref]
        facts = named | self._by_id[intent.client_id, intent.order_id] | self._told[intent.order_id]
        for perm in {f.perm_id for f in named if not isinstance(f, Commission | Told) and f.perm_id != 0}:
            facts |= self._by_perm[perm]
            self._refs_of_perm[perm].add(intent.ref)
        for stem in {exec_key(f.exec_id)[0] for f in facts if isinstance(f, Execution)}:
            facts |= self._commissions[stem]
            self._refs_of_stem[stem].add(intent.ref)
        return facts

    def _keep(self, report: Report) -> None:
        if isinstance(report, Commission):
            self._commissions[exec_key(report.exec_id)[0]].add(report)
        elif isinstance(report, Told):
            self._told[report.order_id].add(report)
        elif not self._adds_nothing(report):
            if not isinstance(report, Status) and report.ref:
                self._by_ref[report.ref].add(report)
            elif report.perm_id != 0:
                self._by_perm[report.perm_id].add(report)
            if not isinstance(report, Completed):
                self._by_id[report.client_id, report.order_id].add(report)

    def _adds_nothing(self, report: Echo | Status | Execution | Completed) -> bool:
        """Return whether a report differs in prices alone from one before: no standing follows from these."""
        if not isinstance(report, Echo):
            return False
        one = report
        key = one.ref, one.perm_id, one.client_id, one.order_id, one.account, one.con_id, one.status
        known = key in self._echoed
        self._echoed.add(key)
        return known

    def _refs(self, report: Report) -> set[str]:
        """Return the orders that a report may concern."""
        if isinstance(report, Commission):
            return self._refs_of_stem[exec_key(report.exec_id)[0]]
        if isinstance(report, Told):
            found = {self._ref_of_id.get(report.order_id, "")}
        else:
            found = set(self._refs_of_perm[report.perm_id]) if report.perm_id != 0 else set()
            if isinstance(report, Echo | Execution | Completed):
                found.add(report.ref)
            if isinstance(report, Echo | Execution | Status):
                found.add(self._ref_of_id.get(report.order_id, ""))
        return found
