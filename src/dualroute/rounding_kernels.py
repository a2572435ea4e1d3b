"""Compiled loops of the rounding over many queries, to the same digits as its numpy passes.

Arrays are ``float64`` and ``int64`` and contiguous, so that each kernel is compiled once.
"""

from typing import Any, TypeAlias

import numpy as np

from dualroute.compiled import compiled

Array: TypeAlias = Any


@compiled
def add_effects(
    usage: Array,
    index: Array,
    here: Array,
    load: Array,
    ceiling: Array,
    row: int,
    fits: Array,
    taken_off: Array,
) -> None:
    """What one family of rows says of every move: cleared from `fits`, added to `taken_off`.

    Parameters
    ----------
    usage, index
        What each pair takes out of which row, shape ``(b, m)``; row ``K`` is none.
    here
        Each query's model, shape ``(b,)``.
    load, ceiling
        Shape ``(K + 1,)``; row ``K`` holds any load.
    row
        The one that `taken_off` speaks of, or -1.
    """
    none = load.size - 1
    for i in range(here.size):
        use_old, row_old = usage[i, here[i]], index[i, here[i]]
        for j in range(usage.shape[1]):
            same = index[i, j] == row_old
            change = usage[i, j] - (use_old if same else 0.0)
            r = index[i, j]
            if change > 0 and r < none and load[r] + change > ceiling[r]:
                fits[i, j] = False
            leaves = not same and row_old < none and use_old < 0
            if leaves and load[row_old] - use_old > ceiling[row_old]:
                fits[i, j] = False
            if row >= 0:
                off = use_old if row_old == row else 0.0
                taken_off[i, j] += off - (usage[i, j] if r == row else 0.0)


@compiled
def best_moves(
    priced: Array,
    here: Array,
    fits: Array,
    taken_off: Array,
    by_row: bool,
    excess: float,
    model: Array,
    rank: Array,
) -> None:
    """Each query's move of least rank and, of those, most taken off: its model and rank.

    Parameters
    ----------
    priced, fits, taken_off
        Shape ``(b, m)``.
    by_row
        Whether rank is priced objective per unit taken off, not above `excess`; or objective.
    model, rank
        Where the answer goes, shape ``(b,)``; an infinite rank means that there is no move.
    """
    for i in range(here.size):
        model[i], rank[i] = 0, np.inf
        for j in range(priced.shape[1]):
            off = taken_off[i, j]
            if not fits[i, j] or (by_row and off <= 0):
                continue
            cost = priced[i, j] - priced[i, here[i]]
            if by_row:
                value = max(cost, 0.0) / min(off, excess)
            elif cost < 0:
                value = cost
            else:
                continue
            if value < rank[i] or (value == rank[i] and off > taken_off[i, model[i]]):
                model[i], rank[i] = j, value


@compiled
def apply_moves(
    query: Array,
    model: Array,
    row_old: Array,
    use_old: Array,
    row_new: Array,
    use_new: Array,
    routed: Array,
    load: Array,
    ceiling: Array,
    size: Array,
    row: int,
    strict: bool,
) -> int:
    """Moves made in order while the loads allow them; how many.

    Parameters
    ----------
    query, model
        Of each move, shape ``(t,)``.
    row_old, use_old, row_new, use_new
        What it gives back and takes in each family, shape ``(F, t)``.
    routed, load
        Shapes ``(n,)`` and ``(K + 1,)``; written to.
    row
        The one to bring below its ceiling, where that is all; or -1.
    strict
        Whether no load may pass its ceiling; else the sum of excesses by size is to shrink.
    """
    families = row_old.shape[0]
    touched, change = np.empty(2 * families, np.int64), np.empty(2 * families)
    applied = 0
    for t in range(query.size):
        if row >= 0 and load[row] <= ceiling[row]:
            break
        count = 0
        for f in range(families):
            for side in range(2):
                r = row_old[f, t] if side == 0 else row_new[f, t]
                delta = -use_old[f, t] if side == 0 else use_new[f, t]
                k = 0
                while k < count and touched[k] != r:
                    k += 1
                if k == count:
                    touched[k], change[k] = r, 0.0
                    count += 1
                change[k] += delta
        allowed, moved = True, 0.0
        for k in range(count):
            r, after = touched[k], load[touched[k]] + change[k]
            if strict:
                allowed = allowed and (change[k] <= 0 or after <= ceiling[r])
            elif ceiling[r] < np.inf:
                before = max(load[r] - ceiling[r], 0.0)
                moved += (max(after - ceiling[r], 0.0) - before) / size[r]
        if allowed and (strict or moved < 0):
            for k in range(count):
                load[touched[k]] += change[k]
            routed[query[t]] = model[t]
            applied += 1
    return applied
