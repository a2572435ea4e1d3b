"""Array aliases, reading a grid at the chosen models, and sums without rounding error.

A *grid* is an array that broadcasts to ``(n, m)``: ``n`` queries by ``m`` models. Most grids
are small (a capacity is ``(1, 1)``), so nothing here ever expands one.
"""

import math
import sys
from fractions import Fraction
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]
Bools: TypeAlias = NDArray[np.bool_]
Labels: TypeAlias = NDArray[Any]

_EXACT_INTEGERS = 2.0**53
_HEAD = 64  # values that tell most arrays of fractions
_MANY, _MANY_LOADED = 2**16, 2**10  # values that repay importing numba, a call


def part_of(grid: NDArray[Any], part: slice | Ints) -> NDArray[Any]:
    """Rows ``part`` of a grid; a grid that is the same for every query is returned whole."""
    return grid if grid.shape[0] == 1 else grid[part]


def gathered(grid: NDArray[Any], queries: Ints) -> NDArray[Any]:
    """A copy of some rows of a grid, in its order; of one row for every query, the grid itself."""
    if grid.shape[0] == 1:
        return grid
    if grid.flags.c_contiguous:
        return np.take(grid, queries, axis=0)
    return np.take(grid.T, queries, axis=1).T if grid.flags.f_contiguous else grid[queries]


def entries(grid: NDArray[Any], queries: Ints, models: Ints) -> NDArray[Any]:
    """Entries ``(queries[k], models[k])`` of a grid, shape ``(k,)``."""
    n, m = grid.shape
    taken: NDArray[Any]
    if n == 1:
        taken = grid[0][models] if m > 1 else np.broadcast_to(grid[0], models.shape)
    elif m == 1:
        taken = grid[queries, 0]
    elif grid.flags.c_contiguous:  # half the time of indexing in two dimensions
        taken = grid.ravel()[queries.astype(np.intp, copy=False) * m + models]
    else:
        taken = grid[queries, models]
    return taken


def at(grid: NDArray[Any], assignment: Ints) -> NDArray[Any]:
    """Entry ``(i, assignment[i])`` of a grid for every query, shape ``(n,)``."""
    return entries(grid, np.arange(assignment.size), assignment)


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that cannot be written through: values handed out stay facts."""
    view = array.view()
    view.flags.writeable = False
    return view


def pool_sums(values: Floats, pool: Ints, n_pools: int) -> Floats:
    """Floating-point sum of ``values`` per pool, shape ``(n_pools,)``; pool -1 counts nowhere."""
    shifted = pool.astype(np.intp, copy=False) + 1
    return np.bincount(shifted, values, n_pools + 1)[1:].astype(np.float64, copy=False)


def exact_total(values: Floats) -> Fraction:
    """Sum of finite numbers, without any rounding."""
    values = np.ravel(values).astype(np.float64, copy=False)
    if many(values.size):
        return _exact_totals(values, None, 1)[0]
    # What one correctly rounded sum leaves, the next one takes, until nothing is left.
    numbers, total = values.tolist(), Fraction(0)
    try:
        while (part := math.fsum(numbers)) != 0:
            numbers.append(-part)
            total += Fraction(part)
    except OverflowError:  # a partial sum left the range of doubles; the whole need not
        total = sum(map(Fraction, values.tolist()), Fraction(0))
    return total


def many(values: int) -> bool:
    """Whether compiled loops over so many values are the quicker ones; digits are the same."""
    loaded = "dualroute.kernels" in sys.modules
    return values >= (_MANY_LOADED if loaded else _MANY)


def exact_totals(values: Floats, pool: Ints, n_pools: int) -> list[Fraction]:
    """Sums of finite numbers per pool, without any rounding; entries of pool -1 count nowhere."""
    values = values.astype(np.float64, copy=False)
    if many(values.size):
        return _exact_totals(values, pool, n_pools)
    return [exact_total(values[pool == r]) for r in range(n_pools)]


def _exact_totals(values: Floats, pool: Ints | None, n_pools: int) -> list[Fraction]:
    from dualroute import kernels

    values = np.ascontiguousarray(values)
    words = np.zeros((n_pools, kernels.WORDS), np.int64)
    if pool is None:
        kernels.add_all_exactly(values, words)
    else:
        kernels.add_exactly(values, pool.astype(np.int32, copy=False), words)
    return [_of_words(line, kernels.BIAS) for line in words]


def _of_words(line: Ints, bias: int) -> Fraction:
    """The number that words of 32 bits stand for, in units of ``2 ** -bias``."""
    held = np.flatnonzero(line)
    if held.size == 0:
        return Fraction(0)
    first = int(held[0])
    parts = zip(line[held].tolist(), (32 * (held - first)).tolist(), strict=True)
    total, power = sum(word << shift for word, shift in parts), bias - 32 * first
    return Fraction(total, 1 << power) if power > 0 else Fraction(total << -power)


def as_float(exact: Fraction) -> float:
    """The double nearest to a number; infinite beyond all doubles."""
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def exact_sum(values: Floats) -> float:
    """Sum of an array, correctly rounded, whatever its order (Shewchuk's expansion)."""
    if many(values.size) and np.isfinite(values).all():
        return as_float(exact_total(values))
    try:
        return math.fsum(values.ravel().tolist())
    except OverflowError:
        pass  # a partial sum left the range of doubles; the whole need not
    if not np.isfinite(values).all():
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.sum(values, dtype=np.float64))
    return as_float(sum(map(Fraction, values.ravel().tolist()), Fraction(0)))


def _whole(values: Floats) -> bool:
    return bool((values == np.rint(values)).all())


def exact_sums(values: Floats, pool: Ints, n_pools: int) -> Floats:
    """Correctly rounded sum of ``values`` per pool; entries of pool -1 count nowhere.

    Parameters
    ----------
    values, pool
        Shape ``(n,)``.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_pools,)``.
    """
    values = values.astype(np.float64, copy=False)
    # Whole numbers (requests, tokens, 0/1 qualities) add up exactly in any order.
    if _whole(values[:_HEAD]) and _whole(values):
        with np.errstate(over="ignore"):
            size = float(np.abs(values).sum())
        if size < _EXACT_INTEGERS:
            return pool_sums(values, pool, n_pools)
    if many(values.size) and np.isfinite(values).all():
        return np.array([as_float(total) for total in _exact_totals(values, pool, n_pools)])
    order = np.argsort(pool, kind="stable")
    bounds = np.searchsorted(pool[order], np.arange(n_pools + 1))
    ordered = values[order]
    return np.array([exact_sum(ordered[a:b]) for a, b in pairwise(bounds)])
