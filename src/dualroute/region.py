"""What prices leave open of a problem: one rule, and the regions of queries it works on.

With ``L`` the bound over the open pairs, a routing that uses pair ``(i, j)`` costs at least ``L``
plus the pair's regret (the gap identity, after Geoffrion 1974, doi:10.1007/BFb0120690), so a pair
whose sum reaches the cutoff is in no routing below it. Queries with one open pair left are
settled: their cost and use become part of the numbers, and what remains is the core. All of it is
in doubles rounded to the safe side, so that the rule holds for the numbers in the table.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Self

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, entries, exact_sum, exact_sums
from dualroute.problem import Prices, RoutingProblem, allowed_pairs
from dualroute.rigour import fractions, priced_below, rounded_down, rounded_up

_ROUNDOFF = 2.0**-53


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The free queries of a problem, the others settled: what the nodes of a tree work on.

    Attributes
    ----------
    problem
        The free queries.
    queries
        Their numbers in the whole problem, ascending.
    limits
        What the settled queries leave of every limit, never below the exact value.
    offset
        What the settled queries cost, never above the exact value.
    settled, models
        The queries settled between the parent and here, ascending, and the one model of each.
    """

    problem: RoutingProblem
    queries: Ints
    limits: tuple[Fraction, ...]
    offset: Fraction
    settled: Ints
    models: Ints
    parent: "Region | None" = None
    _floor: float = field(init=False, repr=False)
    _held: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_floor", rounded_down(self.offset))
        object.__setattr__(self, "_held", np.array([rounded_up(b) for b in self.limits]))

    @classmethod
    def whole(cls, problem: RoutingProblem, limits: Sequence[Fraction] | None = None) -> Self:
        """All queries of a problem, at its limits or at others."""
        held = fractions(problem.limit) if limits is None else limits
        none = np.empty(0, np.intp)
        return cls(problem, np.arange(problem.n_queries), tuple(held), Fraction(0), none, none)

    def apply(
        self, pairs: Bools, vector: Floats, cutoff: float, *, ray: bool = False
    ) -> tuple[float, Bools | None]:
        """The one rule: prices at a node, over its open pairs.

        Parameters
        ----------
        pairs
            The open pairs, shape ``(n, m)`` with ``n`` the free queries.
        vector
            Prices or weights, shape ``(K,)``, finite and non-negative.

        Returns
        -------
        float
            No routing of the open pairs is below this; ``-inf`` where the numbers leave the
            range of doubles, ``inf`` where there is no routing.
        numpy.ndarray or None
            The pairs that a routing below the cutoff may use; None if it has none left.
        """
        problem = self.problem
        prices = Prices(problem.split(vector))
        blocks = list(problem.blocks())
        totals: list[float] = [0.0 if ray else self._floor]
        low: Floats
        best: Floats
        with np.errstate(over="ignore", invalid="ignore"):
            for block in blocks:
                low, best = self._priced(prices, pairs, block, ray)
                if best.max() == np.inf:
                    return math.inf, None
                if not np.isfinite(best).all():
                    return -math.inf, pairs
                totals.append(math.nextafter(exact_sum(best), -math.inf))
            charged = np.nextafter(vector * self._held, np.inf)[vector > 0]
            bound = math.nextafter(exact_sum(np.array([*totals, *-charged])), -math.inf)
            if not math.isfinite(bound):
                return -math.inf, pairs
            if ray and bound > 0:
                return math.inf, None
            if not ray and bound >= cutoff:
                return bound, None
            # Rounded up, and by as much again as rounding may flatter a regret.
            need = math.nextafter((0.0 if ray else cutoff) - bound, math.inf)
            need = math.nextafter(need * (1 + 4 * _ROUNDOFF), math.inf)
            reached = -math.inf if ray else bound
            if need == math.inf:
                return reached, pairs
            if len(blocks) == 1:
                return reached, low - best[:, None] <= need
            left = np.empty_like(pairs)
            for block in blocks:
                low, best = self._priced(prices, pairs, block, ray)
                left[block] = low - best[:, None] <= need
        return reached, left

    def _priced(
        self, prices: Prices, pairs: Bools, block: slice, ray: bool
    ) -> tuple[Floats, Floats]:
        low = priced_below(self.problem, prices, block, objective=not ray)
        low[~pairs[block]] = np.inf
        return low, low.min(axis=1)

    def narrowed(self, pairs: Bools) -> tuple["Region", Bools]:
        """The region without the queries that have one open pair, where that halves it."""
        counts = pairs.sum(axis=1)
        free = np.flatnonzero(counts > 1)
        if 2 * free.size > counts.size or counts.size < 32:
            return self, pairs
        return self.without(pairs, free)

    def without(self, pairs: Bools, free: Ints) -> tuple["Region", Bools]:
        """The region of some free queries; each of the others has one open pair."""
        free = free if free.size else np.zeros(1, np.intp)
        problem = self.problem
        kept = np.zeros(problem.n_queries, bool)
        kept[free] = True
        gone = np.flatnonzero(~kept)
        models = pairs[gone].argmax(axis=1)
        cost = exact_sum(problem.objective[gone, models])
        used: list[Floats] = [np.empty(0)]
        for rows in problem.rows:
            pool = entries(rows.pool, gone, models)
            used.append(exact_sums(rows.taken(gone, models), pool, rows.n_pools))
        # One ulp covers the single rounding of a sum; an empty one is 0 exactly.
        below = [
            Fraction(math.nextafter(u, -math.inf)) if u else Fraction(0)
            for u in np.concatenate(used).tolist()
        ]
        limits = tuple(b - u for b, u in zip(self.limits, below, strict=True))
        held = np.array([rounded_up(b) for b in limits])
        region = Region(
            problem=problem.take(free, np.clip(held, -1e300, 1e300)),
            queries=self.queries[free],
            limits=limits,
            offset=self.offset + (Fraction(math.nextafter(cost, -math.inf)) if gone.size else 0),
            settled=self.queries[gone],
            models=models,
            parent=self,
        )
        return region, pairs[free]

    def open_models(self, pairs: Bools, query: int) -> tuple[int, Ints]:
        """Row of a query here (-1 if settled), and its open models."""
        row = _find(self.queries, query)
        if row >= 0:
            return row, np.flatnonzero(pairs[row])
        here: Region | None = self
        while here is not None:
            k = _find(here.settled, query)
            if k >= 0:
                return -1, here.models[k : k + 1]
            here = here.parent
        raise IndexError(query)

    def routing(self, assignment: Ints) -> Ints:
        """A routing of the whole problem: of the free queries as given, the others settled."""
        chain: list[Region] = [self]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        routed = np.empty(chain[-1].problem.n_queries, np.intp)
        for region in chain:
            routed[region.settled] = region.models
        routed[self.queries] = assignment
        return routed


def _find(values: Ints, value: int) -> int:
    """Where a value stands among ascending ones, or -1."""
    k = int(np.searchsorted(values, value))
    return k if k < values.size and values[k] == value else -1


def core_of(
    problem: RoutingProblem, prices: Sequence[Prices], cutoff: float
) -> tuple[Region, Bools] | None:
    """What price vectors leave open of a problem: its core, by the rule the checker applies.

    Parameters
    ----------
    problem
        Its limits are kept up to their `target`; `tightened` where it can be.
    prices
        Applied one after the other.
    cutoff
        Only routings below this matter.

    Returns
    -------
    tuple or None
        The region of the queries with more than one open pair (at least one query), and those
        pairs; None if no routing is below the cutoff.
    """
    region, pairs = Region.whole(problem, fractions(problem.target)), allowed_pairs(problem)
    for one in prices:
        _, left = region.apply(pairs, one.vector, cutoff)
        if left is None:
            return None
        region, pairs = region.narrowed(left)
    return region.without(pairs, np.flatnonzero(pairs.sum(axis=1) > 1))


def core_problem(region: Region, pairs: Bools) -> RoutingProblem:
    """The core as a problem of its own: what is not open is forbidden, limits are as left."""
    open_only = np.where(pairs, region.problem.objective, np.inf)
    return replace(region.problem, objective=open_only, tolerance=0.0)
