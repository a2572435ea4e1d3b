"""Two routings mixed, each answering its share of the queries."""

from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints, entries
from dualroute.parametric import Routed, exact
from dualroute.problem import Prices, RoutingProblem
from dualroute.rigour import rounded_down
from dualroute.rounding import repair
from dualroute.solver import Clock

_MENDED = 4_000  # queries that a mixture is mended with


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Two routings that share the queries between them, in any proportion.

    Where they differ, queries are ordered so that any even choice among them has its share of
    every kind: the limits then hold nearly what they would hold in proportion.
    """

    problem: RoutingProblem
    first: Routed
    second: Routed
    differing: Ints

    @classmethod
    def of(cls, problem: RoutingProblem, first: Routed, second: Routed) -> "Mixture":
        """Of any proportion; `at` gives one."""
        one, other = first.assignment, second.assignment
        differing = np.flatnonzero(one != other)
        a, b = one[differing].astype(np.intp), other[differing].astype(np.intp)
        rows = problem.rows[-1]
        moved = entries(rows.usage, differing, b) - entries(rows.usage, differing, a)
        kind = a * problem.n_models + b
        return cls(problem, first, second, differing[np.lexsort((moved, kind))])

    def at(self, share: float, limit: Floats, prices: Prices, clock: Clock) -> Routed | None:
        """About so much of the first, mended to keep limits ``(K,)``; None if that fails."""
        if self.differing.size == 0:
            return self.second
        count = np.floor(np.arange(self.differing.size + 1) * share)
        taken = self.differing[np.diff(count) > 0]
        routed = self.second.assignment.copy()
        routed[taken] = self.first.assignment[taken]
        mixed = Routed.of(self.problem, routed)
        problem = self.problem.with_limit(limit)
        if mixed is None or mixed.keeps(exact(limit), 0.0):
            return mixed
        some = self.differing[:: max(1, self.differing.size // _MENDED)]
        own = routed[some].astype(np.intp)
        used = problem.take(some, limit).use(own)
        rest = zip(exact(limit), mixed.use, exact(used), strict=True)
        room = np.array([rounded_down(b - u + s) for b, u, s in rest])
        mended = repair(problem.take(some, room), own, prices, clock)
        if mended is None:
            return None
        routed[some] = mended
        whole = Routed.of(self.problem, routed)
        kept = whole is not None and whole.keeps(exact(limit), self.problem.tolerance)
        return whole if kept else None
