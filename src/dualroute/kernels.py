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

import numpy as np

from dualroute.compiled import compiled, inlined

Array: TypeAlias = Any

_HAIR = 1e-15  # of two costs: what rounding may move their difference by
_STRIP = 64  # queries priced at a time: their costs stay in the first-level cache
WORDS = 70  # of 32 bits each: every double's bits, and room for carries
BIAS = 1074
_BLOCK = 2048  # numbers whose high parts add up without rounding
LARGEST_FLOAT = 3.4028234663852886e38  # of 32 bits
_LEAST_SPLIT, _LARGEST_SPLIT = 1e-270, 1e290  # of numbers that are split into high and low parts


@inlined
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


@inlined
def _two_least(rows: Array, b: int, least: Array, rival: Array, model: Array) -> None:
    """Write the least and second least of each query's costs, and the model of the least.

    A cost that is NaN is no cost.
    """
    for t in range(b):
        least[t], rival[t], model[t] = np.inf, np.inf, 0
    for j in range(rows.shape[0]):
        for t in range(b):
            cost, held = rows[j, t], least[t]
            less = cost < held
            larger = held if less else cost
            rival[t] = larger if larger < rival[t] else rival[t]
            model[t] = j if less else model[t]
            least[t] = cost if less else held


@compiled
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
    # One loop for all sums: each waits for its own last value only.
    if usage.size:
        for t in range(b):
            j = model[t]
            if j >= 0:
                i = first + t
                taken[j, 0] += 1.0
                taken[j, 1] += objective[i, j] if by_query else objective[j, i]
                taken[j, 2] += usage[i, j] if by_query else usage[j, i]
    else:
        for t in range(b):
            j = model[t]
            if j >= 0:
                i = first + t
                taken[j, 0] += 1.0
                taken[j, 1] += objective[i, j] if by_query else objective[j, i]
    if load.size:
        for t in range(b):
            if model[t] >= 0:
                taken[model[t], 3] += load[first + t]


@compiled
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
        _two_least(rows, b, least, rival, model)
        for t in range(b):
            best[at + t], second[at + t], chosen[at + t] = least[t], rival[t], model[t]
        for t in range(b):
            total += least[t]
        _take(taken, model, first, b, by_query, objective, usage, load)
    return total


@compiled
def sweep_below(
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
    wide_cost: Array,
    wide_charge: Array,
    wide_rate: Array,
    wide_extra: Array,
    low: Array,
    second: Array,
    chosen: Array,
    paid: Array,
    used: Array,
) -> None:
    """Bound each query's least cost from below where every cost is uncertain, at several prices.

    A few queries are read once, and priced at each of the ``V`` prices while they are in cache.

    Parameters
    ----------
    start, stop, by_query, objective, usage, load
        As in `sweep`.
    base, charge, rate, extra
        The same for each of the prices: a first axis of length ``V`` more.
    wide_base, wide_cost, wide_charge, wide_rate, wide_extra
        Uncertainty, see the module; likewise.
    low, second, chosen
        Written, shape ``(V, stop - start)``: the least lower end of any allowed pair, the next
        one, and the model of the least; the last two only if not empty.
    paid, used
        Written likewise, with `chosen` only: objective and `usage` of that model.
    """
    m = base.shape[1]
    rows, lowest = np.empty((m, _STRIP)), np.empty(_STRIP)
    costs, uses = np.empty((m, _STRIP)), np.empty((m, _STRIP))
    rival, model = np.empty(_STRIP), np.empty(_STRIP, np.int64)
    for first in range(start, stop, _STRIP):
        b = min(_STRIP, stop - first)
        at = first - start
        if by_query and usage.size:
            for t in range(b):
                for j in range(m):
                    costs[j, t], uses[j, t] = objective[first + t, j], usage[first + t, j]
        elif by_query:
            for t in range(b):
                for j in range(m):
                    costs[j, t] = objective[first + t, j]
        else:
            for j in range(m):
                for t in range(b):
                    costs[j, t] = objective[j, first + t]
                if usage.size:
                    for t in range(b):
                        uses[j, t] = usage[j, first + t]
        for v in range(base.shape[0]):
            part = wide_cost[v]
            for j in range(m):
                shift, wide = base[v, j], wide_base[v, j]
                if usage.size:
                    price, wide_price = charge[v, j], wide_charge[v, j]
                    for t in range(b):
                        cost, use = costs[j, t], uses[j, t]
                        rows[j, t] = (cost + shift + price * use) - (
                            wide + part * abs(cost) + wide_price * abs(use)
                        )
                else:
                    for t in range(b):
                        cost = costs[j, t]
                        rows[j, t] = (cost + shift) - (wide + part * abs(cost))
            if load.size:
                for j in range(m):
                    price, wide = rate[v, j], wide_rate[v, j]
                    for t in range(b):
                        rows[j, t] += price * load[first + t] - wide * abs(load[first + t])
            if extra.size:
                for t in range(b):
                    for j in range(m):
                        rows[j, t] += extra[v, at + t, j] - wide_extra[v, at + t, j]
            if chosen.size:
                _two_least(rows, b, lowest, rival, model)
                for t in range(b):
                    second[v, at + t], chosen[v, at + t] = rival[t], model[t]
                for t in range(b):
                    paid[v, at + t] = costs[model[t], t]
                if usage.size:
                    for t in range(b):
                        used[v, at + t] = uses[model[t], t]
            else:
                for t in range(b):
                    lowest[t] = np.inf
                for j in range(m):
                    for t in range(b):
                        end = rows[j, t]
                        lowest[t] = end if end < lowest[t] else lowest[t]
            for t in range(b):
                low[v, at + t] = lowest[t]


@compiled
def sweep_box(
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
    apart: Array,
    wide_charge: Array,
    shared: bool,
    reach: float,
    apart_load: Array,
    wide_extra: Array,
    margin: float,
    chosen: Array,
    settled: Array,
    taken: Array,
    signature: Array,
    reference: Array,
    spared: Array,
) -> None:
    """Tell which queries keep their cheapest model all over a box of prices.

    A model is *in play* unless it is dearer than the cheapest by more than `margin` at all
    prices in the box; a query is settled where no other model is in play. Queries that the box
    cannot tell apart get the same signature: the same models in play, which differ alike in
    objective, in usage and in load.

    Parameters
    ----------
    start, stop, by_query, objective, base, usage, charge, load, rate, extra
        As in `sweep`.
    apart, apart_load
        By how much the difference of two models' costs may change within the box by what they
        use whoever asks, and per unit of `load`, shape ``(m, m)``.
    wide_charge, wide_extra
        How far `charge` and `extra` may be off.
    shared
        Whether all models take `usage` out of one pool, so that only its differences matter.
    reach
        Largest use of a pair, or where `shared` the largest difference of two.
    margin
        In objective units.
    chosen, settled
        Written, shape ``(stop - start,)``: the cheapest model, and whether it stays.
    taken
        Added to, as in `sweep`, by the settled queries.
    signature, reference
        Written, shape ``(stop - start,)``, if not empty: a hash of what tells queries apart, and
        the lowest model in play, from which differences are taken.
    spared
        Added to like `taken` by the other queries on their `reference`.
    """
    m = base.size
    rows = np.empty((m, _STRIP))
    least, rival, model = np.empty(_STRIP), np.empty(_STRIP), np.empty(_STRIP, np.int64)
    kept, origin = np.empty(_STRIP, np.int64), np.empty(_STRIP, np.int64)
    number = np.empty(1)
    bits = number.view(np.uint64)
    # What the difference of any model to the cheapest may change by, at most.
    most_apart, most_load, largest = np.zeros(m), np.zeros(m), 0.0
    for j in range(m):
        for one in range(m):
            most_apart[one] = max(most_apart[one], apart[one, j])
            if load.size:
                most_load[one] = max(most_load[one], apart_load[one, j])
        if usage.size:
            largest = max(largest, wide_charge[j])
    for first in range(start, stop, _STRIP):
        b = min(_STRIP, stop - first)
        at = first - start
        _price(rows, first, b, at, by_query, objective, base, usage, charge, load, rate, extra)
        _two_least(rows, b, least, rival, model)
        for t in range(b):
            i, best, one = first + t, least[t], model[t]
            chosen[at + t], kept[t], origin[t] = one, one, -1
            settled[at + t] = True
            if rival[t] == np.inf:
                continue
            # Most queries, and most models, are settled by what any difference may change by.
            own, most = 0.0, np.inf
            if usage.size:
                own = np.float64(usage[i, one] if by_query else usage[one, i])
            if extra.size == 0:
                most = margin + most_apart[one]
                if load.size:
                    most += most_load[one] * abs(load[i])
                if usage.size:
                    most += largest * (reach if shared else reach + abs(own))
                if rival[t] - best - _HAIR * (abs(rival[t]) + abs(best)) > most:
                    continue
            code, anchor = np.uint64(0xCBF29CE484222325), -1
            cost_there = use_there = 0.0
            # What is above this is not in play, whatever rounding does.
            top = best + most
            top += 4 * _HAIR * (abs(best) + abs(top))
            in_play = 0
            for j in range(m):
                priced = rows[j, t]
                if priced > top or priced == np.inf:
                    continue
                use = 0.0
                if usage.size:
                    use = np.float64(usage[i, j] if by_query else usage[j, i])
                if j != one:
                    wide = apart[one, j] + _HAIR * (abs(priced) + abs(best))
                    if load.size:
                        wide += apart_load[one, j] * abs(load[i])
                    if usage.size and shared:
                        wide += wide_charge[j] * abs(use - own)
                    elif usage.size:
                        wide += wide_charge[j] * abs(use) + wide_charge[one] * abs(own)
                    if extra.size:
                        wide += wide_extra[at + t, j] + wide_extra[at + t, one]
                    if priced - best > margin + wide:
                        continue
                in_play += 1
                if signature.size == 0:
                    continue
                cost = np.float64(objective[i, j] if by_query else objective[j, i])
                if anchor < 0:
                    anchor, cost_there = j, cost
                    use_there = use if shared else 0.0
                # Each model's part by itself, added up: none waits for the one before.
                number[0] = cost - cost_there + 0.0  # no negative zero
                part = _mixed(np.uint64(j + 1), bits[0])
                if usage.size:
                    number[0] = use - use_there + 0.0
                    part = _mixed(part, bits[0])
                code += part
            if in_play > 1:
                settled[at + t], kept[t], origin[t] = False, -1, anchor
                if signature.size:
                    if load.size:
                        number[0] = load[i] + 0.0
                        code = _mixed(code, bits[0])
                    signature[at + t], reference[at + t] = code, anchor
        _take(taken, kept, first, b, by_query, objective, usage, load)
        if signature.size:
            _take(spared, origin, first, b, by_query, objective, usage, load)


@compiled
def number_alike(signature: Array, kind: Array, first: Array, size: Array) -> int:
    """Number equal signatures alike, in order of appearance.

    Parameters
    ----------
    signature
        Shape ``(f,)``, uint64.
    kind
        Written, shape ``(f,)``: the number of each.
    first, size
        Written, room for ``f`` each: where a number appears first, and how often.

    Returns
    -------
    int
        How many different ones there are.
    """
    room, n_kinds = 1 << 12, 0
    table = np.full(room, -1, np.int64)
    for i in range(signature.size):
        if 2 * n_kinds >= room:
            room *= 4
            table = np.full(room, -1, np.int64)
            for k in range(n_kinds):
                slot = np.int64(signature[first[k]] & np.uint64(room - 1))
                while table[slot] >= 0:
                    slot = (slot + 1) & (room - 1)
                table[slot] = k
        slot = np.int64(signature[i] & np.uint64(room - 1))
        while table[slot] >= 0 and signature[first[table[slot]]] != signature[i]:
            slot = (slot + 1) & (room - 1)
        if table[slot] < 0:
            table[slot], first[n_kinds], size[n_kinds] = n_kinds, i, 0
            n_kinds += 1
        kind[i] = table[slot]
        size[kind[i]] += 1
    return n_kinds


@compiled
def lead_between(
    weight: float,
    first: Array,
    chosen: Array,
    rest: float,
    second: Array,
    other: Array,
    parting: float,
    lead: Array,
    open_: Array,
) -> int:
    """What is left of the leads of two looks at prices between theirs.

    Parameters
    ----------
    weight, first, chosen
        Of the first look: what its leads count, they, and the models, shape ``(n,)``.
    rest, second, other
        Of the second; if `rest` is 0 it does not count at all.
    parting
        What is taken off.
    lead
        Written, shape ``(n,)``.
    open_
        Written, room for ``n``: the queries of which nothing is left, or of other models.

    Returns
    -------
    int
        How many these are.
    """
    count = 0
    for i in range(first.size):
        value = weight * first[i] - parting
        same = True
        if rest > 0.0:
            value += rest * second[i]
            same = chosen[i] == other[i]
        lead[i] = min(value, LARGEST_FLOAT)
        open_[count] = i
        if not (same and value >= 0.0):
            count += 1
    return count


@compiled
def deal(kind: Array, count: Array, free: Array, routed: Array) -> None:
    """Route the members of each type in turn, as many on each model as are to be.

    Parameters
    ----------
    kind
        Type of each free query, shape ``(f,)``.
    count
        How many of each type go to each model, shape ``(T, m)``; used up.
    free, routed
        Numbers of the free queries, and the routing ``(n,)`` to write to.
    """
    at = np.zeros(count.shape[0], np.int64)
    for t in range(kind.size):
        k = kind[t]
        while count[k, at[k]] == 0:
            at[k] += 1
        count[k, at[k]] -= 1
        routed[free[t]] = at[k]


@compiled
def take_up(
    by_query: bool,
    objective: Array,
    usage: Array,
    load: Array,
    chosen: Array,
    edges: Array,
    taken: Array,
) -> None:
    """Add to `taken`, as in `sweep` but block by block, what a routing takes.

    Parameters
    ----------
    chosen
        Model of each query, shape ``(n,)``; -1 takes nothing.
    edges
        Block ``k`` has the queries ``edges[k] .. edges[k + 1]``, shape ``(B + 1,)``.
    taken
        Shape ``(B, m, 4)``.
    """
    for k in range(edges.size - 1):
        for first in range(edges[k], edges[k + 1], _STRIP):
            b = min(_STRIP, edges[k + 1] - first)
            _take(taken[k], chosen[first : first + b], first, b, by_query, objective, usage, load)


@compiled
def _mixed(code: Any, part: Any) -> Any:
    """Mix 64 further bits into a hash (the multiply and xor-shift of splitmix64)."""
    code = (code ^ part) * np.uint64(0xBF58476D1CE4E5B9)
    code = (code ^ (code >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return code ^ (code >> np.uint64(31))


@compiled
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


@compiled
def add_use(start: int, stop: int, usage: Array, pool: Array, chosen: Array, used: Array) -> None:
    """Add to each pool what queries take out of it on their `chosen` models; -1 for none."""
    for i in range(start, stop):
        j = chosen[i - start]
        if j >= 0 and pool[i, j] >= 0:
            used[pool[i, j]] += usage[i, j]


@inlined
def _add_word(words: Array, r: int, pattern: Any) -> None:
    """Add a double, given by its bits, to the exact sum in ``words[r]``."""
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


@compiled
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
        if pool[t] >= 0:
            _add_word(words, pool[t], bits[t])


@compiled
def add_all_exactly(values: Array, words: Array) -> None:
    """Add doubles to one exact sum, shape ``(1, 70)``, as `add_exactly` does but sooner.

    Added to a power of two far above them, ``n`` numbers leave high parts on a grid that is so
    coarse that their sum is exact if ``n + 2 <= 2 ** 12``, and rests, exact too, which are split
    once more (Rump, Ogita and Oishi 2008, doi:10.1137/050645671, theorem 3.4). Where the second
    rest of any number is not 0, that block is added up word by word.
    """
    high, rest, left = np.empty(_STRIP), np.empty(_STRIP), np.empty(_STRIP)
    block, parts = np.empty(_BLOCK), np.empty(2)
    bits, part_bits = block.view(np.uint64), parts.view(np.uint64)
    for start in range(0, values.size, _BLOCK):
        size = min(_BLOCK, values.size - start)
        for t in range(size):
            block[t] = values[start + t]
        for t in range(size, _BLOCK):
            block[t] = 0.0
        for t in range(_STRIP):
            high[t], rest[t], left[t] = 0.0, 0.0, 0.0
        for first in range(0, _BLOCK, _STRIP):
            for t in range(_STRIP):
                value = abs(block[first + t])
                left[t] = value if value > left[t] else left[t]
        largest = 0.0
        for t in range(_STRIP):
            largest, left[t] = max(largest, left[t]), 0.0
        if _LEAST_SPLIT < largest < _LARGEST_SPLIT:
            top = 2.0 ** (np.ceil(np.log2(largest)) + 13.0)  # twice what is needed
            second = top * 2.0**-41
            for first in range(0, _BLOCK, _STRIP):
                for t in range(_STRIP):
                    value = block[first + t]
                    upper = (value + top) - top
                    value -= upper
                    lower = (value + second) - second
                    high[t] += upper
                    rest[t] += lower
                    left[t] += abs(value - lower)
            beyond = parts[0] = parts[1] = 0.0
            for t in range(_STRIP):
                parts[0] += high[t]
                parts[1] += rest[t]
                beyond += left[t]
            if beyond == 0.0:
                _add_word(words, 0, part_bits[0])
                _add_word(words, 0, part_bits[1])
                continue
        for t in range(size):
            _add_word(words, 0, bits[t])


@compiled
def soften(
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
    heat: float,
    reach: float,
    row: Array,
    each: Array,
    usage_sign: float,
    load_sign: float,
    other_row: Array,
    other_use: Array,
    moved: Array,
    curved: Array,
) -> tuple[float, int]:
    """Add what drawing models by softmin weights does to use, for the queries it matters to.

    Parameters
    ----------
    start, stop, by_query, objective, base, usage, charge, load, rate, extra
        As in `sweep`.
    best, second, chosen
        What `sweep` wrote.
    heat, reach
        Of the softmin, and how many heats apart the two cheapest models, or any model and the
        cheapest, may be to matter.
    row, each
        Which of the ``K`` rows each model uses (-1: none), shape ``(F, m)``: first the dense
        family and that of `load`, where there are, then the families in which a model takes
        `each`, shape ``(F', m)``, whoever asks.
    usage_sign, load_sign
        What `usage` and `load` are multiplied by.
    other_row, other_use
        The same for families whose pools depend on the query, shape ``(F'', stop - start, m)``.
    moved
        Added to, shape ``(K,)``: expected use less that of `chosen`.
    curved
        Added to, shape ``(K, K)``: covariance of use.

    Returns
    -------
    tuple
        Sum of ``log(sum_j exp((best - cost_j) / heat))``, and of how many queries.
    """
    m, n_rows = base.size, moved.size
    n_model, n_other = row.shape[0], other_row.shape[0]
    n_families, fixed = n_model + n_other, n_model - each.shape[0]
    total, near = 0.0, 0
    priced, share, model = np.empty((m, 1)), np.empty(m), np.empty(m, np.int64)
    rows, use = np.empty((n_families, m), np.int64), np.empty((n_families, m))
    mean, seen = np.zeros(n_rows), np.zeros(n_rows, np.bool_)
    touched = np.empty(n_rows, np.int64)
    for t in range(stop - start):
        if not second[t] - best[t] < reach * heat:
            continue
        i = start + t
        near += 1
        _price(priced, i, 1, t, by_query, objective, base, usage, charge, load, rate, extra)
        mass, alive = 0.0, 0
        for j in range(m):
            distance = (priced[j, 0] - best[t]) / heat
            if distance < reach:
                share[alive], model[alive] = np.exp(-distance), j
                mass += share[alive]
                alive += 1
        total += np.log(mass)
        for a in range(alive):
            share[a] /= mass
            j = model[a]
            for f in range(n_families):
                if f >= n_model:
                    rows[f, a], use[f, a] = (
                        other_row[f - n_model, t, j],
                        other_use[f - n_model, t, j],
                    )
                    continue
                rows[f, a] = row[f, j]
                if f >= fixed:
                    use[f, a] = each[f - fixed, j]
                elif f == 0 and usage.size:
                    use[f, a] = usage_sign * (usage[i, j] if by_query else usage[j, i])
                else:
                    use[f, a] = load_sign * load[i]
        n_touched = 0
        for a in range(alive):
            for f in range(n_families):
                r = rows[f, a]
                if r < 0 or use[f, a] == 0.0:
                    continue
                if not seen[r]:
                    seen[r] = True
                    touched[n_touched] = r
                    n_touched += 1
                weighed = share[a] * use[f, a]
                mean[r] += weighed
                if model[a] == chosen[t]:
                    moved[r] -= use[f, a]
                for g in range(n_families):
                    if rows[g, a] >= 0:
                        curved[r, rows[g, a]] += weighed * use[g, a]
        for a in range(n_touched):
            r = touched[a]
            for b in range(a):
                product = mean[r] * mean[touched[b]]
                curved[r, touched[b]] -= product
                curved[touched[b], r] -= product
            curved[r, r] -= mean[r] * mean[r]
        for a in range(n_touched):
            moved[touched[a]] += mean[touched[a]]
            mean[touched[a]], seen[touched[a]] = 0.0, False
    return total, near
