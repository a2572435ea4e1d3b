"""The plan of this package: all queries at once, with a proof."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute import registry
from dualroute.arrays import Ints
from dualroute.formulation import Budget, Capacity, Limit, Restriction
from dualroute.outcomes import Outcomes
from dualroute.routing import solve
from dualroute.rule import Scene, whole
from dualroute.solver import SolveOptions, for_many

_MARGIN = 1e-9


@dataclass(frozen=True, slots=True)
class Certified:
    """Most predicted quality within a budget and the capacities: solved as one program, proved.

    Attributes
    ----------
    steps
        Budgets, between the least and the most that a routing would spend.
    gap
        Where the solver may stop, relative to the objective.
    seconds
        For every budget.
    """

    steps: int = 32
    gap: float = 1e-6
    seconds: float = 10.0

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per budget, from the cheapest to the dearest."""
        return optima(scene, scene.predicted, self.steps, self.gap, self.seconds)


def optima(scene: Scene, outcomes: Outcomes, steps: int, gap: float, seconds: float) -> list[Ints]:
    """Routings of most quality on some outcomes of a scene's batch, at many budgets."""
    room = np.floor(np.minimum(scene.capacity, scene.n)).tolist()
    capacities = Capacity(dict(zip(outcomes.models, room, strict=True)))
    limits = [capacities] if scene.crowded else []
    solver = for_many(registry.create("solvers", "lagrangian"))
    options = SolveOptions(mip_rel_gap=gap, time_limit=seconds, seed=scene.seed)
    ends = (
        solve(outcomes, minimize="cost", limits=limits, solver=solver, options=options),
        solve(outcomes, maximize="quality", limits=limits, solver=solver, options=options),
    )
    cost, lines = whole(outcomes, "cost"), np.arange(scene.n)
    found = [end.assignment for end in ends if end.assignment is not None]
    spent = [float(cost[lines, one].sum()) for one in found]
    routed = [ends[0].assignment]
    for budget in _budgets(spent[0], spent[-1], steps):
        asked: list[Limit | Restriction] = [Budget(budget), *limits]
        plan = solve(outcomes, maximize="quality", limits=asked, solver=solver, options=options)
        if plan.certificate.feasible:
            routed.append(plan.assignment)
    return [one for one in (*routed, ends[1].assignment) if one is not None]


def _budgets(least: float, most: float, steps: int) -> list[float]:
    """Budgets between two, closer together where they are small."""
    if most <= least * (1 + _MARGIN):
        return []
    above = np.geomspace(1e-3, 1.0, steps + 1)[:-1]  # the least, and shares of what is beyond it
    budgets: list[float] = (least + above * (most - least)).tolist()
    return budgets
