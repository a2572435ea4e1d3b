r"""Local search over routings: small sets of queries at a time, each re-optimised exactly.

For any prices, the objective of a routing that keeps every limit is the Lagrangian bound plus
the regrets of its pairs plus what its priced slack is worth. All three are small near an
optimum, so the search looks for little regret that uses priced slack up: it frees the cheapest
queries to move in a few pools, and a branch and bound on regrets, cut off by what the rows must
at least cost, finds their best joint move (shift, swap, or a chain or cycle of any length).
Limits may be broken at a fine that adapts, as in the ejection chains of Yagiura, Ibaraki &
Glover (2006, doi:10.1016/j.ejor.2005.05.003); neighbourhoods solved exactly are those of Shaw
(1998, doi:10.1007/3-540-49481-2_30), accepted by simulated annealing.
"""

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dualroute.arrays import Floats, Ints, at, entries
from dualroute.problem import Prices, RoutingProblem, allowed_pairs, regrets
from dualroute.solver import Clock

if TYPE_CHECKING:
    from dualroute.search_kernels import Limits, Table

_MOST_PAIRS = 4_000_000  # pairs times families of a table
_MOST_NODES = 5_000
_ROUNDS = 32  # neighbourhoods between two looks at the clock
_CYCLE = 40  # calls from the hottest to the coldest
_HEATS = (0.02, 0.1, 0.4)  # of the mean merit of a row
_TRIES = 2_000_000
_NO_LIMIT = Clock(math.inf)


def is_compiled() -> bool:
    """Whether the kernels are loaded already: numba takes seconds to import."""
    return "dualroute.search_kernels" in sys.modules


@dataclass(slots=True, eq=False)
class Exchange:
    """A local search that can be continued.

    Attributes
    ----------
    problem, prices
        What is searched, and good prices, in the problem's own units.
    assignment
        A routing to start from, shape ``(n,)``; it need not keep the limits.
    seed
        Same seed, same routings.
    best
        The best routing found that keeps every limit; None before there is one.
    objective
        Its objective; ``inf`` without one.
    """

    problem: RoutingProblem
    prices: Prices
    assignment: Ints
    seed: int = 0
    best: Ints | None = field(init=False, default=None)
    objective: float = field(init=False, default=math.inf)
    _model: Ints = field(init=False)
    _cost: Floats = field(init=False)
    _table: "Table" = field(init=False)
    _limits: "Limits" = field(init=False)
    _choice: Ints = field(init=False)
    _held: Ints = field(init=False)
    _state: Floats = field(init=False)
    _heat: float = field(init=False)
    _calls: int = field(init=False, default=0)
    _idle_cycles: int = field(init=False, default=0)
    _last: float = field(init=False, default=math.inf)

    def __post_init__(self) -> None:
        """Make the table of candidate pairs."""
        if self.problem.meets_target(self.assignment):
            self.best, self.objective = self.assignment, self.problem.value(self.assignment)
        self._tabulate()

    def advance(self, clock: Clock, calls: int = _CYCLE) -> bool:
        """Search for some calls of the kernel or until the clock ends; whether it found better.

        It cools over `_CYCLE` calls; then it returns to the best routing, warmer than before
        where that cycle brought nothing.
        """
        from dualroute import search_kernels as kernels

        before = self.objective
        for _ in range(calls):
            if clock.expired:
                break
            age = self._calls % _CYCLE
            if age == 0 and self._calls and self.best is not None:
                if self.objective >= self._last:
                    self._idle_cycles += 1
                self._last = self.objective
                self._choice[:] = self._held
                heat = _HEATS[self._idle_cycles % len(_HEATS)]
                self._heat = heat * self._state[0] / (self.problem.n_rows + 1)
            kernels.anneal(
                _ROUNDS,
                (self.seed + 7919 * self._calls) % 2**32,
                self._heat * 0.01 ** (age / _CYCLE),
                _MOST_NODES,
                self._choice,
                self._load(self._choice),
                self._table,
                self._limits,
                self._held,
                self._state,
            )
            self._calls += 1
            self._take(self._held)
        return self.objective < before

    def settle(self, clock: Clock) -> bool:
        """Improve the best routing until no single move and no pair of moves does.

        Whether it found better; the clock may end it early.
        """
        from dualroute import search_kernels as kernels

        if self.best is None:
            return False
        before = self.objective
        choice = self._held.copy()
        load = self._load(choice)
        changed = True
        while changed and not clock.expired:
            changed, first = False, 0
            while first < choice.size and not clock.expired:
                first, moved = kernels.exchange_pairs(
                    first, _TRIES, self._cost, choice, load, self._table, self._limits
                )
                changed |= moved
        self._take(choice)
        return self.objective < before

    def go_on_from(self, routing: Ints) -> None:
        """Continue at a routing found elsewhere that keeps every limit, if it is better."""
        value = self.problem.value(routing)
        if value < self.objective:
            self.best, self.objective = routing, value
            self._tabulate()

    def _take(self, choice: Ints) -> None:
        """Keep a choice that the kernel holds for better, if it is."""
        routed = self._model[choice].astype(np.intp)
        if self.best is not None and (routed == self.best).all():
            return
        value = self.problem.value(routed)
        if value < self.objective and self.problem.meets_target(routed):
            self.best, self.objective, self._held = routed, value, choice.copy()
        elif self.best is None:
            self._state[0] = math.inf

    def _load(self, choice: Ints) -> Floats:
        rows, used = self._table.row[choice].ravel(), self._table.use[choice].ravel()
        return np.bincount(rows, used, self.problem.n_rows + 1)

    def _tabulate(self) -> None:
        """Candidate pairs: those that a better routing could use, as far as there is room."""
        from dualroute.search_kernels import Table, idle

        problem, prices = self.problem, self.prices
        n, k = problem.n_queries, problem.n_rows
        reduced = regrets(problem, prices)
        start = self.assignment if self.best is None else self.best
        pairs = allowed_pairs(problem)
        if self.best is not None:
            slack = np.maximum(problem.target - problem.use(start), 0.0)
            gap = float(at(reduced, start).sum() + prices.vector @ slack)
            pairs &= reduced <= gap * (1 + 1e-9) + 1e-9 * abs(self.objective)
        room = max(_MOST_PAIRS // max(len(problem.rows), 1), 2 * n)
        if np.count_nonzero(pairs) > room:
            pairs &= reduced <= np.partition(reduced[pairs], room)[room]
        allowed_start = np.isfinite(at(problem.objective, start))
        start = np.where(allowed_start, start, reduced.argmin(axis=1))
        pairs[np.arange(n), start] = True
        query, model = np.nonzero(pairs)
        order = np.lexsort((reduced[query, model], query))
        query, model = query[order], model[order]
        rows, used = [np.full(query.size, k)], [np.zeros(query.size)]
        offset, place, most = 0, np.zeros(query.size, np.int64), 1
        for family in problem.rows:
            pool = entries(family.pool, query, model)
            rows.append(np.where(pool >= 0, pool + offset, k))
            used.append(np.where(pool >= 0, family.taken(query, model), 0.0))
            if family.n_pools > most:
                place, most = np.where(pool >= 0, pool, family.n_pools), family.n_pools
            offset += family.n_pools
        part = slice(1 if problem.rows else 0, None)
        self._table = Table(
            start=np.searchsorted(query, np.arange(n + 1)).astype(np.int64),
            regret=reduced[query, model],
            row=np.ascontiguousarray(np.stack(rows[part], axis=1), np.int64),
            use=np.ascontiguousarray(np.stack(used[part], axis=1), np.float64),
            place=place.astype(np.int64),
        )
        self._model = model
        self._cost = problem.objective[query, model].astype(np.float64)
        held = np.flatnonzero(start[query] == model)
        self._choice, self._held = held.copy(), held.copy()
        self._set_limits(reduced)
        load = self._load(held)
        merit = float(self._table.regret[held].sum()) + idle(load, self._limits)
        self._state[0] = math.inf if self.best is None else merit
        self._heat = _HEATS[self._idle_cycles % len(_HEATS)] * merit / (problem.n_rows + 1)

    def _set_limits(self, reduced: Floats) -> None:
        from dualroute.search_kernels import Limits

        problem, vector = self.problem, self.prices.vector
        second = np.partition(reduced, 1, axis=1)[:, 1] if problem.n_models > 1 else reduced[:, 0]
        second = second[np.isfinite(second)]
        spread = float(second.mean()) if second.size else 0.0
        spread = spread or 1e-3 * problem.objective_size
        count = np.bincount(self._table.row.ravel(), minlength=problem.n_rows + 1)
        used = np.bincount(
            self._table.row.ravel(), np.abs(self._table.use).ravel(), problem.n_rows + 1
        )
        typical = (used / np.maximum(count, 1))[:-1]
        fine = np.maximum(2 * vector, 0.3 * spread / np.where(typical > 0, typical, 1.0))
        self._limits = Limits(
            ceiling=np.append(problem.target, 0.0),
            price=np.append(vector, 0.0),
            fine=np.append(fine, 0.0),
            floor=np.append(np.maximum(1.5 * vector, 0.03 * fine), 0.0),
        )
        self._state = np.array([math.inf, 12.0, 0.3 * spread])
