"""A further exact solver in one file: SciPy's milp, behind the same contract as the others.

SciPy's HiGHS looks at no clock for minutes on large tables; a solver of that kind is better run in
a process of its own, as the backends of the package are (`dualroute.exact.run_apart`).

    python examples/scipy_backend.py
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from dualroute import (
    Capacity,
    QualityFloor,
    RoutingProblem,
    Solution,
    SolveOptions,
    Termination,
    solve,
)
from dualroute.exact import solve_exactly
from dualroute.linear import Answer, LinearForm, Task
from dualroute.workload import simulate


def run(form: LinearForm, task: Task) -> Answer:
    """Solve a linear form, integer or relaxed."""
    limit = task.options.time_limit
    done = milp(
        form.cost,
        integrality=np.full(form.n_columns, int(task.integer)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(form.matrix, form.lower, form.upper),
        options={"mip_rel_gap": task.options.mip_rel_gap}
        | ({"time_limit": limit} if np.isfinite(limit) else {}),
    )
    ended = {0: Termination.OPTIMAL, 1: Termination.TIME_LIMIT, 2: Termination.INFEASIBLE}
    bound = done.mip_dual_bound if task.integer else done.fun
    known = bound is not None and np.isfinite(bound)
    return Answer(
        ended.get(done.status, Termination.NUMERICAL),
        done.x,
        bound / form.cost_scale + form.offset if known else -np.inf,
    )


@dataclass(frozen=True)
class Scipy:
    """HiGHS as SciPy carries it; its prices come from the native dual, as it gives no duals."""

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        return solve_exactly(problem, options, name="scipy", search=run)


if __name__ == "__main__":
    outcomes = simulate(200, seed=1).outcomes
    limits = [QualityFloor(mean=0.9), Capacity(40)]
    options = SolveOptions(time_limit=30, mip_rel_gap=1e-6)
    for solver in (Scipy(), "lagrangian"):
        plan = solve(outcomes, minimize="cost", limits=limits, solver=solver, options=options)
        print(f"{plan.solution.solver}: {plan.objective:.6f} USD, {plan.certificate.verdict}")
