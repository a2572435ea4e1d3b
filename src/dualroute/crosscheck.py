"""A second opinion: the same problem by another solver, and whether the two agree."""

import math
from dataclasses import dataclass
from typing import Any

from dualroute import registry
from dualroute.routing import Plan, planned
from dualroute.solver import SolveOptions, Solver

_SAME = 1e-9  # of the objective: values this close are equal


@dataclass(frozen=True, slots=True, eq=False)
class CrossCheck:
    """What another solver says of a plan.

    Attributes
    ----------
    plan
        The other solver's own, certified by itself.
    agrees
        True where it proves or claims that nothing is better, or finds no routing either; False
        where it holds a better routing, or says the opposite; None where it leaves that open.
    words
        The same in a sentence.
    """

    plan: Plan
    agrees: bool | None
    words: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"agrees": self.agrees, "words": self.words, "plan": self.plan.to_dict()}


def cross_check(
    plan: Plan, solver: str | Solver, options: SolveOptions | None = None
) -> CrossCheck:
    """Solve a plan's problem by another solver and compare.

    Parameters
    ----------
    plan
        Of `dualroute.solve`, `route` or `verify`.
    solver
        A registered name, also of a variant, or a solver object; it starts from nothing.
    options
        Time limit, gap, seed and threads.

    Raises
    ------
    OptionError, MissingDependencyError
        If the solver is not known or not installed.
    """
    options = options or SolveOptions()
    chosen = registry.create("solvers", solver) if isinstance(solver, str) else solver
    other = planned(plan.outcomes, plan.problem, chosen.solve(plan.problem, options), options)
    return CrossCheck(other, *_compared(plan, other))


def _compared(plan: Plan, other: Plan) -> tuple[bool | None, str]:
    name, found = other.solution.solver, other.certificate
    value = plan.certificate.objective
    if not plan.certificate.feasible:
        if found.feasible:
            return False, f"{name} finds a routing that keeps every limit: {other.objective:.10g}"
        if other.status == "infeasible":
            agrees = True if plan.certificate.infeasible else None
            return agrees, f"{name} says that no routing keeps the limits"
        return None, f"{name} finds no routing that keeps every limit"
    near = _SAME * abs(value)
    if found.feasible and found.objective < value - near:
        better = value - found.objective
        part = f" ({100 * better / abs(value):.4g} %)" if value else ""
        return False, f"{name} finds one better by {better:.6g} {plan.problem.unit}{part}"
    if other.status == "infeasible":
        return False, f"{name} says that no routing keeps the limits"
    bound = max(other.solution.best_bound, found.bound)
    if bound >= value - near or other.status == "optimal":
        how = "proved" if found.bound >= value - near else "on its word"
        return True, f"{name} agrees: nothing is better ({how})"
    left = (value - bound) / abs(value) if value else math.inf
    return None, f"{name} finds nothing better and leaves {left:.2e} of the objective open"
