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
WORDS = 70  # of 32 bits each: every double's bits, and room for carries
BIAS = 1074

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
    taken: Array,
    model: Array,
    first: int,
    b: int,
    by_query: bool,
    objective: Array,
    usage: Array,
    load: Array,
) -> None:
    """Add to `taken` what ``b`` queries take on their models; a model of -1 takes nothing."""
    for t in range(b):
        if model[t] >= 0:
            taken[model[t], 0] += 1.0
    if by_query:
        for t in range(b):
            if model[t] >= 0:
                taken[model[t], 1] += objective[first + t, model[t]]
        if usage.size:
            for t in range(b):
                if model[t] >= 0:
                    taken[model[t], 2] += usage[first + t, model[t]]
    else:
        for t in range(b):
            if model[t] >= 0:
                taken[model[t], 1] += objective[model[t], first + t]
        if usage.size:
            for t in range(b):
                if model[t] >= 0:
                    taken[model[t], 2] += usage[model[t], first + t]
    if load.size:
        for t in range(b):
            if model[t] >= 0:
                taken[model[t], 3] += load[first + t]


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
            best[at + t], second[at + t], chosen[at + t] = least[t], rival[t], model[t]
        for t in range(b):
            total += least[t]
        _take(taken, model, first, b, by_query, objective, usage, load)
    return total


@_compiled
def _widen(
    width: Array,
    first: int,
    b: int,
    at: int,
    by_query: bool,
    objective: Array,
    usage: Array,
    load: Array,
    wide_base: Array,
    wide_cost: float,
    wide_charge: Array,
    wide_rate: Array,
    wide_extra: Array,
) -> None:
    """Write how uncertain the costs are that `_price` writes."""
    m = wide_base.size
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
    if wide_extra.size:
        for t in range(b):
            for j in range(m):
                width[j, t] += wide_extra[at + t, j]


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
        _widen(
            width, first, b, at, by_query, objective, usage, load,
            wide_base, wide_cost, wide_charge, wide_rate, wide_extra,
        )  # fmt: skip
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
        for t in range(b):
            model[t] = model[t] if second[t] > highest[t] + margin else -1
        _take(taken, model, first, b, by_query, objective, usage, load)


@_compiled
def sign(
    start: int,
    stop: int,
    by_query: bool,
    objective: Array,
    base: Array,
    usage: Array,
    charge: Array,
    load: Array,
    rate: Array,
    wide_base: Array,
    wide_cost: float,
    wide_charge: Array,
    wide_rate: Array,
    margin: float,
    shared: bool,
    high: Array,
    signature: Array,
    reference: Array,
) -> None:
    """Give queries that the limits cannot tell apart, wherever costs lie, the same number.

    A query's models in play are those whose lower end is within `margin` of its `high`. Two
    queries are the same where the same models are in play and these differ alike: in
    objective, in usage, and in load.

    Parameters
    ----------
    start, stop, by_query, objective, base, usage, charge, load, rate
        As in `sweep`.
    wide_base, wide_cost, wide_charge, wide_rate, margin, high
        As in `sweep_wide`.
    shared
        Whether all models take `usage` out of one pool, so that only differences matter.
    signature
        Written, shape ``(stop - start,)``, uint64: a hash of all that.
    reference
        Written: each query's lowest model in play, which differences are taken from.
    """
    m = base.size
    rows, width = np.empty((m, _STRIP)), np.empty((m, _STRIP))
    nothing = np.empty((0, 0))
    number = np.empty(1)
    bits = number.view(np.uint64)
    for first in range(start, stop, _STRIP):
        b = min(_STRIP, stop - first)
        at = first - start
        _price(rows, first, b, at, by_query, objective, base, usage, charge, load, rate, nothing)
        _widen(
            width, first, b, at, by_query, objective, usage, load,
            wide_base, wide_cost, wide_charge, wide_rate, nothing,
        )  # fmt: skip
        for t in range(b):
            i, ceiling = first + t, high[at + t] + margin
            code, origin = np.uint64(0xCBF29CE484222325), -1
            cost_there = use_there = 0.0
            for j in range(m):
                if not rows[j, t] - width[j, t] <= ceiling:
                    continue
                cost = np.float64(objective[i, j] if by_query else objective[j, i])
                use = 0.0
                if usage.size:
                    use = np.float64(usage[i, j] if by_query else usage[j, i])
                if origin < 0:
                    origin, cost_there = j, cost
                    use_there = use if shared else 0.0
                code = _mixed(code, np.uint64(j + 1))
                number[0] = cost - cost_there + 0.0  # no negative zero
                code = _mixed(code, bits[0])
                number[0] = use - use_there + 0.0
                code = _mixed(code, bits[0])
                if load.size:
                    number[0] = load[i] + 0.0
                    code = _mixed(code, bits[0])
            signature[at + t], reference[at + t] = code, origin


@_compiled
def _mixed(code: Any, part: Any) -> Any:
    """Mix 64 further bits into a hash (the multiply and xor-shift of splitmix64)."""
    code = (code ^ part) * np.uint64(0xBF58476D1CE4E5B9)
    code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return code ^ (code >> np.uint64(31))


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


@_compiled
def soften(
    priced: Array,
    heat: float,
    row: Array,
    use: Array,
    expected: Array,
    curved: Array,
) -> float:
    """Add what drawing models by softmin weights does to use, for some queries.

    Parameters
    ----------
    priced
        Cost of every pair, shape ``(t, m)``.
    heat
        Of the softmin, in the same unit.
    row, use
        Which of the ``K`` rows each pair uses in each family (-1: none), and how much, shape
        ``(F, t, m)``.
    expected
        Added to, shape ``(K,)``: expected use.
    curved
        Added to, shape ``(K, K)``: covariance of use.

    Returns
    -------
    float
        Sum of ``log(sum_j exp((best - priced_j) / heat))``.
    """
    n_families, t, m = use.shape
    total = 0.0
    weight, mean = np.empty(m), np.zeros(expected.size)
    seen, touched = np.zeros(expected.size, np.bool_), np.empty(expected.size, np.int64)
    for i in range(t):
        best = np.inf
        for j in range(m):
            best = min(best, priced[i, j])
        mass = 0.0
        for j in range(m):
            weight[j] = np.exp((best - priced[i, j]) / heat)
            mass += weight[j]
        total += np.log(mass)
        n_touched = 0
        for j in range(m):
            share = weight[j] / mass
            if share <= 1e-14:
                continue
            for f in range(n_families):
                r = row[f, i, j]
                if r < 0 or use[f, i, j] == 0.0:
                    continue
                if not seen[r]:
                    seen[r] = True
                    touched[n_touched] = r
                    n_touched += 1
                mean[r] += share * use[f, i, j]
                for g in range(n_families):
                    s = row[g, i, j]
                    if s >= 0:
                        curved[r, s] += share * use[f, i, j] * use[g, i, j]
        for a in range(n_touched):
            for b in range(a):
                product = mean[touched[a]] * mean[touched[b]]
                curved[touched[a], touched[b]] -= product
                curved[touched[b], touched[a]] -= product
            curved[touched[a], touched[a]] -= mean[touched[a]] * mean[touched[a]]
        for a in range(n_touched):
            expected[touched[a]] += mean[touched[a]]
            mean[touched[a]], seen[touched[a]] = 0.0, False
    return total
