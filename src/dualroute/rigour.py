"""Numbers on the safe side: what floating point may get wrong is bounded and taken off."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias, TypeVar

import numpy as np

from dualroute.arrays import Floats, Ints, entries, exact_total, exact_totals, part_of
from dualroute.problem import Prices, RoutingProblem, Rows
from dualroute.sweep import LowChunk, Sweeper

_UNIT_ROUNDOFF = 2.0**-53
_LARGEST_PRICE = 1e200  # usage is at most 1e100: no charge leaves the range of doubles

T = TypeVar("T")


def fractions(vector: Floats) -> list[Fraction]:
    """The numbers themselves, for arithmetic without rounding."""
    return [Fraction(x) for x in vector.tolist()]


def rounding(prices: Prices) -> tuple[float, float]:
    """What is taken off a pair: this part of its size, and this much; see `cheapest_total`."""
    charged = sum(bool(price.any()) for price in prices.values)
    if charged == 0:
        return 0.0, 0.0
    return 2.0 * (charged + 3) * _UNIT_ROUNDOFF, float(np.finfo(np.float64).tiny)


def cheapest_total(problem: RoutingProblem, prices: Prices, threads: int = 1) -> Fraction | None:
    r"""A number never above the exact :math:`\sum_i \min_j (f_{ij} + \sum_k p_k u_{kij})`.

    A sum of ``t`` terms, ``t - 1`` of them rounded products, is wrong by at most
    ``t u / (1 - t u)`` times the sum of magnitudes, ``u`` the unit roundoff (Higham, Accuracy
    and Stability of Numerical Algorithms, 2002, section 3.1). More than twice that is taken off
    every pair, which also covers the rounding of the magnitudes and of taking them off, term by
    term, and the smallest normal number for products that underflow; where no row is priced
    there is nothing to take off. Queries are summed exactly.

    Returns
    -------
    Fraction or None
        None if a number might leave the range of doubles.
    """
    return _cheapest_totals(problem, [prices], threads, None)[0][0]


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one pass sees at some prices.

    Attributes
    ----------
    prices
        Where.
    total
        As `cheapest_total` gives it.
    chosen, lead
        The cheapest model of each query, and how much dearer the next is, shape ``(n,)``, up to
        rounding.
    sums
        What `exact_sums_of` gives for that.
    """

    prices: Prices
    total: Fraction | None
    chosen: Ints
    lead: Floats
    sums: tuple[Fraction, ...]


def looks_at(problem: RoutingProblem, prices: Sequence[Prices], threads: int = 1) -> list[Look]:
    """A `Look` at each of several prices, for one reading of the table."""
    n, several = problem.n_queries, len(prices)
    chosen = np.empty((several, n), np.min_scalar_type(-problem.n_models))
    lead = np.empty((several, n), np.float32)
    riding = Sweeper(problem, threads).riding

    def see(chunks: list[LowChunk]) -> list[_Sums]:
        part, sums = slice(chunks[0].start, chunks[0].stop), []
        for v, chunk in enumerate(chunks):
            chosen[v, part] = chunk.chosen
            with np.errstate(over="ignore", invalid="ignore"):
                lead[v, part] = chunk.second - chunk.low
            read = {} if riding is None else {riding: chunk.use}
            sums.append(_sums(problem, part, chunk.chosen, chunk.cost, read))
        return sums

    totals, seen = _cheapest_totals(problem, prices, threads, see)
    sums = [_added(problem, parts) for parts in zip(*seen, strict=True)]
    return list(map(Look, prices, totals, chosen, lead, sums))


def exact_sums_of(
    problem: RoutingProblem, part: slice | Ints, models: Ints
) -> tuple[Fraction, ...] | None:
    """Objective, and use of every row, of some queries, without rounding.

    Returns
    -------
    tuple or None
        None if a pair is not allowed.
    """
    cost = entries(part_of(problem.objective, part), np.arange(models.size), models)
    if not np.isfinite(cost).all():
        return None
    return _added(problem, [_sums(problem, part, models, cost, {})])


# How many queries each model has, and exact sums of the objective and of usage that differs
# among queries, pool by pool.
_Sums: TypeAlias = tuple[Ints, list[Fraction]]


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
    lines, found = np.arange(models.size), [exact_total(cost)]
    for k, rows in enumerate(problem.rows):
        if _counted(rows):
            continue
        use = read[k] if k in read else entries(part_of(rows.usage, part), lines, models)
        if rows.pool.size == rows.n_pools == 1 and rows.pool[0, 0] == 0:
            found.append(exact_total(rows.signed(use)))
        else:
            pool = entries(part_of(rows.pool, part), lines, models)
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


def _cheapest_totals(
    problem: RoutingProblem,
    prices: Sequence[Prices],
    threads: int,
    see: Callable[[list[LowChunk]], T] | None,
) -> tuple[list[Fraction | None], list[T]]:
    """What `cheapest_total` gives at several prices, and what `see` gives for every chunk."""
    usable = [bool(each.vector.max(initial=0.0) <= _LARGEST_PRICE) for each in prices]
    if not any(usable) and see is None:
        return [None] * len(prices), []
    errors = np.array([rounding(each) for each in prices])

    def visit(chunks: list[LowChunk]) -> tuple[list[Fraction | None], list[T]]:
        below = [chunk.low - least for chunk, least in zip(chunks, errors[:, 1], strict=True)]
        found = [exact_total(low) if np.isfinite(low).all() else None for low in below]
        return found, [] if see is None else [see(chunks)]

    radius = errors[:, :1] * np.array([each.vector for each in prices])
    sweeper = Sweeper(problem, threads)
    parts = sweeper.sweep_below(prices, radius, errors[:, 0], visit, route=see is not None)
    totals: list[Fraction | None] = []
    for good, column in zip(usable, zip(*(part[0] for part in parts), strict=True), strict=True):
        found = [part for part in column if part is not None]
        whole = good and len(found) == len(parts)
        totals.append(sum(found, Fraction(0)) if whole else None)
    return totals, [each for part in parts for each in part[1]]


def rounded_down(number: Fraction) -> float:
    """The largest double not above a number; minus infinity below all doubles."""
    try:
        value = float(number)
    except OverflowError:
        return -math.inf if number < 0 else sys.float_info.max
    return value if Fraction(value) <= number else math.nextafter(value, -math.inf)


def rounded_up(number: Fraction) -> float:
    """The least double not below a number; infinity above all doubles."""
    return -rounded_down(-number)


def priced_below(
    problem: RoutingProblem,
    prices: Prices,
    part: slice | Ints = slice(None),
    *,
    objective: bool = True,
) -> Floats:
    r"""Numbers never above the exact :math:`f_{ij} + \sum_k p_k u_{kij}`, shape ``(b, m)``.

    What rounding may do is taken off as in `cheapest_total`; ``inf`` where a pair is not
    allowed. Where a charge leaves the range of doubles the entry is NaN or ``-inf``, never a
    number.

    Parameters
    ----------
    part
        Some queries.
    objective
        Whether :math:`f` counts; without, a ray weighs usage alone.
    """
    low = problem.objective[part].astype(np.float64)
    forbidden = low == np.inf
    if not objective:
        low[~forbidden] = 0.0
    charged = sum(bool(price.any()) for price in prices.values)
    if charged == 0:
        return low
    size = np.abs(low)
    for rows, price in zip(problem.rows, prices.values, strict=True):
        if price.any():
            charge = rows.charge(price, part)
            low += charge
            size += np.abs(charge)
    size[forbidden] = 0.0
    relative, absolute = rounding(prices)
    low -= relative * size + absolute
    low[forbidden] = np.inf
    return low
