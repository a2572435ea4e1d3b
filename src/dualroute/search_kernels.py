r"""Compiled local search: small sets of queries re-optimised exactly, and pairs of moves.

Importing this module imports numba; do it where a search starts. Arrays are contiguous
``float64`` and ``int64``, so that each kernel is compiled once and cached.

Merit is the gap identity with a fine for what is broken,

.. math:: \sum_i regret_i + \sum_r (price_r\, slack_r^+ + fine_r\, slack_r^-),

which for a routing that keeps every limit is its objective minus the bound.
"""

from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dualroute.compiled import compiled, inlined

Floats: TypeAlias = Any
Ints: TypeAlias = Any
Bools: TypeAlias = Any

_EPS = 1e-9
_OPTIONS = 24  # pairs of one query that a neighbourhood looks at, beside its present one
_NEAREST = 5  # of a query's best pairs, one leads from place to place
_MOST_PLACES = 6
_NARROWEST = 4
_RIVALS = 10


class Table(NamedTuple):
    """Candidate pairs, ordered by query and then by regret.

    Attributes
    ----------
    start
        Pairs ``start[i] .. start[i + 1]`` belong to query ``i``, shape ``(n + 1,)``.
    regret
        Reduced cost of each pair, shape ``(c,)``.
    row, use
        What a pair takes out of which row in each family, shape ``(c, F)``; row ``K`` is none.
    place
        The pool of the pair in the family with most pools; neighbourhoods are a few of those.
    """

    start: Ints
    regret: Floats
    row: Ints
    use: Floats
    place: Ints


class Limits(NamedTuple):
    """The coupling rows and what slack in them costs; shape ``(K + 1,)``, the last is "none".

    Attributes
    ----------
    ceiling
        What each row holds.
    price
        Cost of a unit of slack.
    fine
        Cost of a unit above the ceiling; the search raises and lowers it.
    grain
        What an excess counts at least for, on top of itself: a hair above is not kept either.
    floor
        The least that a fine may be.
    """

    ceiling: Floats
    price: Floats
    fine: Floats
    grain: Floats
    floor: Floats


class Room(NamedTuple):
    """Memory for one neighbourhood of up to ``w`` queries, allocated once.

    Attributes
    ----------
    number
        Compact number of each row in play, -1 for the others, shape ``(K + 1,)``.
    rows
        The rows in play, shape ``(K + 1,)``.
    first, pair
        Options ``first[t] .. first[t + 1]`` of the ``t``-th query, and their pairs.
    taken
        What each option takes out of each row in play.
    least, most
        What the queries from the ``t``-th on take at least and at most, ``(w + 1, K)``.
    load
        Loads once ``t`` queries are placed, ``(w + 1, K)``.
    rest
        Least regret of the queries from the ``t``-th on, ``(w + 1,)``.
    spent
        Regret of the first ``t`` queries, ``(w + 1,)``.
    at, best
        The option of each query now, and in the best found, ``(w,)``.
    """

    number: Ints
    rows: Ints
    first: Ints
    pair: Ints
    taken: Floats
    least: Floats
    most: Floats
    load: Floats
    rest: Floats
    spent: Floats
    at: Ints
    best: Ints


@inlined
def _worth(slack: float, r: int, limits: Limits) -> float:
    worth: float = limits.price[r] * slack
    if slack < 0:
        worth = limits.fine[r] * (limits.grain[r] - slack)
    return worth


@compiled
def idle(load: Floats, limits: Limits) -> float:
    """What the slack of all rows costs."""
    total = 0.0
    for r in range(load.size - 1):
        total += _worth(limits.ceiling[r] - load[r], r, limits)
    return total


@compiled
def _kept(load: Floats, limits: Limits) -> bool:
    kept = True
    for r in range(load.size - 1):
        kept &= load[r] <= limits.ceiling[r]
    return kept


@compiled
def _put(i: int, c: int, choice: Ints, load: Floats, table: Table) -> None:
    old = choice[i]
    for f in range(table.row.shape[1]):
        load[table.row[old, f]] -= table.use[old, f]
        load[table.row[c, f]] += table.use[c, f]
    choice[i] = c


@compiled
def _regret(choice: Ints, table: Table) -> float:
    total = 0.0
    for i in range(choice.size):
        total += table.regret[choice[i]]
    return total


@compiled
def _reoptimise(
    queries: Ints,
    allowed: Bools,
    margin: float,
    most_nodes: int,
    choice: Ints,
    load: Floats,
    table: Table,
    limits: Limits,
    room: Room,
) -> tuple[float, int]:
    """Branch and bound over some queries; the change in merit it made, and its nodes.

    Applies the best other choice whose merit is below the present one plus ``margin``. Depth
    first, options by regret; a branch ends where its regret, the least regret of the rest and
    what the rows will at least cost, whatever the rest takes, reach the best so far.
    """
    ceiling, price, fine, grain, _ = limits
    families, k, w = table.row.shape[1], load.size - 1, queries.size
    options, in_play = 0, 0
    base = 0.0
    for t in range(w):
        i = queries[t]
        room.first[t] = options
        for c in range(table.start[i], table.start[i + 1]):
            if c == choice[i] or (allowed[table.place[c]] and options - room.first[t] < _OPTIONS):
                room.pair[options] = c
                options += 1
        base += table.regret[choice[i]]
    room.first[w] = options
    for o in range(options):
        for f in range(families):
            r = table.row[room.pair[o], f]
            if r < k and room.number[r] < 0:
                room.number[r], room.rows[in_play] = in_play, r
                in_play += 1
    for o in range(options):
        room.taken[o, :in_play] = 0.0
        for f in range(families):
            r = table.row[room.pair[o], f]
            if r < k:
                room.taken[o, room.number[r]] += table.use[room.pair[o], f]
    for x in range(in_play):
        r = room.rows[x]
        base += _worth(ceiling[r] - load[r], r, limits)
        room.load[0, x] = load[r]
        room.least[w, x] = room.most[w, x] = 0.0
    for t in range(w):
        c = choice[queries[t]]
        for f in range(families):
            r = table.row[c, f]
            if r < k:
                room.load[0, room.number[r]] -= table.use[c, f]
    for x in range(in_play):
        room.number[room.rows[x]] = -1
    room.rest[w] = 0.0
    for t in range(w - 1, -1, -1):
        # Options are in order of regret.
        room.rest[t] = room.rest[t + 1] + table.regret[room.pair[room.first[t]]]
        for x in range(in_play):
            low = high = room.taken[room.first[t], x]
            for o in range(room.first[t] + 1, room.first[t + 1]):
                low = min(low, room.taken[o, x])
                high = max(high, room.taken[o, x])
            room.least[t, x] = room.least[t + 1, x] + low
            room.most[t, x] = room.most[t + 1, x] + high

    best, found, nodes, t = base + margin, False, 0, 0
    room.spent[0], room.at[0] = 0.0, room.first[0] - 1
    while t >= 0 and nodes < most_nodes:
        room.at[t] += 1
        o = room.at[t]
        if o == room.first[t + 1]:
            t -= 1
            continue
        spent = room.spent[t] + table.regret[room.pair[o]]
        merit = spent + room.rest[t + 1]
        if merit >= best - _EPS:
            t -= 1
            continue
        nodes += 1
        for x in range(in_play):
            reached = room.load[t, x] + room.taken[o, x]
            room.load[t + 1, x] = reached
            slack = ceiling[room.rows[x]] - reached
            if slack < room.least[t + 1, x]:
                r = room.rows[x]
                merit += fine[r] * (room.least[t + 1, x] - slack + grain[r])
            elif slack > room.most[t + 1, x]:
                merit += price[room.rows[x]] * (slack - room.most[t + 1, x])
            if merit >= best - _EPS:
                break
        if merit >= best - _EPS:
            continue
        if t < w - 1:
            room.spent[t + 1] = spent
            t += 1
            room.at[t] = room.first[t] - 1
            continue
        other = False
        for z in range(w):
            other |= room.pair[room.at[z]] != choice[queries[z]]
        if other:
            best, found = merit, True
            for z in range(w):
                room.best[z] = room.pair[room.at[z]]
    if not found:
        return 0.0, nodes
    for z in range(w):
        if room.best[z] != choice[queries[z]]:
            _put(queries[z], room.best[z], choice, load, table)
    return best - base, nodes


@compiled
def _choose(
    everywhere: bool,
    most_places: int,
    width: int,
    spread: float,
    choice: Ints,
    table: Table,
    allowed: Bools,
    queries: Ints,
    keys: Floats,
) -> int:
    """Up to ``width`` queries that are cheap to move within a few connected places.

    Fills `allowed` and the head of `queries`, the query that is dearest to move first; how many.
    """
    n = choice.size
    allowed[:] = everywhere
    if not everywhere:
        # Begin where a query pays most for its place, with the place it would rather have.
        seed = np.random.randint(n)
        for _ in range(_RIVALS):
            i = np.random.randint(n)
            if table.regret[choice[i]] > table.regret[choice[seed]]:
                seed = i
        allowed[table.place[choice[seed]]] = True
        allowed[table.place[table.start[seed]]] = True
        chosen = 2
        for _ in range(40 * allowed.size):
            if chosen >= most_places:
                break
            i = np.random.randint(n)
            if allowed[table.place[choice[i]]]:
                near = min(table.start[i + 1] - table.start[i], _NEAREST)
                there = table.place[table.start[i] + np.random.randint(near)]
                chosen += not allowed[there]
                allowed[there] = True
    count = 0
    for i in range(n):
        if not allowed[table.place[choice[i]]]:
            continue
        for c in range(table.start[i], table.start[i + 1]):
            if c != choice[i] and allowed[table.place[c]]:
                cost = table.regret[c] - table.regret[choice[i]]
                if everywhere:
                    # No place ties these queries together: draw them, cheap ones more often.
                    cost = -np.log(1.0 - np.random.random()) * (max(cost, 0.0) + spread)
                if count < width:
                    at = count
                    count += 1
                elif cost < keys[0]:
                    # The dearest makes way.
                    for z in range(1, count):
                        queries[z - 1], keys[z - 1] = queries[z], keys[z]
                    at = count - 1
                else:
                    break
                while at > 0 and keys[at - 1] < cost:
                    queries[at], keys[at] = queries[at - 1], keys[at - 1]
                    at -= 1
                queries[at], keys[at] = i, cost
                break
    return count


@compiled
def anneal(
    rounds: int,
    seed: int,
    heat: float,
    most_nodes: int,
    choice: Ints,
    load: Floats,
    table: Table,
    limits: Limits,
    best: Ints,
    state: Floats,
) -> None:
    """Re-optimise one random neighbourhood after another, writing to choice, load and fines.

    Parameters
    ----------
    heat
        A neighbourhood may worsen the merit by an exponential variate of this mean.
    most_nodes
        Ends each branch and bound.
    best
        The best choice that kept every limit; kept up to date.
    state
        ``merit`` of `best` (``inf`` without one); queries per neighbourhood, which adapts to
        the nodes they need; spread of regrets.
    """
    np.random.seed(seed)
    k = load.size - 1
    families = table.row.shape[1]
    places = int(table.place.max()) + 1
    widest = 40
    options = widest * (_OPTIONS + 1)
    room = Room(
        np.full(k + 1, -1, np.int64),
        np.empty(k + 1, np.int64),
        np.empty(widest + 1, np.int64),
        np.empty(options, np.int64),
        np.empty((options, k)),
        np.empty((widest + 1, k)),
        np.empty((widest + 1, k)),
        np.empty((widest + 1, k)),
        np.empty(widest + 1),
        np.empty(widest + 1),
        np.empty(widest, np.int64),
        np.empty(widest, np.int64),
    )
    allowed = np.zeros(places, np.bool_)
    queries, keys = np.empty(widest, np.int64), np.empty(widest)
    most_places = min(places, _MOST_PLACES)
    for t in range(rounds):
        everywhere = places == 1 or (families > 1 and np.random.random() < 0.5)
        scope = 2 + np.random.randint(max(most_places - 1, 1))
        width = min(widest, int(state[1] + np.random.random()))
        count = _choose(everywhere, scope, width, state[2], choice, table, allowed, queries, keys)
        if count == 0:
            continue
        margin = -heat * np.log(1.0 - np.random.random())
        change, nodes = _reoptimise(
            queries[:count], allowed, margin, most_nodes, choice, load, table, limits, room
        )
        if count == width and nodes >= most_nodes:
            state[1] = max(0.99 * state[1], float(_NARROWEST))
        elif count == width and nodes < most_nodes // 8:
            state[1] = min(1.01 * state[1], float(widest))
        if change != 0.0:
            merit = _regret(choice, table) + idle(load, limits)
            if merit < state[0] - _EPS and _kept(load, limits):
                state[0] = merit
                best[:] = choice
        if t % 16 == 15:
            for r in range(k):
                if load[r] > limits.ceiling[r]:
                    limits.fine[r] *= 1.1
                else:
                    limits.fine[r] = max(0.995 * limits.fine[r], limits.floor[r])


@compiled
def _fits(
    i: int, c: int, j: int, d: int, choice: Ints, load: Floats, table: Table, limits: Limits
) -> bool:
    """Whether queries ``i`` and ``j`` fit on pairs ``c`` and ``d``, the limits being kept now."""
    a, b = choice[i], choice[j]
    _put(i, c, choice, load, table)
    if j != i:
        _put(j, d, choice, load, table)
    fits = True
    for f in range(table.row.shape[1]):
        for pair in (a, b, c, d):
            r = table.row[pair, f]
            fits &= r == load.size - 1 or load[r] <= limits.ceiling[r]
    if j != i:
        _put(j, b, choice, load, table)
    _put(i, a, choice, load, table)
    return fits


@compiled
def exchange_pairs(
    first: int,
    most_tries: int,
    cost: Floats,
    choice: Ints,
    load: Floats,
    table: Table,
    limits: Limits,
) -> tuple[int, bool]:
    """Single moves and pairs of moves that lower the objective and keep every limit.

    Goes through the queries from ``first`` on, applying what helps, until some tries are used
    up; where it got to, and whether it changed anything. A pair of moves can gain no more than
    the priced slack less the regret it adds, which ends most scans at once.
    """
    n = choice.size
    slack = 0.0
    for r in range(load.size - 1):
        slack += max(limits.ceiling[r] - load[r], 0.0) * limits.price[r]
    tries, changed = 0, False
    for i in range(first, n):
        if tries > most_tries:
            return i, changed
        for c in range(table.start[i], table.start[i + 1]):
            a = choice[i]
            added, dearer = table.regret[c] - table.regret[a], cost[c] - cost[a]
            if c == a:
                continue
            if dearer < -_EPS and _fits(i, c, i, c, choice, load, table, limits):
                _put(i, c, choice, load, table)
                changed = True
                continue
            for j in range(n):
                b = choice[j]
                if j == i:
                    continue
                for d in range(table.start[j], table.start[j + 1]):
                    tries += 1
                    if added + table.regret[d] - table.regret[b] >= slack:
                        break
                    if d == b or dearer + cost[d] - cost[b] >= -_EPS:
                        continue
                    if _fits(i, c, j, d, choice, load, table, limits):
                        _put(i, c, choice, load, table)
                        _put(j, d, choice, load, table)
                        changed = True
                        break
                if choice[i] == c:
                    break
            if choice[i] == c:
                break
    return n, changed
