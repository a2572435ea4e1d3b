"""Smoothed Newton ascent of the Lagrangian.

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

HOTTEST, COLDEST = 0.2, 1e-8
_FINE = 1e-5  # from this temperature on, near-ties should become fewer with it
_COOLING = 0.2
_HOT = 0.9  # part of the queries that feel a temperature too high to tell any apart
_STEPS_PER_TEMPERATURE = 6
_HALVINGS, _FEW_HALVINGS = 8, 4  # the few where a stall is an answer
_ENOUGH = 60  # near-ties per row: with fewer a Hessian is noise, and others take over
_TIES = 0.7  # part of the near-ties that cooling leaves where they are ties, and not neighbours
_PATIENCE = 0.01  # of what softening gives up: a step that promises less is not made


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Prices between two bounds, scaled, each of shape ``(K,)``."""

    low: Floats
    high: Floats

    @classmethod
    def up_to(cls, most: float, k: int) -> "Box":
        """From zero to one largest price."""
        return cls(np.zeros(k), np.full(k, most))

    def clip(self, scaled: Floats) -> Floats:
        """The nearest prices in the box."""
        return np.clip(scaled, self.low, self.high)

    def edge(self, scaled: Floats, gradient: Floats) -> Bools:
        """Which prices stand at a bound, above zero, that the dual would have them cross.

        At a bound of zero width the gradient decides alone; elsewhere a price at a bound is
        taken to press against it.
        """
        pressing = (gradient > 0) | (self.high > self.low)
        return (scaled >= self.high) & pressing | (scaled <= self.low) & (self.low > 0)


@dataclass(frozen=True, slots=True, eq=False)
class Ascent:
    """Where the ascent ended.

    Attributes
    ----------
    scaled
        Scaled prices of the best true value seen on all queries, shape ``(K,)``.
    value
        That value, scaled; ``-inf`` if no full pass was made.
    gradient
        The smoothed Lagrangian's there, shape ``(K,)``.
    near_ties
        How many queries felt the smoothing in the end.
    stalled
        The last temperature at which no part of a Newton step gained; 0 if there was none.
    passes
        Full-table equivalents spent.
    """

    scaled: Floats
    value: float
    gradient: Floats
    near_ties: int
    stalled: float
    passes: float


def ascend(
    engine: LocalEngine,
    start: Floats,
    *,
    hottest: float = HOTTEST,
    coldest: float = COLDEST,
    clock: Clock,
    box: Box | None = None,
    tell: Tell | None = None,
    stall: bool = True,
) -> Ascent:
    """Climb on all queries of an engine while the temperature falls.

    Parameters
    ----------
    start
        Scaled prices to begin with, shape ``(K,)``.
    hottest, coldest
        First temperature, and the last at most, relative to a mean query's cost. The ascent ends
        sooner where too few queries feel the next, or where cooling does not make them fewer.
    box
        Where prices may go; anywhere from zero up if not given.
    tell
        Called with the prices and the scaled value of each new best.
    stall
        Whether to cool on where no part of a Newton step gains, and not end there.
    """
    box = box or Box.up_to(np.inf, start.size)
    scaled, temperature, passes = box.clip(start), hottest, 0
    best, best_value, gradient = scaled, -np.inf, np.zeros_like(scaled)
    near, stalled = engine.problem.n_queries, 0.0
    while temperature >= coldest and not clock.expired:
        here = engine.evaluate(scaled, temperature)
        passes += 1
        for _ in range(_STEPS_PER_TEMPERATURE):
            if here.value > best_value:
                best, best_value, gradient = scaled, here.value, here.gradient
                if tell is not None:
                    tell(best, best_value)
            step = newton_step(here, scaled, box)
            promise = float(here.gradient @ step)
            # What softening gives up is about `temperature` per near-tied query.
            settled = temperature * max(here.near_ties, 1) / engine.problem.n_queries
            if promise <= _PATIENCE * settled or clock.expired:
                break
            moved = None
            for halving in range(_HALVINGS if stall else _FEW_HALVINGS):
                trial = box.clip(scaled + step * 0.5**halving)
                there = engine.evaluate(trial, temperature)
                passes += 1
                gained = there.smoothed - here.smoothed
                if gained >= 1e-4 * float(here.gradient @ (trial - scaled)) and gained > 0:
                    moved = trial, there
                    break
                if clock.expired:
                    break
            if moved is None:
                stalled = temperature
                break
            scaled, here = moved
        if here.value > best_value:
            best, best_value, gradient = scaled, here.value, here.gradient
            if tell is not None:
                tell(best, best_value)
        near, before = here.near_ties, near
        if stalled and not stall:
            break
        if temperature < _FINE and near > _TIES * before:
            break
        if near > _HOT * engine.problem.n_queries:
            temperature *= _COOLING
        elif near > 1.5 * _ENOUGH * start.size:
            temperature = cooled(temperature, near, start.size)
        else:
            break
    return Ascent(best, best_value, gradient, near, stalled, float(passes))


def cooled(temperature: float, near_ties: int, n_rows: int) -> float:
    """The next temperature, at which enough queries still feel the smoothing."""
    return temperature * min(max(_COOLING, _ENOUGH * n_rows / max(near_ties, 1)), 1.0)


def newton_step(here: Evaluation, scaled: Floats, box: Box) -> Floats:
    """Newton's direction over the prices that are free to move, no entry above their reach."""
    pinned = ((scaled <= box.low) & (here.gradient <= 0)) | (
        (scaled >= box.high) & (here.gradient >= 0)
    )
    reach = 1.0 + float(np.abs(scaled).max(initial=0.0))
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
