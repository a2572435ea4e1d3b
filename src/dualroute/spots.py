"""Routings that ignore every limit, to compare with."""

import math
from dataclasses import dataclass

import numpy as np

from dualroute.curve import Hull, multipliers
from dualroute.errors import TableError
from dualroute.formulation import Budget, formulate
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices
from dualroute.sweep import Sweeper

_STEPS = 40  # of the one multiplier


@dataclass(frozen=True, slots=True)
class Spot:
    """A routing to compare with: its name, mean cost and mean quality."""

    name: str
    mean_cost: float
    mean_quality: float


def comparisons(
    outcomes: Outcomes, threads: int
) -> tuple[tuple[Spot, ...], tuple[Spot, ...], tuple[Spot, ...]]:
    """Single models, corners of the zero router and the lambda curve; none without both columns."""
    try:
        grids = [outcomes.column(role) for role in ("cost", "quality")]
    except TableError:
        return (), (), ()
    n, m = outcomes.n_queries, outcomes.n_models
    cost, quality = (np.broadcast_to(grid.mean(axis=0, dtype=np.float64), m) for grid in grids)
    pairs = zip(outcomes.models, cost.tolist(), quality.tolist(), strict=True)
    singles = tuple(Spot(model, c, q) for model, c, q in pairs)
    hull = Hull.of(cost, quality)
    corners = []
    for c, q in zip(hull.cost.tolist(), hull.quality.tolist(), strict=True):
        name = next(s.name for s in singles if s.mean_cost == c and s.mean_quality == q)
        corners.append(Spot(name, c, q))
    # The rule of one multiplier is what the Lagrangian does with a budget alone.
    problem = formulate(outcomes, maximize="quality", limits=[Budget(1.0)])
    sweeper = Sweeper(problem, threads)
    curve: list[Spot] = []
    for price in multipliers(np.broadcast_to(grids[0], (n, m)), _STEPS).tolist():
        prices = Prices.of(problem, np.array([price]))
        parts = list(sweeper.sweep(prices, lambda chunk: (chunk.cost, float(chunk.use[0]))))
        lost, paid = (math.fsum(part[k] for part in parts) for k in (0, 1))
        spot = Spot(f"lambda={price:.6g}", paid / n, -lost / n)
        if not curve or (spot.mean_cost, spot.mean_quality) != (
            curve[-1].mean_cost,
            curve[-1].mean_quality,
        ):
            curve.append(spot)
    return singles, tuple(corners), tuple(curve)
