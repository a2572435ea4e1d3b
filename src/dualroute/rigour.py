"""Numbers on the safe side: what floating point may get wrong is bounded and taken off."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter

import numpy as np

from dualroute.arrays import Floats, Ints, exact_total
from dualroute.problem import Prices, RoutingProblem
from dualroute.sweep import Chunk, Sweeper, total

_UNIT_ROUNDOFF = 2.0**-53
_LARGEST_PRICE = 1e200  # usage is at most 1e100: no charge leaves the range of doubles


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
    return _cheapest_totals(problem, [prices], threads, None)[0]


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
    cost, use
        Objective, and use of every row ``(K,)``, of that, in floating point.
    """

    prices: Prices
    total: Fraction | None
    chosen: Ints
    lead: Floats
    cost: float
    use: Floats


def looks_at(problem: RoutingProblem, prices: Sequence[Prices], threads: int = 1) -> list[Look]:
    """A `Look` at each of several prices, for one reading of the table."""
    n, several = problem.n_queries, len(prices)
    chosen = np.empty((several, n), np.min_scalar_type(-problem.n_models))
    lead = np.empty((several, n), np.float32)
    sums: list[tuple[int, Floats, Floats]] = []

    def see(chunks: list[Chunk]) -> None:
        for v, chunk in enumerate(chunks):
            part = slice(chunk.start, chunk.stop)
            chosen[v, part] = chunk.chosen
            with np.errstate(over="ignore", invalid="ignore"):
                lead[v, part] = chunk.second - chunk.best
        costs = np.array([chunk.cost for chunk in chunks])
        sums.append((chunks[0].start, costs, np.array([chunk.use for chunk in chunks])))

    totals = _cheapest_totals(problem, prices, threads, see)
    sums.sort(key=itemgetter(0))  # so that threads change no digit
    cost, use = total([part[1] for part in sums]), total([part[2] for part in sums])
    return [
        Look(prices[v], totals[v], chosen[v], lead[v], float(cost[v]), use[v])
        for v in range(several)
    ]


def _cheapest_totals(
    problem: RoutingProblem,
    prices: Sequence[Prices],
    threads: int,
    see: Callable[[list[Chunk]], None] | None,
) -> list[Fraction | None]:
    """What `cheapest_total` gives at several prices; `see` is shown the chunks of the passes."""
    usable = [bool(each.vector.max(initial=0.0) <= _LARGEST_PRICE) for each in prices]
    if not any(usable) and see is None:
        return [None] * len(prices)
    errors = np.array([rounding(each) for each in prices])

    def visit(chunks: list[Chunk]) -> list[Fraction | None]:
        if see is not None:
            see(chunks)
        below = [chunk.best - least for chunk, least in zip(chunks, errors[:, 1], strict=True)]
        return [exact_total(low) if np.isfinite(low).all() else None for low in below]

    radius = errors[:, :1] * np.array([each.vector for each in prices])
    sweeper = Sweeper(problem, threads)
    parts = sweeper.sweep_below(prices, radius, errors[:, 0], visit, route=see is not None)
    totals: list[Fraction | None] = []
    for good, column in zip(usable, zip(*parts, strict=True), strict=True):
        found = [part for part in column if part is not None]
        whole = good and len(found) == len(parts)
        totals.append(sum(found, Fraction(0)) if whole else None)
    return totals


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
