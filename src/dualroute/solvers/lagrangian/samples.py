"""Prices from small samples of the queries, each climbed from the prices of the last.

Where no temperature tells most queries apart, a smoothed ascent stalls; the polish takes over
on the sample too.
"""

import math
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats
from dualroute.engines.local import LocalEngine
from dualroute.solver import Clock
from dualroute.solvers.lagrangian.ascent import HOTTEST, Box, ascend
from dualroute.solvers.lagrangian.polish import Polished, polish

_LEVELS = (2_000, 15_000, 60_000)
_PER_ROW = 50  # queries of a sample: with fewer, limits that can be kept may look as if not
_LARGEST_TIED = 15_000  # a polish costs more than an ascent, and types need prices less good
_LARGEST_PRICE = 1e2
_RADIUS = 0.06  # of the largest price: the first trust region of a polish
_CLOSE_ENOUGH = 1e-5
_TELLING = 1e-4  # the temperature that tells ties from mere neighbours, at prices this good
_AROUND = 4
TIED = 0.25  # part of the queries that no temperature tells apart, from which on it is the rule


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """Where the ascent on samples ended.

    Attributes
    ----------
    scaled
        Prices in the whole's scale, shape ``(K,)``.
    moved
        How far the last sample moved them, shape ``(K,)``: a measure of what sampling gets wrong.
    tied
        Part of the last sample's queries that no temperature tells apart.
    passes
        Full-table equivalents spent.
    around
        Where the last sample was polished, if it was: the last prices tried, scaled for the
        whole, shape ``(any, K)``.
    """

    scaled: Floats
    moved: Floats
    tied: float
    passes: float
    around: Floats | None = None


def ascend_samples(
    engine: LocalEngine, start: Floats, *, seed: int, clock: Clock, good: bool = False
) -> Sampled:
    """Climb on samples of 2,000, 15,000 and 60,000 queries.

    Parameters
    ----------
    engine
        Over all queries; a table too small to sample is left alone.
    start
        Scaled prices to begin with, shape ``(K,)``.
    good
        Whether they are as good as the smallest sample would make them.
    """
    n = engine.problem.n_queries
    passes, scaled, tied = 0.0, start, 0.0
    temperature = 4 / _LEVELS[0] if good else HOTTEST
    moved, around = np.zeros_like(start), None
    for size in _LEVELS[1:] if good else _LEVELS:
        if size < _PER_ROW * start.size:
            continue
        if 4 * size >= n or clock.expired or (tied > TIED and size > _LARGEST_TIED):
            break
        sample = engine.sample(size, seed)
        at, spent = sample.scaled(engine.prices(scaled)), 0.0
        if tied <= TIED:
            at, spent, tied = climbed(sample, at, temperature, clock)
        if tied > TIED:
            polished = _polished(sample, at, clock)
            at, spent = polished.scaled, spent + polished.passes
            near = polished.tried[-_AROUND:]
            around = np.array([engine.scaled(sample.prices(one)) for one in near])
        # A sample measures rows and objective by itself; prices go from one to the other.
        reached = engine.scaled(sample.prices(at))
        moved, scaled = np.abs(reached - scaled), reached
        passes += (spent + 1) * size / n
        temperature = 4 / size  # ties finer than a sample resolves are left to the next
    return Sampled(scaled, moved, tied, passes, around)


def climbed(
    sample: LocalEngine, start: Floats, temperature: float, clock: Clock
) -> tuple[Floats, float, float]:
    """Prices where a sample's smoothed ascent ended, passes, and the part that is tied there."""
    size = sample.problem.n_queries
    passes, tied, at = 0.0, 1.0, start
    for stall in (False, True):
        level = ascend(sample, at, hottest=temperature, coldest=1 / size, clock=clock, stall=stall)
        passes += level.passes
        at, temperature, tied = level.scaled, level.stalled, level.near_ties / size
        if tied > TIED:
            tied = sample.evaluate(at, _TELLING).near_ties / size
            passes += 1
        if tied > TIED or not level.stalled:
            break
    return at, passes, tied


def _polished(sample: LocalEngine, start: Floats, clock: Clock) -> Polished:
    """Prices near the optimum of a sample's relaxation."""
    radius = _RADIUS * max(float(start.max(initial=0.0)), 1.0 / start.size)
    return polish(
        sample,
        start,
        ceiling=math.inf,
        relative=_CLOSE_ENOUGH,
        clock=clock,
        box=Box.up_to(_LARGEST_PRICE, start.size),
        radius=radius,
    )


def trust(engine: LocalEngine, start: Floats, *, seed: int, clock: Clock) -> Sampled:
    """Prices from elsewhere: as they are, or in place of what the smallest sample would give.

    As they are where ties are the rule, for types take prices that are roughly right, and where
    the table is short.
    """
    n, size = engine.problem.n_queries, _LEVELS[0]
    if n < 4 * size or clock.expired:
        return Sampled(start, 0.1 * start, 0.0, 0.0)
    sample = engine.sample(size, seed)
    here = sample.evaluate(sample.scaled(engine.prices(start)), _TELLING)
    tied = here.near_ties / size
    if tied > TIED or n <= 4 * _LEVELS[1]:
        return Sampled(start, 0.02 * start, tied, size / n)
    return ascend_samples(engine, start, seed=seed, clock=clock, good=True)
