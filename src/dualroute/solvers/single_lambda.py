"""The calibrated single-multiplier rule: the baseline everyone must beat.

Each query takes the model of least ``objective + lambda * use`` and spills over to its next
best when that one is full, first come, first served; ``lambda`` is the smallest that keeps
the budget or the floor. With one such limit and no capacity this already is the Lagrangian
optimum, up to about one query (the rule behind CARROT, arXiv 2502.03261, and UniRoute,
arXiv 2502.08773); where capacity binds it is not.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from dualroute.arrays import Floats, Ints, at
from dualroute.errors import OptionError
from dualroute.problem import Prices, RoutingProblem, Rows, price_pairs
from dualroute.solver import (
    Clock,
    Progress,
    Solution,
    SolveOptions,
    Status,
    Termination,
    attempted,
)

_DOUBLINGS = 80
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class SingleLambda:
    """The calibrated lambda rule with spill-over when a model is full: the baseline.

    Attributes
    ----------
    bisections
        Steps of the search for the smallest multiplier that keeps the limits.
    arrival
        Who comes first: ``"random"``, drawn with the seed, or ``"table"`` for the table's order,
        which is seldom that of real traffic.
    """

    bisections: int = _BISECTIONS
    arrival: str = "random"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.arrival not in ("random", "table") or self.bisections < 0:
            raise OptionError("arrival is 'random' or 'table', and bisections at least 0")

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Calibrate the multiplier; the prices claimed are lambda on its rows, 0 elsewhere."""
        return replace(attempted(self._solve, problem, options), solver="lambda")

    def _solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        clock = Clock(options.time_limit)
        places = np.arange(problem.n_queries)
        if self.arrival == "random":
            places = np.random.default_rng(options.seed).permutation(problem.n_queries)
        rule = _Rule.of(problem, places)
        high, held, evaluations = 0.0, rule.route(0.0), 1
        termination = Termination.COMPLETED
        try:
            while not problem.meets_target(held) and evaluations < _DOUBLINGS:
                if clock.expired:
                    break
                high = 2 * high or rule.first_step()
                held = rule.route(high)
                evaluations += 1
            low = high / 2 if evaluations > 2 else 0.0
            for _ in range(self.bisections if problem.meets_target(held) else 0):
                middle = 0.5 * (low + high)
                if clock.expired or not low < middle < high:
                    break
                trial = rule.route(middle)
                evaluations += 1
                if not problem.meets_target(trial):
                    low = middle
                    continue
                high = middle
                # Spilling makes use uneven in lambda, so any better feasible routing is kept.
                if problem.value(trial) < problem.value(held):
                    held = trial
                    if options.progress is not None:
                        value = problem.value(held)
                        options.progress(Progress("bisection", value, -math.inf, clock.seconds))
            if clock.expired:
                termination = Termination.TIME_LIMIT
        except KeyboardInterrupt:
            termination = Termination.INTERRUPTED
        found = problem.meets_target(held)
        return Solution(
            status=Status.FEASIBLE if found else Status.UNKNOWN,
            termination=termination,
            assignment=held if found else None,
            prices=rule.prices(high if found else 0.0),
            iterations=evaluations,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    """Which rows the multiplier prices (each in units of its own limit), and which spill."""

    problem: RoutingProblem
    places: Ints
    weight: Floats
    spilling: tuple[Rows, ...]

    @classmethod
    def of(cls, problem: RoutingProblem, places: Ints) -> "_Rule":
        spills = [_spills(rows) for rows in problem.rows]
        weight = [
            np.zeros_like(size) if spill else 1.0 / size
            for size, spill in zip(problem.split(problem.row_size), spills, strict=True)
        ]
        families = zip(problem.rows, spills, strict=True)
        return cls(
            problem,
            places,
            np.concatenate([np.empty(0), *weight]),
            tuple(rows for rows, spill in families if spill),
        )

    def first_step(self) -> float:
        """A multiplier small beside a typical objective."""
        return 1e-6 * self.problem.objective_size * self.problem.n_queries

    def prices(self, multiplier: float) -> Prices:
        return Prices.of(self.problem, np.minimum(multiplier * self.weight, 1e300))

    def route(self, multiplier: float) -> Ints:
        """First come, first served: each query its best model that still has room.

        Run as deferred acceptance in which every model prefers earlier queries: all propose
        to their best model left, full pools turn the latest away. When every query takes the
        same from a pool this gives exactly what serving one after the other gives.
        """
        problem, prices = self.problem, self.prices(multiplier)
        n, m = problem.n_queries, problem.n_models
        routed = np.empty(n, np.intp)
        scores = np.empty((n, m)) if self.spilling else None
        for block in problem.blocks():
            score = price_pairs(problem, prices, block)
            routed[block] = score.argmin(axis=1)
            if scores is not None:
                scores[block] = score
        if scores is None:
            return routed
        while True:
            turned_away = self._turned_away(routed)
            if turned_away.size == 0:
                return routed
            scores[turned_away, routed[turned_away]] = np.inf
            homeless = ~np.isfinite(scores[turned_away].min(axis=1))
            if homeless.any():  # no room anywhere: left on its best model, over the limit
                return routed
            routed[turned_away] = scores[turned_away].argmin(axis=1)

    def _turned_away(self, routed: Ints) -> Ints:
        away = np.zeros(routed.size, bool)
        for rows in self.spilling:
            pool, usage = at(rows.pool, routed), rows.signed(at(rows.usage, routed))
            room = rows.limit + min(self.problem.tolerance, 1e-12) * np.abs(rows.limit)
            order = np.lexsort((self.places, pool))
            order = order[pool[order] >= 0]
            total = np.cumsum(usage[order], dtype=np.float64)
            first = np.searchsorted(pool[order], np.arange(rows.n_pools))
            before = np.append(0.0, total)[first]
            away[order[total - before[pool[order]] > room[pool[order]]]] = True
        return np.flatnonzero(away)


def _spills(rows: Rows) -> bool:
    """Whether a query can avoid the row by taking another model: a capacity, not a budget."""
    return bool(rows.pool.shape[1] > 1 and rows.signed(rows.usage).min() >= 0)
