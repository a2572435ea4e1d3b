"""Prices and routings for one limit after the other, most of the work done on few queries.

A sample prices limits well, but for the luck of its draw: it uses somewhat more or less than the
whole does. That difference moves little with the prices, so what is measured at some limits
corrects those the sample is held to at others. One pass over the whole at such prices gives a
bound, and a routing that nearly keeps the limits; the queries that are nearest to another model
mend it.
"""

import math
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints, as_float
from dualroute.engines.local import NEGLIGIBLE, LocalEngine, Part
from dualroute.looks import LARGEST_LEAD, Look
from dualroute.problem import Prices, RoutingProblem
from dualroute.rounding import repair
from dualroute.solver import Clock, SolveOptions
from dualroute.solvers.lagrangian.ascent import COLDEST, HOTTEST, Box, ascend
from dualroute.solvers.lagrangian.focus import Focus
from dualroute.solvers.lagrangian.held import Held
from dualroute.solvers.lagrangian.samples import TIED, climbed
from dualroute.sweep import total

_SIZE = 20_000  # queries of the sample
_PER_ROW = 50
_WARM = 1e-3  # the temperature from which prices are bettered that are roughly right
_NEAR, _SHARE = 8_000, 0.02  # queries that a routing is mended with, at least
_TELLING = 100_000  # leads that tell which are the least
_MOVED = 0.3  # part of them, more than which is not mended
_TRUST = 10.0  # times the leads among them: what good prices move two models apart by, at most
_SMOOTHED = 0.2  # part of them that feels the smoothing at first


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """What a sample says of some limits.

    Attributes
    ----------
    prices
        Nearly the best, in the problem's own units.
    use
        What the sample uses at them, times what it stands for, shape ``(K,)``.
    passes
        Over the whole table, as a part of one.
    """

    prices: Prices
    use: Floats
    passes: float


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Queries from all over a table, which stand for all of them."""

    engine: LocalEngine
    share: float

    @classmethod
    def of(cls, problem: RoutingProblem, options: SolveOptions) -> "Sample":
        """A sample of 20,000 queries, or more where there are many limits."""
        n = problem.n_queries
        size = min(n, max(_SIZE, _PER_ROW * problem.n_rows))
        engine = LocalEngine(problem, options.threads)
        return cls(engine.sample(size, options.seed), size / n)

    def priced(self, limit: Floats, start: Prices | None, clock: Clock) -> Priced | None:
        """Prices of limits ``(K,)`` of the whole; None where too many queries are tied."""
        problem = self.engine.problem.with_limit(limit * self.share)
        engine = self.engine.over(problem)
        at = np.zeros(limit.size) if start is None else engine.scaled(start)
        hottest = HOTTEST if start is None else _WARM
        scaled, passes, tied = climbed(engine, at, hottest, clock)
        if tied > TIED:
            return None
        return self.used(engine.prices(scaled), passes)

    def used(self, prices: Prices, passes: float = 0.0) -> Priced:
        """What the sample uses at prices, after so many passes over it."""
        use = total(self.engine.sweeper.sweep(prices, lambda chunk: chunk.use))
        return Priced(prices, use / self.share, (passes + 1) * self.share)


@dataclass(frozen=True, slots=True, eq=False)
class Mended:
    """What the queries that are nearest to another model make of a look.

    Attributes
    ----------
    routing
        One that keeps the limits, shape ``(n,)``; None if there is none.
    prices
        Better ones than those of the look, if they are near enough for so few queries to tell.
    passes
        Over the whole table, as a part of one.
    """

    routing: Ints | None
    prices: Prices | None
    passes: float


def mended(
    problem: RoutingProblem,
    look: Look,
    bound: float,
    options: SolveOptions,
    clock: Clock,
    patient: bool,
) -> Mended:
    """Mend the routing that prices give, moving few queries, until the gap asked for is reached.

    Parameters
    ----------
    look
        What a pass at nearly the best prices saw.
    bound
        What they prove.
    patient
        Whether to search on where moving queries one by one leaves a gap; better prices are the
        quicker remedy.
    """
    n = problem.n_queries
    size = min(n, max(_NEAR, math.ceil(_SHARE * n)))
    cost, *used = map(as_float, look.sums)
    use = np.array(used)
    if _moved(problem, look.prices, use) > _MOVED * size:
        return Mended(None, None, 0.0)
    near = _nearest(look.lead, size)
    if near.size == 0:
        return Mended(None, None, 0.0)
    whole = LocalEngine(problem, options.threads)
    own_cost, own_use = whole.over(problem.take(near)).sweeper.use_of(look.chosen[near])
    left = problem.take(near, problem.limit - (use - own_use))
    engine = whole.over(left)
    part = Part(left, near, look.chosen, cost - own_cost)
    here = engine.scaled(look.prices)
    place = Focus(engine, part, here, Box.up_to(np.inf, here.size), 0.0, 0.0)
    lead = look.lead[near]
    heat = float(np.quantile(lead, _SMOOTHED)) / NEGLIGIBLE
    hottest = max(heat * engine.value_scale * near.size, COLDEST)
    end = ascend(engine, here, hottest=hottest, coldest=COLDEST, clock=clock, stall=False)
    place, spent = place.at(end.scaled), end.passes * near.size / n
    parted = problem.parting(np.abs(place.prices.vector - look.prices.vector))
    better = place.prices if parted <= _TRUST * float(lead.max()) else None
    # Where better prices would prove too much more, no routing is near enough to this bound.
    if not options.closed(end.value / engine.value_scale + place.settled_cost, bound):
        return Mended(None, better, spent)
    held = Held(problem, problem, np.zeros(here.size), options, clock)
    held.bound, held.prices = bound, place.prices
    wish = held.cheapest(place)
    if patient:
        held.round(place, wish)
    elif (routed := repair(left, wish, place.prices, clock)) is not None:
        held.offer(place, routed, "rounding")
    return Mended(held.whole, better, spent)


def _nearest(lead: Floats, size: int) -> Ints:
    """About so many queries of the least lead, at most twice as many, in order.

    None that have no other model.
    """
    some = lead[:: max(1, lead.size // _TELLING)]
    reach = np.quantile(some, size / lead.size, method="lower")
    near = np.flatnonzero(lead <= reach) if size < lead.size else np.arange(lead.size)
    if near.size > 2 * size:
        near = np.sort(np.argpartition(lead, size)[:size])
    return near[lead[near] < LARGEST_LEAD]


def _moved(problem: RoutingProblem, prices: Prices, use: Floats) -> float:
    """About how many queries have to move for the limits to be kept, and used up where priced."""
    slack = problem.limit - use
    off = np.where(prices.vector > 0, np.abs(slack), np.maximum(-slack, 0.0))
    each = [np.abs(rows.usage[:: max(1, len(rows.usage) // _NEAR)]).mean() for rows in problem.rows]
    parts = zip(problem.split(off), each, strict=True)
    return sum(float(part.sum()) / max(float(mean), 1e-300) for part, mean in parts)
