r"""Local search over routings: small sets of queries at a time, each re-optimised exactly.

For any prices, the objective of a routing that keeps every limit is the Lagrangian bound plus
the regrets of its pairs plus what its priced slack is worth. All of these are small near an
optimum, so the search looks for little regret that uses priced slack up: it frees queries of a
few pools that are cheap to move, and a branch and bound on regrets, cut off by what the rows
will at least cost, finds their best joint move, be it a shift, a swap, or a chain or cycle of
any length. Limits may be broken at a fine that adapts, as in the ejection chains of Yagiura,
Ibaraki & Glover (2006, doi:10.1016/j.ejor.2005.05.003); neighbourhoods solved exactly are those of
Shaw (1998, doi:10.1007/3-540-49481-2_30), accepted as in simulated annealing.
"""

import math
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dualroute.arrays import Floats, Ints, at, entries, pool_sums
from dualroute.problem import Prices, RoutingProblem, allowed_pairs, lagrangian, regrets
from dualroute.solver import Clock

if TYPE_CHECKING:
    from dualroute.search_kernels import Limits, Table

_MOST_PAIRS = 4_000_000  # pairs times families of a table
_FEW_OPTIONS = 8  # pairs of a query that neighbourhoods look at
_WIDTH = 12.0  # queries of the first neighbourhoods
_MOST_NODES = 5_000
_ROUNDS = 32  # neighbourhoods between two looks at the clock
_CYCLE = 100  # calls from the hottest to the coldest
_HEATS = (0.02, 0.2, 1.0)  # of the mean merit of a row
_CALLS_TO_RAISE = 10
_COLDEST = 0.01  # of the first heat of a cycle
_TRIES = 1_000_000
_GRAIN = 1e-2  # of a typical use
_ROUNDING = 1e-12
_NO_LIMIT = Clock(math.inf)


def is_compiled() -> bool:
    """Whether the kernels are loaded already: numba takes seconds to import."""
    return "dualroute.search_kernels" in sys.modules


def exchange(
    problem: RoutingProblem,
    assignment: Ints,
    prices: Prices,
    clock: Clock = _NO_LIMIT,
    seed: int = 0,
    cycles: int = 1,
) -> Ints | None:
    """A routing that keeps every limit and that no move of one or two queries improves.

    Parameters
    ----------
    assignment
        A routing to start from, shape ``(n,)``; it need not keep the limits.
    prices
        Good prices, in the problem's own units; they guide the search.
    clock
        May end it early.
    seed
        Same seed, same routing (the clock apart).
    cycles
        How often the search cools down.

    Returns
    -------
    numpy.ndarray or None
        Shape ``(n,)``, no worse than `assignment` where that keeps the limits; None if no
        routing that does was found, which proves nothing.
    """
    search = Exchange(problem, prices, assignment, seed)
    search.settle(clock)
    for _ in range(cycles):
        search.advance(clock)
        search.settle(clock)
    return search.best


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
    _candidates: "_Candidates" = field(init=False)
    _guide: Prices = field(init=False)
    _choice: Ints = field(init=False)
    _held: Ints = field(init=False)
    _state: Floats = field(init=False)
    _heat: float = field(init=False, default=0.0)
    _calls: int = field(init=False, default=0)
    _idle_cycles: int = field(init=False, default=0)
    _before_cycle: float = field(init=False, default=math.inf)

    def __post_init__(self) -> None:
        """Make the table of candidate pairs."""
        if self.problem.meets_target(self.assignment):
            self.best, self.objective = self.assignment, self.problem.value(self.assignment)
        self._guide = self.prices
        self._begin()

    def advance(self, clock: Clock = _NO_LIMIT, calls: int = _CYCLE) -> bool:
        """Search for some calls of the kernel or until the clock ends; whether it found better.

        It cools over `_CYCLE` calls; then it returns to the best routing, to start warmer where
        that cycle brought nothing.
        """
        from dualroute.search_kernels import anneal

        before = self.objective
        for _ in range(calls):
            if clock.expired:
                break
            age = self._calls % _CYCLE
            if age == 0 and self._calls:
                self._idle_cycles += self.objective >= self._before_cycle
                self._before_cycle = self.objective
                self._warm()
            anneal(
                _ROUNDS,
                (self.seed + 7919 * self._calls) % 2**32,
                self._heat * _COLDEST ** (age / _CYCLE),
                _MOST_NODES,
                self._choice,
                self._candidates.load(self._choice),
                *self._candidates.arrays,
                self._held,
                self._state,
            )
            self._calls += 1
            self._take()
            patience = _CALLS_TO_RAISE + self.problem.n_rows
            if self.best is None and self._calls % patience == 0:
                self._raise()
        return self.objective < before

    def settle(self, clock: Clock = _NO_LIMIT) -> bool:
        """Improve the best routing until no single move and no pair of moves does.

        Whether it found better; the clock may end it early.
        """
        from dualroute.search_kernels import exchange_pairs

        if self.best is None:
            return False
        all_pairs = _candidates(self.problem, self.prices, self.best, True, self.problem.n_models)
        for _ in range(2):
            choice = all_pairs.choice_of(self.best)
            load = all_pairs.load(choice)
            changed = True
            while changed and not clock.expired:
                changed, first = False, 0
                while first < choice.size and not clock.expired:
                    first, moved = exchange_pairs(
                        first, _TRIES, all_pairs.cost, choice, load, *all_pairs.arrays
                    )
                    changed |= moved
            routed = all_pairs.routing(choice)
            if self.problem.meets_target(routed):
                return self.go_on_from(routed)
            all_pairs.leave_room()
        return False

    def go_on_from(self, routing: Ints) -> bool:
        """Continue at a routing found elsewhere, if it keeps every limit and is better."""
        value = self.problem.value(routing)
        if value >= self.objective or not self.problem.meets_target(routing):
            return False
        self.best, self.objective = routing, value
        self._begin()
        return True

    def _begin(self) -> None:
        """Start from the best routing, or the one handed in, on the pairs it leaves open."""
        feasible = self.best is not None
        start = self.assignment if self.best is None else self.best
        # What breaks limits may have to go far from where the prices would have it.
        few = _FEW_OPTIONS if feasible else self.problem.n_models
        guide = self.prices if feasible else self._guide
        self._candidates = _candidates(self.problem, guide, start, feasible, few)
        self._choice = self._candidates.choice_of(start)
        self._held = self._choice.copy()
        merit = self._candidates.merit(self._choice)
        self._state = np.array(
            [merit if feasible else math.inf, _WIDTH, 0.3 * self._candidates.spread]
        )
        self._warm()

    def _raise(self) -> None:
        """Raise what broken rows cost the pairs themselves, and start over with all at its best.

        Branch and bound tries pairs of little regret first, which lead nowhere at poor prices.
        """
        limits = self._candidates.limits
        broken = self._candidates.load(self._choice) > limits.ceiling
        raised = np.where(limits.price > 0, 1.5 * limits.price, limits.fine)
        vector = np.where(broken, raised, limits.price)
        self._guide = Prices.of(self.problem, vector[:-1] / self._candidates.scale)
        self.assignment = lagrangian(self.problem, self._guide).assignment
        self._begin()

    def _warm(self) -> None:
        if self.best is not None:
            self._choice[:] = self._held
        heat = _HEATS[self._idle_cycles % len(_HEATS)]
        merit = self._candidates.merit(self._choice)
        self._heat = heat * merit / (self.problem.n_rows + 1)

    def _take(self) -> None:
        """Keep the choice that the kernel holds for best, if it is better."""
        if self._state[0] == math.inf:
            return
        routed = self._candidates.routing(self._held)
        value = self.problem.value(routed)
        if value >= self.objective:
            return
        if self.problem.meets_target(routed):
            first = self.best is None
            self.best, self.objective = routed, value
            if first:
                self._begin()
            return
        # Back to what does keep the limits.
        self._candidates.leave_room()
        self._state[0] = math.inf
        if self.best is not None:
            self._held = self._candidates.choice_of(self.best)
            self._state[0] = self._candidates.merit(self._held)


@dataclass(frozen=True, slots=True, eq=False)
class _Candidates:
    """The pairs a search looks at, and the arrays its kernels take, in scaled objective units.

    Attributes
    ----------
    model, cost
        Model and objective of each pair, shape ``(c,)``.
    spread
        Mean regret of the queries' second-best pairs.
    scale
        Scaled units per unit of objective.
    """

    table: "Table"
    limits: "Limits"
    model: Ints
    cost: Floats
    spread: float
    scale: float

    def load(self, choice: Ints) -> Floats:
        """Load of every row, and of "none", shape ``(K + 1,)``."""
        rows, used = self.table.row[choice].ravel(), self.table.use[choice].ravel()
        return pool_sums(used, rows, self.limits.ceiling.size)

    @property
    def arrays(self) -> tuple["Table", "Limits"]:
        """What the kernels take."""
        return self.table, self.limits

    def leave_room(self) -> None:
        """Lower the ceilings by what the rounding of a load may hide."""
        ceiling = self.limits.ceiling
        ceiling -= _ROUNDING * np.abs(ceiling)

    def merit(self, choice: Ints) -> float:
        """Regret, and what idle or broken limits cost, of a choice."""
        from dualroute.search_kernels import idle

        regret = float(self.table.regret[choice].sum())
        return regret + float(idle(self.load(choice), self.limits))

    def routing(self, choice: Ints) -> Ints:
        """A choice of pairs as a routing, shape ``(n,)``."""
        return self.model[choice].astype(np.intp)

    def choice_of(self, routing: Ints) -> Ints:
        """A routing as a choice of pairs; a query whose pair is not here takes its best one."""
        query = np.repeat(np.arange(routing.size), np.diff(self.table.start))
        choice: Ints = self.table.start[:-1].copy()
        held = np.flatnonzero(routing[query] == self.model)
        choice[query[held]] = held
        return choice


def _candidates(
    problem: RoutingProblem, prices: Prices, routing: Ints, feasible: bool, few: int
) -> _Candidates:
    """The pairs that a routing better than this one could use, about ``few`` to a query.

    Fewer, of least regret, where the table would grow too large.
    """
    from dualroute.search_kernels import Table

    n, k = problem.n_queries, problem.n_rows
    # The kernels' tolerance is absolute: objectives are scaled to order 1, losing nothing.
    scale = 2.0 ** -math.floor(math.log2(problem.objective_size))
    reduced, vector = scale * regrets(problem, prices), scale * prices.vector
    pairs = allowed_pairs(problem)
    if feasible:
        slack = np.maximum(problem.target - problem.use(routing), 0.0)
        gap = float(at(reduced, routing).sum() + vector @ slack)
        pairs &= reduced <= gap * (1 + 1e-9) + 1e-9 * scale * abs(problem.value(routing))
    pools = max((family.n_pools for family in problem.rows), default=0)
    if few < problem.n_models:
        pairs &= reduced <= np.partition(reduced, few - 1, axis=1)[:, few - 1 : few]
    room = max(_MOST_PAIRS // max(len(problem.rows), 1), 2 * n)
    if np.count_nonzero(pairs) > room:
        pairs &= reduced <= np.partition(reduced[pairs], room)[room]
    kept = np.where(np.isfinite(at(problem.objective, routing)), routing, reduced.argmin(axis=1))
    pairs[np.arange(n), kept] = True
    query, model = np.nonzero(pairs)
    order = np.lexsort((reduced[query, model], query))
    query, model = query[order], model[order]

    families = max(len(problem.rows), 1)
    row, use = np.full((query.size, families), k), np.zeros((query.size, families))
    place, offset = np.zeros(query.size, np.int64), 0
    for f, family in enumerate(problem.rows):
        pool = entries(family.pool, query, model)
        row[:, f] = np.where(pool >= 0, pool + offset, k)
        use[:, f] = np.where(pool >= 0, family.taken(query, model), 0.0)
        if 1 < family.n_pools == pools:
            place = np.where(pool >= 0, pool, pools).astype(np.int64)
        offset += family.n_pools
    near = min(1, problem.n_models - 1)
    second = np.partition(reduced, near, axis=1)[:, near]
    second = second[np.isfinite(second)]
    spread = float(second.mean()) if second.size else 0.0
    spread = spread or 1e-3
    return _Candidates(
        table=Table(
            start=np.searchsorted(query, np.arange(n + 1)).astype(np.int64),
            regret=reduced[query, model],
            row=row.astype(np.int64),
            use=use,
            place=place,
        ),
        limits=_limits(problem, vector, row, use, spread),
        model=model,
        cost=scale * problem.objective[query, model].astype(np.float64),
        scale=scale,
        spread=spread,
    )


def _limits(
    problem: RoutingProblem, vector: Floats, row: Ints, use: Floats, spread: float
) -> "Limits":
    """Ceilings, prices and first fines: above the prices, and worth a move where there are none."""
    from dualroute.search_kernels import Limits

    k = problem.n_rows
    count = np.bincount(row.ravel(), minlength=k + 1)[:k]
    typical = np.bincount(row.ravel(), np.abs(use).ravel(), k + 1)[:k] / np.maximum(count, 1)
    fine = np.maximum(2 * vector, 0.3 * spread / np.where(typical > 0, typical, 1.0))
    return Limits(
        ceiling=np.append(problem.target, 0.0),
        price=np.append(vector, 0.0),
        fine=np.append(fine, 0.0),
        grain=np.append(_GRAIN * typical, 0.0),
        floor=np.append(np.maximum(1.5 * vector, 0.03 * fine), 0.0),
    )
