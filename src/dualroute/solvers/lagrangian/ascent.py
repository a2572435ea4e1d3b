"""Smoothed Newton ascent of the Lagrangian, from small samples of the queries to all of them.

Softmin makes the dual smooth, one pass gives its Hessian, and the temperature falls as the
ascent proceeds (Nesterov 2005, doi:10.1007/s10107-004-0552-5, for the smoothing; projected
Newton after Bertsekas 1982, doi:10.1137/0320018). On tables with many ties it stalls short of
the optimum; `polish` takes over from there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dualroute.arrays import Bools, Floats
from dualroute.engines.local import Evaluation, LocalEngine
from dualroute.solver import Clock

Tell: TypeAlias = Callable[[Floats, float], None]

_FIRST_LEVEL = 2_000
_GROWTH = 10
_COLDEST = 1e-5
_STEPS_PER_TEMPERATURE = 6
_HALVINGS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Ascent:
    """Where the ascent ended.

    Attributes
    ----------
    scaled
        Scaled prices of the best true value seen on all queries, shape ``(K,)``.
    value
        That value, scaled; ``-inf`` if no full pass was made.
    passes
        Full-table equivalents spent.
    """

    scaled: Floats
    value: float
    passes: float


def ascend(
    engine: LocalEngine,
    start: Floats,
    *,
    seed: int,
    clock: Clock,
    tell: Tell,
) -> Ascent:
    """Climb on samples of 2,000, 20,000, ... queries, then on all, each from the last prices.

    Parameters
    ----------
    engine
        Over all queries.
    start
        Scaled prices to begin with, shape ``(K,)``.
    tell
        Called with the prices and the scaled value of each new best on all queries.
    """
    n = engine.problem.n_queries
    passes, temperature, scaled = 0.0, 1.0, start
    size = _FIRST_LEVEL
    while size * 4 < n and not clock.expired:
        level = _climb(
            engine.sample(size, seed), scaled, temperature, max(_COLDEST, 1 / size), clock, None
        )
        scaled = level.scaled
        passes += level.passes * size / n
        temperature = 10 / size  # ties finer than a sample resolves are left to the next
        size *= _GROWTH
    final = _climb(engine, scaled, temperature, _COLDEST, clock, tell)
    return Ascent(final.scaled, final.value, passes + final.passes)


def _climb(
    engine: LocalEngine,
    start: Floats,
    hottest: float,
    coldest: float,
    clock: Clock,
    tell: Tell | None,
) -> Ascent:
    scaled, temperature, passes = start, hottest, 0
    best, best_value = start, -np.inf
    while temperature >= coldest and not clock.expired:
        here = engine.evaluate(scaled, temperature)
        passes += 1
        for _ in range(_STEPS_PER_TEMPERATURE):
            if here.value > best_value:
                best, best_value = scaled, here.value
                if tell is not None:
                    tell(best, best_value)
            pinned = (scaled <= 0) & (here.gradient <= 0)
            step = _newton_step(here, pinned, 1.0 + float(np.abs(scaled).max(initial=0.0)))
            promise = float(here.gradient @ step)
            # What softening gives up is about `temperature` per near-tied query.
            settled = temperature * max(here.near_ties, 1) / engine.problem.n_queries
            if promise <= 1e-2 * settled or clock.expired:
                break
            moved = None
            for halving in range(_HALVINGS):
                trial = np.maximum(scaled + step * 0.5**halving, 0.0)
                there = engine.evaluate(trial, temperature)
                passes += 1
                gained = there.smoothed - here.smoothed
                if gained >= 1e-4 * float(here.gradient @ (trial - scaled)) and gained > 0:
                    moved = trial, there
                    break
                if clock.expired:
                    break
            if moved is None:
                break
            scaled, here = moved
        if here.value > best_value:
            best, best_value = scaled, here.value
        temperature *= 0.2
    return Ascent(best, best_value, float(passes))


def _newton_step(here: Evaluation, pinned: Bools, reach: float) -> Floats:
    """Newton's direction over the prices that are free to move, no entry above ``reach``."""
    step = np.zeros_like(here.gradient)
    free = np.flatnonzero(~pinned)
    if free.size == 0:
        return step
    curvature = -here.hessian[np.ix_(free, free)]
    size = float(np.trace(curvature)) / free.size
    damping = 1e-8 * size + 1e-9 * float(np.abs(here.gradient[free]).max()) + 1e-300
    step[free] = np.linalg.solve(curvature + damping * np.eye(free.size), here.gradient[free])
    largest = float(np.abs(step).max())
    return step * (reach / largest) if largest > reach else step
