"""Numbers on a lattice: what follows where objectives or usage are multiples of a step.

An objective of whole cents that is better than 2.00 is 1.99 at most, and at most 7.5 requests
are at most 7. Steps are proposed from the table; what one is worth rests on how far the numbers
are from its multiples, which is bounded here with its own rounding: a wrong step implies nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from dualroute.arrays import Floats, Ints, exact_sum
from dualroute.problem import RoutingProblem
from dualroute.rigour import fractions, rounded_down, rounded_up

_ROUNDOFF = 2.0**-53
# The part of the objective by which a routing has to be better to matter where no lattice says
# so: well inside what `certify` calls optimal (1e-9), and well above rounding.
_RELATIVE_STEP = 4e-10
_ABSOLUTE_STEP = 1e-14
_MARGIN = 1e-3
_FINEST = 12  # decimals looked at when a resolution is sought
_LARGEST_WHOLE = 2.0**40
_SAMPLE = 4096


def find_resolution(problem: RoutingProblem) -> float | None:
    """The largest decimal step that every objective entry is a multiple of, or None.

    Whole numbers, millionths of a USD. A proposal only: what it is worth is for
    `lattice_error` to say.
    """
    return _found_step(problem.objective)


def find_steps(problem: RoutingProblem, longest: float = math.inf) -> Floats:
    """The same for the usage of every limit, shape ``(K,)``; 0 where there is none.

    Families whose usage has more than `longest` rows are passed over.
    """
    steps = [np.empty(0)]
    for rows in problem.rows:
        step = _found_step(rows.usage) if rows.usage.shape[0] <= longest else None
        steps.append(np.full(rows.n_pools, step or 0.0))
    return np.concatenate(steps)


def _found_step(grid: Floats) -> float | None:
    """The greatest common divisor of the entries, in the coarsest decimal unit of a sample."""
    n = grid.shape[0]
    sample = grid[:: max(1, n // _SAMPLE)]
    decimals = next((d for d in range(_FINEST + 1) if _whole(sample, d) is not None), None)
    if decimals is None:
        return None
    divisor = 0
    for start in range(0, n, _SAMPLE):
        whole = _whole(grid[start : start + _SAMPLE], decimals)
        if whole is None:
            return None
        divisor = math.gcd(divisor, int(np.gcd.reduce(whole)))
    return divisor / 10.0**decimals if divisor else None


def _whole(values: Floats, decimals: int) -> Ints | None:
    """Entries in units of a power of ten, as integers; None where one is not whole."""
    scaled = values[values < np.inf].astype(np.float64) * 10.0**decimals
    whole = np.rint(scaled)
    near = np.abs(scaled - whole) <= 4 * _ROUNDOFF * np.abs(scaled)
    if not near.all() or np.abs(whole).max(initial=0.0) >= _LARGEST_WHOLE:
        return None
    return whole.astype(np.int64)


def lattice_error(problem: RoutingProblem, resolution: float) -> Fraction | None:
    r"""A number that no routing's objective is further from a multiple of the resolution.

    :math:`\sum_i \max_j |f_{ij} - g \, \mathrm{round}(f_{ij} / g)|`, rounded up; 0 for whole
    numbers and ``g = 1``. None if it leaves the range of doubles.
    """
    return _grid_error(problem.objective, resolution, problem.n_queries)


def _grid_error(grid: Floats, step: float, n: int) -> Fraction | None:
    mantissa, _ = math.frexp(step)
    digits = int(mantissa * 2**53)
    exact_up_to = float(digits & -digits)  # such multiples of the step are doubles
    total = Fraction(0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, grid.shape[0], _SAMPLE):
            values = grid[start : start + _SAMPLE].astype(np.float64)
            values[values == np.inf] = 0.0
            multiple = np.rint(values / step)
            nearest = multiple * step
            error = np.abs(values - nearest)
            rounded = _ROUNDOFF * np.abs(nearest) * (np.abs(multiple) > exact_up_to)
            # Four units cover the roundings of the difference, the product and their sum.
            worst = ((error + rounded) * (1 + 4 * _ROUNDOFF)).max(axis=1)
            if not np.isfinite(worst).all():
                return None
            total += Fraction(exact_sum(worst)) * (1 + Fraction(2) ** -52)
    return total if grid.shape[0] == n else total * n


def least_step(problem: RoutingProblem, objective: float, resolution: float | None = None) -> float:
    """By how much a routing has to be better than one of this objective to matter.

    A proof with cutoff ``objective - least_step(...)`` proves the objective optimal: to within
    1e-9 of it, or on a lattice ``g`` with error ``E`` to within ``2 E`` where that is more
    room, as a routing below it is below it by ``g - 2 E`` at least.
    """
    size = problem.objective_size * problem.n_queries
    step = max(_RELATIVE_STEP * abs(objective), _ABSOLUTE_STEP * size)
    if resolution is None or not 0 < resolution < math.inf:
        return step
    error = lattice_error(problem, resolution)
    if error is None:
        return step
    return max(step, (1 - _MARGIN) * resolution - 2 * float(error))


def implied_bound(proved: float, resolution: float | None, problem: RoutingProblem) -> float:
    r"""What "no routing is below ``proved``" says about a problem on a lattice.

    Every objective is :math:`v = g k + d` with ``k`` whole and :math:`|d| \le E`, so
    :math:`v \ge C` gives :math:`g k \ge C - E` and :math:`v \ge g \lceil (C - E) / g \rceil - E`.
    A theorem for any ``g > 0``: a wrong one has a large ``E`` and implies nothing.
    """
    if resolution is None or not (0 < resolution < math.inf and math.isfinite(proved)):
        return proved
    error = lattice_error(problem, resolution)
    if error is None:
        return proved
    step = Fraction(resolution)
    least = step * math.ceil((Fraction(proved) - error) / step) - error
    return max(proved, rounded_down(least))


def implied_limits(
    problem: RoutingProblem, limits: Sequence[Fraction], steps: Floats
) -> list[Fraction]:
    r"""What limits say where usage is on a lattice: at most 7.5 requests are at most 7.

    Every use is :math:`h k + d` with ``k`` whole and :math:`|d| \le E`, so a use of at most
    ``b`` is one of at most :math:`h \lfloor (b + E) / h \rfloor + E`. A theorem for any ``h``,
    as in `implied_bound`.

    Parameters
    ----------
    limits
        ``K`` numbers.
    steps
        Shape ``(K,)``; 0 for none.
    """
    implied = list(limits)
    first = 0
    for rows in problem.rows:
        errors: dict[float, Fraction | None] = {}
        for r in range(first, first + rows.n_pools):
            h = float(steps[r])
            if h not in errors:
                errors[h] = _grid_error(rows.usage, h, problem.n_queries) if h > 0 else None
            error = errors[h]
            if error is not None:
                step = Fraction(h)
                most = step * math.floor((implied[r] + error) / step) + error
                implied[r] = min(implied[r], most)
        first += rows.n_pools
    return implied


def tightened(problem: RoutingProblem, steps: Floats) -> RoutingProblem:
    """The problem with the limits that its lattice implies, and no tolerance on top.

    Its routings are those that keep the problem's `target`, and its relaxation is tighter.
    """
    implied = implied_limits(problem, fractions(problem.target), steps)
    limits = problem.split(np.array([rounded_up(b) for b in implied]))
    rows = zip(problem.rows, limits, strict=True)
    return replace(problem, rows=tuple(replace(r, limit=limit) for r, limit in rows), tolerance=0.0)
