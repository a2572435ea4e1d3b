"""Compiled passes of the rule over many queries, with the arithmetic of `rigour.priced_below`.

Operation for operation, so that either route gives the same digits. Importing this module imports
numba. Grids come query by query, or transposed, whichever way they lie in memory.
"""

from typing import Any, TypeAlias

import numpy as np

from dualroute.compiled import compiled

Array: TypeAlias = Any


@compiled
def add_charge(price: Array, usage: Array, low: Array, size: Array) -> None:
    """Add what one family charges to `low`, and its size to `size`; all of one shape."""
    for a in range(low.shape[0]):
        for b in range(low.shape[1]):
            charge = price[a, b] * usage[a, b]
            low[a, b] += charge
            size[a, b] += abs(charge)


@compiled
def two_least(
    by_query: bool,
    low: Array,
    size: Array,
    relative: float,
    absolute: float,
    least: Array,
    second: Array,
    model: Array,
) -> None:
    """The two least costs of each query, once rounding is taken off, and the model of the least.

    Parameters
    ----------
    by_query
        Whether grids are ``(b, m)``; else ``(m, b)``.
    low
        Costs; infinite where a pair is not open.
    size, relative, absolute
        A cost is lowered by ``relative * size + absolute``.
    least, second, model
        Written, shape ``(b,)``; of equal models the first.
    """
    if by_query:
        for t in range(low.shape[0]):
            best, rival, chosen = np.inf, np.inf, 0
            for j in range(low.shape[1]):
                cost = low[t, j]
                if cost < np.inf:
                    cost -= relative * size[t, j] + absolute
                less = cost < best
                larger = best if less else cost
                rival = larger if larger < rival else rival
                chosen = j if less else chosen
                best = cost if less else best
            least[t], second[t], model[t] = best, rival, chosen
        return
    for t in range(low.shape[1]):
        least[t], second[t], model[t] = np.inf, np.inf, 0
    for j in range(low.shape[0]):
        for t in range(low.shape[1]):
            cost, best = low[j, t], least[t]
            cost -= (relative * size[j, t] + absolute) if cost < np.inf else 0.0
            less = cost < best
            larger = best if less else cost
            second[t] = larger if larger < second[t] else second[t]
            model[t] = j if less else model[t]
            least[t] = cost if less else best
