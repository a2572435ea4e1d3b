"""What prices leave open of a problem: one rule, and the regions of queries it works on.

With ``L`` the bound over the open pairs, a routing that uses pair ``(i, j)`` costs at least ``L``
plus the pair's regret (the gap identity, after Geoffrion 1974, doi:10.1007/BFb0120690), so a pair
whose sum reaches the cutoff is in no routing below it. Queries with one open pair left are
settled: their cost and use become part of the numbers, and what remains is the core. All of it is
in doubles rounded to the safe side, so that the rule holds for the numbers in the table.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Self

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, entries, exact_sum, exact_sums, part_of
from dualroute.problem import Prices, RoutingProblem, allowed_pairs
from dualroute.rigour import fractions, priced_below, rounded_down, rounded_up, rounding
from dualroute.sweep import COMPILED_PAIRS

_ROUNDOFF = 2.0**-53
_PART = 4096  # queries priced at a time where they do not lie side by side
_LARGEST = 1e200  # of a price: usage is at most 1e100, and no charge leaves the range of doubles


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
        priced = _Priced(self.problem, Prices(self.problem.split(vector)), pairs, ray)
        blocks = list(self.problem.blocks())
        low: Floats = np.empty((0, 0))
        best: Floats = np.empty(0)

        def least() -> Iterator[Floats]:
            nonlocal low, best
            for block in blocks:
                low = priced.below(block)
                best = low.min(axis=1)
                yield best

        with np.errstate(over="ignore", invalid="ignore"):
            bound, need = self._weighed(least(), vector, cutoff, ray)
            if need == -math.inf:
                return bound, None
            if need == math.inf:
                return bound, pairs
            if len(blocks) == 1:
                return bound, low - best[:, None] <= need
            return bound, priced.near(blocks, need)

    def settle(
        self, pairs: Bools | None, vector: Floats, cutoff: float, *, ray: bool = False
    ) -> "Left":
        """The rule, and then the region without the queries that it leaves one pair.

        The same as `apply` and, where a pair goes, `narrowed`. Many queries are passed over
        once, by compiled loops, and where most are settled no table of pairs is made.

        Parameters
        ----------
        pairs
            The open pairs; None if all that are allowed.
        vector, cutoff, ray
            As in `apply`.
        """
        if self.problem.objective.size >= COMPILED_PAIRS and vector.max(initial=0.0) <= _LARGEST:
            return self._settle_many(pairs, vector, cutoff, ray)
        held = allowed_pairs(self.problem) if pairs is None else pairs
        bound, left = self.apply(held, vector, cutoff, ray=ray)
        if left is None:
            return Left(bound, self, None, True)
        if np.count_nonzero(left) == np.count_nonzero(held):
            return Left(bound, self, held, False)
        return Left(bound, *self.narrowed(left), True)

    def _settle_many(self, pairs: Bools | None, vector: Floats, cutoff: float, ray: bool) -> "Left":
        priced = _Priced(self.problem, Prices(self.problem.split(vector)), pairs, ray)
        n = self.problem.n_queries
        apart, model = np.empty(n), np.empty(n, np.int32)
        with np.errstate(over="ignore", invalid="ignore"):
            bound, need = self._weighed(priced.least(apart, model), vector, cutoff, ray)
            if need == -math.inf:
                return Left(bound, self, None, True)
            if need < math.inf:
                several = np.flatnonzero(apart <= need)
                if _halves(several.size, n):
                    free = _some(several)
                    near = priced.near(_parts(free), need)
                    if n - free.size + np.count_nonzero(near) < priced.count():
                        return Left(bound, self._settled(free, model), near, True)
                else:
                    near = priced.near(list(self.problem.blocks()), need)
                    dropped = bool(np.count_nonzero(near) < priced.count())
                    return Left(bound, self, near, dropped)
        return Left(bound, self, allowed_pairs(self.problem) if pairs is None else pairs, False)

    def _weighed(
        self, least: Iterator[Floats], vector: Floats, cutoff: float, ray: bool
    ) -> tuple[float, float]:
        """From the least that queries cost, block by block: the bound, and what pairs stay.

        Those no further above their query's least than the second number; ``-inf`` if there is
        no routing below the cutoff, ``inf`` if nothing is known of the bound.
        """
        totals: list[float] = [0.0 if ray else self._floor]
        for best in least:
            if best.max() == np.inf:
                return math.inf, -math.inf
            if not np.isfinite(best).all():
                return -math.inf, math.inf
            totals.append(math.nextafter(exact_sum(best), -math.inf))
        charged = np.nextafter(vector * self._held, np.inf)[vector > 0]
        bound = math.nextafter(exact_sum(np.array([*totals, *-charged])), -math.inf)
        if not math.isfinite(bound):
            return -math.inf, math.inf
        if ray and bound > 0:
            return math.inf, -math.inf
        if not ray and bound >= cutoff:
            return bound, -math.inf
        # Rounded up, and by as much again as rounding may flatter a regret.
        need = math.nextafter((0.0 if ray else cutoff) - bound, math.inf)
        need = math.nextafter(need * (1 + 4 * _ROUNDOFF), math.inf)
        return -math.inf if ray else bound, need

    def narrowed(self, pairs: Bools) -> tuple["Region", Bools]:
        """The region without the queries that have one open pair, where that halves it."""
        free = np.flatnonzero(pairs.sum(axis=1) > 1)
        return self.without(pairs, free) if _halves(free.size, len(pairs)) else (self, pairs)

    def without(self, pairs: Bools, free: Ints) -> tuple["Region", Bools]:
        """The region of some free queries (one, if none); each of the others has one open pair."""
        free = _some(free)
        return self._settled(free, pairs.argmax(axis=1)), pairs[free]

    def _settled(self, free: Ints, model: Ints) -> "Region":
        """The region of some free queries, each of the others settled on its model ``(n,)``."""
        problem = self.problem
        kept = np.zeros(problem.n_queries, bool)
        kept[free] = True
        gone = np.flatnonzero(~kept)
        models = model[gone]
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
        return Region(
            problem=problem.take(free, np.clip(held, -1e300, 1e300)),
            queries=self.queries[free],
            limits=limits,
            offset=self.offset + (Fraction(math.nextafter(cost, -math.inf)) if gone.size else 0),
            settled=self.queries[gone],
            models=models,
            parent=self,
        )

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


@dataclass(frozen=True, slots=True, eq=False)
class Left:
    """What the rule leaves of a region.

    Attributes
    ----------
    bound
        As `Region.apply` gives it.
    region, pairs
        Where a routing below the cutoff is to be looked for, and its open pairs; None if it has
        none left.
    dropped
        Whether a pair went.
    """

    bound: float
    region: Region
    pairs: Bools | None
    dropped: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Priced:
    """Open pairs (None: all that are allowed) at prices, rounded down; of a ray, usage alone."""

    problem: RoutingProblem
    prices: Prices
    pairs: Bools | None
    ray: bool

    def below(self, part: slice | Ints) -> Floats:
        """Numbers never above what the pairs of some queries cost; ``inf`` where not open."""
        low = priced_below(self.problem, self.prices, part, objective=not self.ray)
        if self.pairs is not None:
            low[~self.pairs[part]] = np.inf
        return low

    def near(self, parts: Sequence[slice | Ints], need: float) -> Bools:
        """The pairs of some queries, part by part, no further above their query's least."""
        n = sum(p.stop - p.start if isinstance(p, slice) else p.size for p in parts)
        near, done = np.empty((n, self.problem.n_models), bool), 0
        for part in parts:
            low = self.below(part)
            near[done : done + len(low)] = low - low.min(axis=1)[:, None] <= need
            done += len(low)
        return near

    def count(self) -> int:
        """How many pairs are open."""
        if self.pairs is not None:
            return int(np.count_nonzero(self.pairs))
        blocks = (self.problem.objective[block] for block in self.problem.blocks())
        return sum(int(np.count_nonzero(np.isfinite(block))) for block in blocks)

    def least(self, apart: Floats, model: Ints) -> Iterator[Floats]:
        """The least of `below` for each query, block by block; compiled, to the same digits.

        Written: how far each query's second least is above it, and the model of the least, both
        of shape ``(n,)``. Prices are small enough for no charge to leave the range of doubles.
        """
        from dualroute import region_kernels

        problem = self.problem
        by_query = bool(problem.objective.flags.c_contiguous)
        families = zip(problem.rows, self.prices.values, strict=True)
        charged = [(rows, price) for rows, price in families if price.any()]
        relative, absolute = rounding(self.prices)

        def lying(grid: Any) -> Any:
            return grid if by_query else grid.T

        for block in problem.blocks():
            part = problem.objective[block]
            low = lying(part).astype(np.float64, order="C")
            if self.ray:
                low[low < np.inf] = 0.0
            size = np.abs(low)
            if self.pairs is not None:
                low[~lying(self.pairs[block])] = np.inf
            for rows, price in charged:
                # As in `Rows.charge`: outside every pool a pair pays nothing.
                priced = rows.signed(np.append(price, 0.0))[part_of(rows.pool, block)]
                grids = priced, part_of(rows.usage, block)
                whole = (lying(np.broadcast_to(grid, part.shape)) for grid in grids)
                region_kernels.add_charge(*whole, low, size)
            best, second = np.empty(len(part)), np.empty(len(part))
            found = best, second, model[block]
            region_kernels.two_least(by_query, low, size, relative, absolute, *found)
            np.subtract(second, best, out=apart[block])
            yield best


def _halves(free: int, n: int) -> bool:
    """Whether a region of so many free queries is worth making, out of ``n``."""
    return 2 * free <= n and n >= 32


def _some(free: Ints) -> Ints:
    """Some queries, or the first: no problem is empty."""
    return free if free.size else np.zeros(1, np.intp)


def _parts(queries: Ints) -> list[Ints]:
    return [queries[k : k + _PART] for k in range(0, queries.size, _PART)]


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
    region = Region.whole(problem, fractions(problem.target))
    pairs: Bools | None = None
    for one in prices:
        left = region.settle(pairs, one.vector, cutoff)
        if left.pairs is None:
            return None
        region, pairs = left.region, left.pairs
    pairs = allowed_pairs(problem) if pairs is None else pairs
    return region.without(pairs, np.flatnonzero(pairs.sum(axis=1) > 1))


def core_problem(region: Region, pairs: Bools) -> RoutingProblem:
    """The core as a problem of its own: what is not open is forbidden, limits are as left."""
    open_only = np.where(pairs, region.problem.objective, np.inf)
    return replace(region.problem, objective=open_only, tolerance=0.0)
