r"""What passes over a table see at some prices, with sums that are exact.

Between two looks little is left to see. Along the way from one to the other the gap between any
two models of a query changes linearly, so a query that takes the same model at both ends takes it
all the way; and somewhat beside the way too, if its lead over the next is larger than what so
small a step can move two models apart. All other queries are looked at again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dualroute.arrays import Floats, Ints, entries, exact_total, exact_totals, part_of
from dualroute.errors import ProblemError
from dualroute.problem import Prices, RoutingProblem, Rows
from dualroute.rigour import LARGEST_PRICE, cheapest_totals, fractions, rounding
from dualroute.sweep import LowChunk, Sweeper

_MOST = 0.5  # of the queries: where more have to be looked at again, all may as well be
_INEXACT = 1e-6  # of a lead: it has 24 bits
_ULPS = 8 * 2.0**-53
_SMALLEST_LEAD = float(np.finfo(np.float32).tiny)  # below it leads have fewer bits
LARGEST_LEAD = float(np.finfo(np.float32).max)  # of a query that has no other model, too


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a pass sees at some prices.

    Attributes
    ----------
    prices
        Where.
    total
        As `cheapest_total` gives it.
    chosen, lead
        The cheapest model of each query, and how much dearer the next is, at least, shape
        ``(n,)``; both up to what `cheapest_total` takes off a pair, and 24 bits. `LARGEST_LEAD`
        where there is no next.
    sums
        What `exact_sums_of` gives for that.
    share
        The part of the queries that was passed over.
    """

    prices: Prices
    total: Fraction | None
    chosen: Ints
    lead: Floats
    sums: tuple[Fraction, ...]
    share: float = 1.0


def looks_at(problem: RoutingProblem, prices: Sequence[Prices], threads: int = 1) -> list[Look]:
    """A `Look` at each of several prices, for one reading of the table.

    Raises
    ------
    ProblemError
        If a price is above 1e200.
    """
    if max(float(each.vector.max(initial=0.0)) for each in prices) > LARGEST_PRICE:
        raise ProblemError(f"a price is above {LARGEST_PRICE:g}; give limits in larger units")
    n, model = problem.n_queries, np.min_scalar_type(-problem.n_models)
    # Arrays of their own, so that one look can go while others are kept.
    chosen = [np.empty(n, model) for _ in prices]
    lead = [np.empty(n, np.float32) for _ in prices]
    riding = Sweeper(problem, threads).riding

    def see(chunks: list[LowChunk]) -> list[_Sums]:
        part, sums = slice(chunks[0].start, chunks[0].stop), []
        for v, chunk in enumerate(chunks):
            chosen[v][part] = chunk.chosen
            with np.errstate(over="ignore", invalid="ignore"):
                lead[v][part] = np.minimum(chunk.second - chunk.low, LARGEST_LEAD)
            read = {} if riding is None else {riding: chunk.use}
            sums.append(_sums(problem, part, chunk.chosen, chunk.cost, read))
        return sums

    totals, seen = cheapest_totals(problem, prices, threads, see)
    sums = [_added(problem, parts) for parts in zip(*seen, strict=True)]
    return list(map(Look, prices, totals, chosen, lead, sums))


def look_between(
    problem: RoutingProblem, looks: Sequence[Look], prices: Prices, threads: int = 1
) -> Look | None:
    r"""A `Look` at prices on the way from one look to the next, or beside it.

    Prices are ``w`` times those of one end, plus ``1 - w`` times those of the other, plus some
    :math:`\delta`. A query that takes the same model at both ends takes it here if ``w`` and
    ``1 - w`` times its leads there exceed what :math:`\delta` may move two models apart: it then
    adds exactly its cost and its priced use to the total.

    Parameters
    ----------
    looks
        In order, two or more. The two are taken that prices are least beside.

    Returns
    -------
    Look or None
        None where most queries would have to be looked at again.
    """
    from dualroute import kernels

    (parting, weight), (near, far) = min(
        ((_beside(problem, ends, prices), ends) for ends in pairwise(looks)), key=itemgetter(0)
    )
    if weight == 0:
        near, far, weight = far, near, 1.0
    lead, open_ = np.empty_like(near.lead), np.empty(near.lead.size, np.int32)
    shares = (1 - _INEXACT) * weight, (1 - _INEXACT) * (1 - weight)
    count = kernels.lead_between(
        shares[0], near.lead, near.chosen, shares[1], far.lead, far.chosen, parting, lead, open_
    )
    again = open_[: max(count, 1)]  # a problem has queries
    if again.size > _MOST * lead.size:
        return None
    here = looks_at(problem.take(again), [prices], threads)[0]
    then = exact_sums_of(problem, again, near.chosen[again])
    if here.total is None or then is None:
        return None
    settled = [whole - part for whole, part in zip(near.sums, then, strict=True)]
    priced = zip(fractions(prices.vector), settled[1:], strict=True)
    cost = settled[0] + sum((price * use for price, use in priced), Fraction(0))
    chosen = near.chosen.copy()
    chosen[again], lead[again] = here.chosen, here.lead
    sums = tuple(a + b for a, b in zip(settled, here.sums, strict=True))
    return Look(prices, here.total + cost, chosen, lead, sums, again.size / lead.size)


def _beside(
    problem: RoutingProblem, ends: tuple[Look, Look], prices: Prices
) -> tuple[float, float]:
    """What two models may part by, leads being what they are; and the weight of the first end."""
    here, (first, second) = prices.vector, (end.prices.vector for end in ends)
    largest = [np.full(r.n_pools, max(r.largest, -r.smallest)) for r in problem.rows]
    size = np.concatenate([np.empty(0), *largest])
    with np.errstate(over="ignore", invalid="ignore"):
        way, rest = (first - second) * size, (here - second) * size
        length = float(way @ way)
        weight = min(max(float(way @ rest) / length, 0.0), 1.0) if length > 0 else 1.0
        off = np.abs(here - (weight * first + (1 - weight) * second))
        parting = (1 + _INEXACT) * problem.parting(off + _ULPS * (first + second + here))
        parting += 2 * max(_width(problem, end.prices) for end in ends)
    if parting > 0:
        parting += _SMALLEST_LEAD
    return (parting if np.isfinite(parting) else math.inf), weight


def _width(problem: RoutingProblem, prices: Prices) -> float:
    """The most that `cheapest_total` takes off a pair."""
    size = max(problem.largest, -problem.smallest)
    for rows, price in zip(problem.rows, prices.values, strict=True):
        size += float(price.max(initial=0.0)) * max(rows.largest, -rows.smallest)
    relative, absolute = rounding(prices)
    return relative * size + absolute


def exact_sums_of(
    problem: RoutingProblem, part: slice | Ints, models: Ints
) -> tuple[Fraction, ...] | None:
    """Objective, and use of every row, of some queries, without rounding.

    Returns
    -------
    tuple or None
        None if a pair is not allowed.
    """
    cost = _entries(problem.objective, part, models)
    if not np.isfinite(cost).all():
        return None
    return _added(problem, [_sums(problem, part, models, cost, {})])


# How many queries each model has, and exact sums of the objective and of usage that differs
# among queries, pool by pool.
_Sums: TypeAlias = tuple[Ints, list[Fraction]]


def _entries(grid: NDArray[Any], part: slice | Ints, models: Ints) -> NDArray[Any]:
    """Of some queries, the entries of their models."""
    if isinstance(part, slice):
        return entries(part_of(grid, part), np.arange(models.size), models)
    return entries(grid, part, models)


def _counted(rows: Rows) -> bool:
    """Whether it is enough to count the queries of each model."""
    return len(rows.usage) == len(rows.pool) == 1


def _sums(
    problem: RoutingProblem,
    part: slice | Ints,
    models: Ints,
    cost: Floats,
    read: Mapping[int, Floats],
) -> _Sums:
    """Of some queries on their models: objective `cost`, and usage, if `read` has it, by family."""
    found = [exact_total(cost)]
    for k, rows in enumerate(problem.rows):
        if _counted(rows):
            continue
        use = read[k] if k in read else _entries(rows.usage, part, models)
        if rows.pool.size == rows.n_pools == 1 and rows.pool[0, 0] == 0:
            found.append(exact_total(rows.signed(use)))
        else:
            pool = _entries(rows.pool, part, models)
            found += exact_totals(rows.signed(use), pool, rows.n_pools)
    return np.bincount(models, minlength=problem.n_models), found


def _added(problem: RoutingProblem, parts: Sequence[_Sums]) -> tuple[Fraction, ...]:
    """Objective, and use of every row, of all parts together."""
    count = np.sum([part[0] for part in parts], axis=0).tolist()
    left = (sum(column, Fraction(0)) for column in zip(*(part[1] for part in parts), strict=True))
    found = [next(left)]
    for rows in problem.rows:
        if not _counted(rows):
            found += [next(left) for _ in range(rows.n_pools)]
            continue
        use = [Fraction(0)] * rows.n_pools
        each = np.broadcast_to(rows.signed(rows.usage)[0], len(count)).tolist()
        pools = np.broadcast_to(rows.pool[0], len(count)).tolist()
        for times, one, r in zip(count, each, pools, strict=True):
            if r >= 0:
                use[r] += times * Fraction(one)
        found += use
    return tuple(found)
