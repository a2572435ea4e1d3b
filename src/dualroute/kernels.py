"""Compiled passes over a table; imported only where a table is large enough to repay numba.

Each kernel runs over the queries ``start .. stop`` on one thread and lets go of the interpreter
lock, so that callers can share a pass among threads. None is compiled with ``fastmath``: sums are
taken in the order written, so a pass gives the same digits on any number of threads, and error
bounds hold. Compiled code is cached on disk.

A *swept* pair costs ``objective[i, j] + base[j] + charge[j] * usage[i, j] + rate[j] * load[i]
+ extra[i - start, j]``, any part of which may be absent, and is uncertain by ``wide_base[j]
+ wide_cost * abs(objective[i, j]) + wide_charge[j] * abs(usage[i, j]) + wide_rate[j]
* abs(load[i]) + wide_extra[i - start, j]`` to either side.
"""

from typing import Any, TypeAlias

import numba
import numpy as np

Array: TypeAlias = Any

_STRIP = 64  # queries priced at a time: their costs stay in the first-level cache
_WORDS = 70  # of 32 bits each: every double's bits, and room for carries
_BIAS = 1074

_compiled = numba.njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def _price(
    rows: Array,
    first: int,
    b: int,
    at: int,
    by_query: bool,
    objective: Array,
    base: Array,
    usage: Array,
    charge: Array,
    load: Array,
    rate: Array,
    extra: Array,
) -> None:
    """Write the costs of queries ``first .. first + b`` to ``rows``, model by model."""
    m = base.size
    if by_query and usage.size:
        for t in range(b):
            for j in range(m):
                rows[j, t] = objective[first + t, j] + base[j] + charge[j] * usage[first + t, j]
    elif by_query:
        for t in range(b):
            for j in range(m):
                rows[j, t] = objective[first + t, j] + base[j]
    else:
        for j in range(m):
            shift = base[j]
            if usage.size:
                price = charge[j]
                for t in range(b):
                    rows[j, t] = objective[j, first + t] + shift + price * usage[j, first + t]
            else:
                for t in range(b):
                    rows[j, t] = objective[j, first + t] + shift
    if load.size:
        for j in range(m):
            price = rate[j]
            for t in range(b):
                rows[j, t] += price * load[first + t]
    if extra.size:
        for t in range(b):
            for j in range(m):
                rows[j, t] += extra[at + t, j]


@_compiled
def _take(
    taken: Array, j: int, i: int, by_query: bool, objective: Array, usage: Array, load: Array
) -> None:
    taken[j, 0] += 1.0
    taken[j, 1] += objective[i, j] if by_query else objective[j, i]
    if usage.size:
        taken[j, 2] += usage[i, j] if by_query else usage[j, i]
    if load.size:
        taken[j, 3] += load[i]


@_compiled
def sweep(
    start: int,
    stop: int,
    by_query: bool,
    objective: Array,
    base: Array,
    usage: Array,
    charge: Array,
    load: Array,
    rate: Array,
    extra: Array,
    best: Array,
    second: Array,
    chosen: Array,
    taken: Array,
) -> float:
    """Least and second least cost of each query.

    Parameters
    ----------
    start, stop
        The queries of this pass.
    by_query
        Whether `objective` and `usage` are given as ``(n, m)``, or as ``(m, n)``: in C order
        either way, so that one compiled kernel serves both.
    objective, base, usage, charge, load, rate, extra
        Costs, see the module; absent parts have size 0.
    best, second, chosen
        Written, shape ``(stop - start,)``: both costs, and the model of the least; ties go to
        the lowest index.
    taken
        Added to, shape ``(m, 4)``: queries, objective, usage and load of each model under
        `chosen`.

    Returns
    -------
    float
        Sum of `best`.
    """
    m = base.size
    rows = np.empty((m, _STRIP))
    least, rival, model = np.empty(_STRIP), np.empty(_STRIP), np.empty(_STRIP, np.int64)
    total = 0.0
    for first in range(start, stop, _STRIP):
        b = min(_STRIP, stop - first)
        at = first - start
        _price(rows, first, b, at, by_query, objective, base, usage, charge, load, rate, extra)
        for t in range(b):
            least[t], rival[t], model[t] = rows[0, t], np.inf, 0
        for j in range(1, m):
            for t in range(b):
                cost, held = rows[j, t], least[t]
                less = cost < held
                larger = held if less else cost
                rival[t] = larger if larger < rival[t] else rival[t]
                model[t] = j if less else model[t]
                least[t] = cost if less else held
        for t in range(b):
            j = model[t]
            total += least[t]
            best[at + t], second[at + t], chosen[at + t] = least[t], rival[t], j
            _take(taken, j, first + t, by_query, objective, usage, load)
    return total


@_compiled
def sweep_wide(
    start: int,
    stop: int,
    by_query: bool,
    objective: Array,
    base: Array,
    usage: Array,
    charge: Array,
    load: Array,
    rate: Array,
    extra: Array,
    wide_base: Array,
    wide_cost: float,
    wide_charge: Array,
    wide_rate: Array,
    wide_extra: Array,
    margin: float,
    low: Array,
    rival: Array,
    high: Array,
    chosen: Array,
    taken: Array,
) -> None:
    """Bounds of each query's least cost where every cost is uncertain.

    Parameters
    ----------
    start, stop, by_query, objective, base, usage, charge, load, rate, extra
        As in `sweep`.
    wide_base, wide_cost, wide_charge, wide_rate, wide_extra
        Uncertainty, see the module.
    low, rival
        Written, shape ``(stop - start,)``: the least lower end of any pair, and the second
        least.
    high, chosen
        Written: the least upper end of any pair, and the model of least cost.
    margin, taken
        Added to, as in `sweep`, by the queries whose `rival` is above `high` by more than this.
    """
    m = base.size
    rows, width = np.empty((m, _STRIP)), np.empty((m, _STRIP))
    least, lowest, second = np.empty(_STRIP), np.empty(_STRIP), np.empty(_STRIP)
    highest, model = np.empty(_STRIP), np.empty(_STRIP, np.int64)
    for first in range(start, stop, _STRIP):
        b = min(_STRIP, stop - first)
        at = first - start
        _price(rows, first, b, at, by_query, objective, base, usage, charge, load, rate, extra)
        if by_query and usage.size:
            for t in range(b):
                for j in range(m):
                    width[j, t] = (
                        wide_base[j]
                        + wide_cost * abs(objective[first + t, j])
                        + wide_charge[j] * abs(usage[first + t, j])
                    )
        else:
            for j in range(m):
                shift, price = wide_base[j], 0.0
                if by_query:
                    for t in range(b):
                        width[j, t] = shift + wide_cost * abs(objective[first + t, j])
                else:
                    for t in range(b):
                        width[j, t] = shift + wide_cost * abs(objective[j, first + t])
                if usage.size:
                    price = wide_charge[j]
                    for t in range(b):
                        width[j, t] += price * abs(usage[j, first + t])
        if load.size:
            for j in range(m):
                price = wide_rate[j]
                for t in range(b):
                    width[j, t] += price * abs(load[first + t])
        if extra.size:
            for t in range(b):
                for j in range(m):
                    width[j, t] += wide_extra[at + t, j]
        for t in range(b):
            least[t], model[t] = np.inf, 0
            lowest[t], second[t], highest[t] = np.inf, np.inf, np.inf
        for j in range(m):
            for t in range(b):
                cost = rows[j, t]
                # A forbidden pair stays infinite; infinity minus infinity would be no number.
                wide = width[j, t] if cost < np.inf else 0.0
                end, top = cost - wide, cost + wide
                less = cost < least[t]
                model[t] = j if less else model[t]
                least[t] = cost if less else least[t]
                larger = lowest[t] if end < lowest[t] else end
                second[t] = larger if larger < second[t] else second[t]
                lowest[t] = end if end < lowest[t] else lowest[t]
                highest[t] = top if top < highest[t] else highest[t]
        for t in range(b):
            low[at + t], rival[at + t] = lowest[t], second[t]
            high[at + t], chosen[at + t] = highest[t], model[t]
            if second[t] > highest[t] + margin:
                _take(taken, model[t], first + t, by_query, objective, usage, load)


@_compiled
def add_charges(
    start: int,
    stop: int,
    usage: Array,
    pool: Array,
    price: Array,
    radius: Array,
    extra: Array,
    wide_extra: Array,
) -> None:
    """Add what one family charges, and how uncertain that is, to ``(stop - start, m)`` arrays.

    `usage` and `pool` are whole grids, `price` and `radius` have one entry per pool; an empty
    `wide_extra` is left alone.
    """
    for i in range(start, stop):
        for j in range(pool.shape[1]):
            r = pool[i, j]
            if r >= 0:
                extra[i - start, j] += price[r] * usage[i, j]
                if wide_extra.size:
                    wide_extra[i - start, j] += radius[r] * abs(usage[i, j])


@_compiled
def add_use(start: int, stop: int, usage: Array, pool: Array, chosen: Array, used: Array) -> None:
    """Add to each pool what queries take out of it on their `chosen` models; -1 for none."""
    for i in range(start, stop):
        j = chosen[i - start]
        if j >= 0 and pool[i, j] >= 0:
            used[pool[i, j]] += usage[i, j]


@_compiled
def add_exactly(values: Array, pool: Array, words: Array) -> None:
    """Add doubles to one exact sum per pool.

    A sum is an integer in units of ``2 ** -1074``, cut into words of 32 bits with room for
    carries, so that adding is exact and the order does not matter (the small superaccumulator
    of Neal 2015, arXiv 1505.05571).

    Parameters
    ----------
    values
        Finite doubles, shape ``(n,)``, ``n < 2 ** 30``.
    pool
        Shape ``(n,)``; -1 counts nowhere.
    words
        Added to, shape ``(r, 70)``, int64.
    """
    bits = values.view(np.uint64)
    for t in range(values.size):
        r = pool[t]
        if r < 0:
            continue
        pattern = bits[t]
        exponent = np.int64((pattern >> np.uint64(52)) & np.uint64(0x7FF))
        mantissa = np.int64(pattern & np.uint64(0xFFFFFFFFFFFFF))
        if exponent > 0:
            mantissa |= np.int64(1) << np.int64(52)
            exponent -= 1
        word, shift = exponent >> 5, exponent & 31
        # 53 bits moved up by at most 31: low 32, middle 32 and the rest.
        low = (mantissa & np.int64(0xFFFFFFFF)) << shift
        high = (mantissa >> np.int64(32)) << shift
        a, b = low & np.int64(0xFFFFFFFF), (low >> np.int64(32)) + high
        if pattern >> np.uint64(63):
            words[r, word] -= a
            words[r, word + 1] -= b & np.int64(0xFFFFFFFF)
            words[r, word + 2] -= b >> np.int64(32)
        else:
            words[r, word] += a
            words[r, word + 1] += b & np.int64(0xFFFFFFFF)
            words[r, word + 2] += b >> np.int64(32)
