"""Numbers on the safe side: what floating point may get wrong is bounded and taken off."""

import math
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

import numpy as np

from dualroute.arrays import Floats, Ints, exact_total
from dualroute.problem import Prices, RoutingProblem
from dualroute.sweep import LowChunk, Sweeper

_UNIT_ROUNDOFF = 2.0**-53
LARGEST_PRICE = 1e200  # usage is at most 1e100: no charge leaves the range of doubles

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
    return cheapest_totals(problem, [prices], threads, None)[0][0]


def cheapest_totals(
    problem: RoutingProblem,
    prices: Sequence[Prices],
    threads: int,
    see: Callable[[list[LowChunk]], T] | None,
) -> tuple[list[Fraction | None], list[T]]:
    """What `cheapest_total` gives at several prices, and what `see` gives for every chunk."""
    usable = [bool(each.vector.max(initial=0.0) <= LARGEST_PRICE) for each in prices]
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
