"""Numbers on the safe side: what floating point may get wrong is bounded and taken off."""

import math
import sys
from fractions import Fraction

import numpy as np

from dualroute.arrays import Floats, Ints, exact_total
from dualroute.problem import Prices, RoutingProblem
from dualroute.sweep import Sweeper

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
    if not prices.vector.max(initial=0.0) <= _LARGEST_PRICE:
        return None
    error, least = rounding(prices)

    def visit(low: Floats) -> Fraction | None:
        cheapest = low - least
        return exact_total(cheapest) if np.isfinite(cheapest).all() else None

    sweeper = Sweeper(problem, threads)
    parts = sweeper.sweep_below(prices, error * prices.vector, error, visit)
    found = [part for part in parts if part is not None]
    return sum(found, Fraction(0)) if len(found) == len(parts) else None


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
