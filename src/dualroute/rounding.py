"""From a routing that breaks limits to one that keeps them, and from there to a better one.

Both directions are sequences of single moves (query ``i`` from its model to another), ranked
by what they cost at given prices and applied one at a time while the loads are watched.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, at, entries, many, part_of
from dualroute.problem import Prices, RoutingProblem, Rows, lagrangian, price_pairs
from dualroute.solver import Clock

_ROUNDS = 60
_REPRICINGS = 8
_NO_LIMIT = Clock(math.inf)


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Candidate moves, best first: every array has one entry per move and family.

    ``row_old[f, t]`` is the row that move ``t`` leaves in family ``f`` and ``use_old`` what it
    gives back there; ``row_new`` and ``use_new`` likewise where it goes. Row ``K`` stands for
    "no pool" and holds any load.
    """

    query: Ints
    model: Ints
    row_old: Ints
    use_old: Floats
    row_new: Ints
    use_new: Floats


def repair(
    problem: RoutingProblem,
    assignment: Ints,
    prices: Prices,
    clock: Clock = _NO_LIMIT,
) -> Ints | None:
    """A routing that keeps every limit, close to one that may not.

    Moves queries off the most exceeded limit, cheapest first in priced objective per unit
    taken off it, never letting another limit break while a move exists that spares it. Where
    that gets stuck, the broken limits' prices are raised and the search starts over.

    Returns
    -------
    numpy.ndarray or None
        Shape ``(n,)``; None if none was found, which proves nothing.
    """
    for ceiling in _ceilings(problem):
        routed, vector = assignment, prices.vector
        for _ in range(_REPRICINGS):
            routed, load = _unload(problem, routed, Prices.of(problem, vector), ceiling, clock)
            broken = load > ceiling
            if not broken.any():
                break
            if clock.expired:
                return None
            vector = _raised(problem, vector, broken)
            routed = lagrangian(problem, Prices.of(problem, vector)).assignment
        if problem.meets_target(routed):
            return routed
    return None


def improve(problem: RoutingProblem, assignment: Ints, clock: Clock = _NO_LIMIT) -> Ints:
    """A routing at least as good as a feasible one: objective-reducing moves that fit.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``; it keeps every limit whenever ``assignment`` does.
    """
    free = without_prices(problem)
    for ceiling in _ceilings(problem):
        routed = assignment.astype(np.intp)
        load = problem.use(routed)
        for _ in range(_ROUNDS):
            if clock.expired:
                break
            moves = _ranked(problem, routed, free, load, ceiling, row=None)
            if _apply(problem, moves, routed, load, ceiling, row=None, strict=True) == 0:
                break
        if problem.value(routed) < problem.value(assignment) and problem.meets_target(routed):
            return routed
    return assignment


def _ceilings(problem: RoutingProblem) -> tuple[Floats, Floats]:
    """What loads are held to; tracked in floating point, they may need the second's room."""
    return problem.target, problem.limit - 1e-12 * np.abs(problem.limit)


def _unload(
    problem: RoutingProblem, assignment: Ints, prices: Prices, ceiling: Floats, clock: Clock
) -> tuple[Ints, Floats]:
    routed = assignment.astype(np.intp)
    load = problem.use(routed)
    size = problem.row_size
    stuck: set[int] = set()
    for _ in range(_ROUNDS + 4 * problem.n_rows):
        broken = np.maximum(load - ceiling, 0.0) / size
        broken[list(stuck)] = 0.0
        row = int(broken.argmax()) if broken.size else -1
        if row < 0 or broken[row] == 0 or clock.expired:
            break
        moves = _ranked(problem, routed, prices, load, ceiling, row)
        applied = _apply(problem, moves, routed, load, ceiling, row, strict=True)
        if applied == 0:
            moves = _ranked(problem, routed, prices, load, np.full_like(ceiling, np.inf), row)
            applied = _apply(problem, moves, routed, load, ceiling, row, strict=False)
        if applied == 0:
            stuck.add(row)
        else:
            stuck.clear()
        load = problem.use(routed)
    return routed, load


def _raised(problem: RoutingProblem, vector: Floats, broken: Bools) -> Floats:
    """Prices one step up on broken rows; from zero, to what a typical objective is worth."""
    worth = 0.1 * problem.objective_size * problem.n_queries
    return np.where(broken, np.maximum(1.5 * vector, worth / problem.row_size), vector)


def _ranked(
    problem: RoutingProblem,
    routed: Ints,
    prices: Prices,
    load: Floats,
    ceiling: Floats,
    row: int | None,
) -> _Moves:
    """Each query's best move that fits now, best first.

    With a ``row``, moves are ranked by priced objective per unit taken off that row; without,
    by objective gained.
    """
    queries, models, ranks, gains = [], [], [], []
    excess = math.inf if row is None else load[row] - ceiling[row]
    if not math.isfinite(excess):
        excess = math.inf
    for part in _movable(problem, routed, row):
        best, rank, gain = _best_moves(problem, prices, part, routed, load, ceiling, row, excess)
        lines = np.flatnonzero(np.isfinite(rank))
        queries.append(lines + part.start if isinstance(part, slice) else part[lines])
        models.append(best[lines])
        ranks.append(rank[lines])
        gains.append(gain[lines])
    order = np.lexsort((-np.concatenate(gains), np.concatenate(ranks)))
    return _moves(problem, routed, np.concatenate(queries)[order], np.concatenate(models)[order])


def _movable(
    problem: RoutingProblem, routed: Ints, row: int | None
) -> Sequence[slice] | Sequence[Ints]:
    """Parts of the queries, together all that a move could take off a row; all without a row."""
    everything = list(problem.blocks())
    if row is None:
        return everything
    for rows, offset in _offsets(problem):
        pool = row - offset
        if not 0 <= pool < rows.n_pools:
            continue
        if rows.pool.shape[1] == 1:  # a query takes out of one pool, whoever answers it
            there = np.broadcast_to(rows.pool[:, 0] == pool, problem.n_queries)
        elif (rows.smallest if rows.sign > 0 else -rows.largest) >= 0:  # it can only leave
            there = at(rows.pool, routed) == pool
        else:
            return everything
        movable = np.flatnonzero(there)
        return np.array_split(movable, max(1, len(everything) * movable.size // routed.size))
    return everything


def _best_moves(
    problem: RoutingProblem,
    prices: Prices,
    block: slice | Ints,
    routed: Ints,
    load: Floats,
    ceiling: Floats,
    row: int | None,
    excess: float,
) -> tuple[Ints, Floats, Floats]:
    """Each query's best move, its rank and what it takes off the row; no move has rank inf."""
    priced = price_pairs(problem, prices, block)
    here = routed[block]
    lines = np.arange(here.size)
    fits, taken_off = _effects(problem, block, here, load, ceiling, row)
    fits &= np.isfinite(priced)
    if many(problem.objective.size):
        from dualroute import rounding_kernels

        best, least = np.empty(here.size, np.intp), np.empty(here.size)
        rounding_kernels.best_moves(
            priced, here, fits, taken_off, row is not None, excess, best, least
        )
        return best, least, taken_off[lines, best]
    with np.errstate(divide="ignore", invalid="ignore"):
        cost = priced - np.take_along_axis(priced, here[:, None], axis=1)
        if row is None:
            rank = np.where(fits & (cost < 0), cost, np.inf)
        else:
            per_unit = np.maximum(cost, 0.0) / np.minimum(taken_off, excess)
            rank = np.where(fits & (taken_off > 0), per_unit, np.inf)
    # Of moves that rank alike, the one that takes most off.
    least = rank == rank.min(axis=1, keepdims=True)
    best = np.where(least, -taken_off, np.inf).argmin(axis=1)
    return best, rank[lines, best], taken_off[lines, best]


def _effects(
    problem: RoutingProblem,
    block: slice | Ints,
    here: Ints,
    load: Floats,
    ceiling: Floats,
    row: int | None,
) -> tuple[Bools, Floats]:
    """Which moves leave every limit kept, and what each takes off a row, both ``(b, m)``."""
    b, m = here.size, problem.n_models
    fits = np.ones((b, m), bool)
    taken_off = np.zeros((b, m))
    lines = np.arange(b)[:, None]
    padded_load, padded_ceiling = np.append(load, -np.inf), np.append(ceiling, np.inf)
    for rows, offset in _offsets(problem):
        usage = np.broadcast_to(rows.signed(part_of(rows.usage, block)), (b, m))
        pool = part_of(rows.pool, block)
        index = np.broadcast_to(np.where(pool >= 0, pool + offset, load.size), (b, m))
        if many(problem.objective.size):
            from dualroute import rounding_kernels

            rounding_kernels.add_effects(
                np.ascontiguousarray(usage, np.float64),
                np.ascontiguousarray(index),
                here,
                padded_load,
                padded_ceiling,
                -1 if row is None else row,
                fits,
                taken_off,
            )
            continue
        use_old, row_old = usage[lines, here[:, None]], index[lines, here[:, None]]
        same = index == row_old
        change = usage - np.where(same, use_old, 0.0)
        grown = (change > 0) & (index < load.size)
        fits &= ~grown | (padded_load[index] + change <= padded_ceiling[index])
        leaves = ~same & (row_old < load.size) & (use_old < 0)
        fits &= ~leaves | (padded_load[row_old] - use_old <= padded_ceiling[row_old])
        if row is not None:
            taken_off += np.where(row_old == row, use_old, 0.0) - np.where(index == row, usage, 0.0)
    return fits, taken_off


def _moves(problem: RoutingProblem, routed: Ints, query: Ints, model: Ints) -> _Moves:
    row_old: list[Ints] = []
    row_new: list[Ints] = []
    use_old: list[Floats] = []
    use_new: list[Floats] = []
    for rows, offset in _offsets(problem):
        for target, index, used in (
            (routed[query], row_old, use_old),
            (model, row_new, use_new),
        ):
            pools = entries(rows.pool, query, target)
            index.append(np.where(pools >= 0, pools + offset, problem.n_rows))
            used.append(rows.taken(query, target))
    shape = (len(problem.rows), query.size)
    return _Moves(
        query=query,
        model=model,
        row_old=np.reshape(row_old, shape).astype(np.intp),
        use_old=np.reshape(use_old, shape).astype(np.float64),
        row_new=np.reshape(row_new, shape).astype(np.intp),
        use_new=np.reshape(use_new, shape).astype(np.float64),
    )


def _apply(
    problem: RoutingProblem,
    moves: _Moves,
    routed: Ints,
    load: Floats,
    ceiling: Floats,
    row: int | None,
    *,
    strict: bool,
) -> int:
    """Apply moves in order, writing to ``routed`` and ``load``; how many were applied.

    Strict: a move may not raise a load above its ceiling. Otherwise it may, as long as the sum
    of excesses, each relative to the row's size, shrinks.
    """
    loads, ceilings = np.append(load, 0.0), np.append(ceiling, np.inf)
    sizes = np.append(problem.row_size, 1.0)
    if many(problem.objective.size):
        from dualroute import rounding_kernels

        applied: int = rounding_kernels.apply_moves(
            moves.query,
            moves.model,
            moves.row_old,
            moves.use_old,
            moves.row_new,
            moves.use_new,
            routed,
            loads,
            ceilings,
            sizes,
            -1 if row is None else row,
            strict,
        )
    else:
        applied = _applied(moves, routed, loads, ceilings, sizes, row, strict=strict)
    load[:] = loads[:-1]
    return applied


def _applied(
    moves: _Moves,
    routed: Ints,
    load: Floats,
    ceiling: Floats,
    size: Floats,
    row: int | None,
    *,
    strict: bool,
) -> int:
    loads, ceilings, sizes = load.tolist(), ceiling.tolist(), size.tolist()
    families = range(moves.row_old.shape[0])
    columns = [a.tolist() for a in (moves.row_old, moves.use_old, moves.row_new, moves.use_new)]
    applied = 0
    for t in range(moves.query.size):
        if row is not None and loads[row] <= ceilings[row]:
            break
        change: dict[int, float] = {}
        for f in families:
            old, new = columns[0][f][t], columns[2][f][t]
            change[old] = change.get(old, 0.0) - columns[1][f][t]
            change[new] = change.get(new, 0.0) + columns[3][f][t]
        if strict:
            allowed = all(d <= 0 or loads[r] + d <= ceilings[r] for r, d in change.items())
        else:
            allowed = _excess_change(change, loads, ceilings, sizes) < 0
        if allowed:
            for r, d in change.items():
                loads[r] += d
            routed[moves.query[t]] = moves.model[t]
            applied += 1
    load[:] = loads
    return applied


def _excess_change(
    change: dict[int, float], loads: list[float], ceilings: list[float], sizes: list[float]
) -> float:
    total = 0.0
    for r, d in change.items():
        if math.isfinite(ceilings[r]):
            before, after = loads[r] - ceilings[r], loads[r] + d - ceilings[r]
            total += (max(after, 0.0) - max(before, 0.0)) / sizes[r]
    return total


def _offsets(problem: RoutingProblem) -> Iterator[tuple[Rows, int]]:
    """Every family with the number of its first row."""
    offset = 0
    for rows in problem.rows:
        yield rows, offset
        offset += rows.n_pools


def without_prices(problem: RoutingProblem) -> Prices:
    """All prices zero: the problem as if nothing were limited."""
    return Prices.of(problem, np.zeros(problem.n_rows))
