"""CVXPY: a Problem to take away and extend, boolean or relaxed, by any solver CVXPY has here.

Solved in a process of its own, so that its solvers print nowhere and are ended on time.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from dualroute.errors import OptionError
from dualroute.exact import needs, run_apart, solve_exactly
from dualroute.linear import Answer, LinearForm, Task, linear_form
from dualroute.problem import RoutingProblem
from dualroute.solver import Solution, SolveOptions, Termination
from dualroute.worker import Worker

needs("cvxpy", "cvxpy")

_WORKER = Worker(__name__)
_BOOLEAN = (
    "highs",
    "scipy",
    "scip",
    "gurobi",
    "cplex",
    "mosek",
    "xpress",
    "copt",
    "cbc",
    "glpk_mi",
)


@dataclass(frozen=True, slots=True)
class Cvxpy:
    """CVXPY's problem, boolean where its solver takes that, otherwise relaxed with prices.

    Attributes
    ----------
    solver
        CVXPY's name for it, in any case: ``highs``, ``scipy``, ``clarabel``, ``scs``, ...
    relaxed
        Solve the relaxation and round it, also where the solver takes booleans.
    """

    packages: ClassVar[tuple[str, ...]] = ("cvxpy",)
    solver: str = "highs"
    relaxed: bool = False

    @classmethod
    def variant(cls, name: str) -> Self:
        """The solver by CVXPY's name; ``lp`` for the relaxation by HiGHS."""
        return cls(relaxed=True) if name == "lp" else cls(name)

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; only relaxations have prices."""
        run = partial(run_apart, _WORKER, self.solver.upper())
        integer = self.solver.lower() in _BOOLEAN and not self.relaxed
        name = "cvxpy" if self.solver == "highs" else f"cvxpy:{self.solver.lower()}"
        return solve_exactly(
            problem,
            options,
            name=f"{name}:lp" if self.relaxed else name,
            relax=None if integer else run,
            search=run if integer else None,
            explain=run,
        )


def to_cvxpy(problem: RoutingProblem, *, relaxed: bool = False) -> Any:
    """The problem as a ``cvxpy.Problem``, in its own numbers.

    Parameters
    ----------
    problem
        ``n`` queries, ``m`` models; the objective is minimised.
    relaxed
        Whether shares are continuous between 0 and 1; boolean otherwise.

    Returns
    -------
    cvxpy.Problem
        Its variable ``route`` has one entry for each allowed pair, ordered by query and then by
        model, as `numpy.nonzero` gives them; its parameter ``ceiling`` holds the limits, shape
        ``(K,)``. Constraints: each query once, then use at most the ceiling.
    """
    return _problem(linear_form(problem, scaled=False), integer=not relaxed)


def _problem(form: LinearForm, *, integer: bool) -> Any:
    import cvxpy as cp

    n_free, k = form.free.size, form.row_scale.size
    if integer:
        route = cp.Variable(form.n_columns, boolean=True, name="route")
    else:
        route = cp.Variable(form.n_columns, bounds=[0, 1], name="route")
    constraints = [form.matrix[:n_free] @ route == 1]
    if k:
        ceiling = cp.Parameter(k, value=form.upper[n_free:], name="ceiling")
        constraints.append(form.matrix[n_free:] @ route <= ceiling)
    total = form.cost @ route + form.offset * form.cost_scale
    return cp.Problem(cp.Minimize(total), constraints)


# In the worker process ----------------------------------------------------------------------


def work(request: tuple[str, LinearForm, Task], tell: Callable[[Any], None]) -> Answer:
    """Build CVXPY's problem for a form and solve it by one of its solvers."""
    import cvxpy as cp

    solver, form, task = request
    if solver not in cp.installed_solvers():
        raise OptionError(
            f"CVXPY finds no solver {solver!r} here; it has {', '.join(cp.installed_solvers())}"
        )
    started = time.perf_counter()
    problem = _problem(form, integer=task.integer)
    built = time.perf_counter() - started
    options = task.options.after(built)
    try:
        problem.solve(solver=solver, **_told(solver, form, task, options))
    except cp.SolverError:  # its solver came to no answer
        return Answer(Termination.NUMERICAL, build_seconds=built)
    termination = {
        cp.OPTIMAL: Termination.OPTIMAL,
        cp.INFEASIBLE: Termination.INFEASIBLE,
        "infeasible_or_unbounded": Termination.INFEASIBLE,
        cp.USER_LIMIT: Termination.TIME_LIMIT,
    }.get(problem.status, Termination.NUMERICAL)
    x, row_dual = _shares(form, problem.variables()[0].value), None
    if not task.integer and x is not None and problem.constraints[0].dual_value is not None:
        # CVXPY's duals of equalities have the other sign, those of inequalities are positive.
        duals = [-np.ravel(constraint.dual_value) for constraint in problem.constraints]
        row_dual = np.concatenate(duals)
    return Answer(
        termination,
        x,
        _bound(problem, form, task, termination),
        row_dual,
        iterations=int(problem.solver_stats.num_iters or 0),
        build_seconds=built,
    )


def _told(solver: str, form: LinearForm, task: Task, options: SolveOptions) -> dict[str, Any]:
    """Options in the solver's own words, for those whose words are known."""
    limit = options.time_limit if math.isfinite(options.time_limit) else None
    if solver == "HIGHS":
        told: dict[str, Any] = {
            "threads": options.threads,
            "random_seed": options.seed % 2**31,
            "primal_feasibility_tolerance": 1e-9,
            "dual_feasibility_tolerance": 1e-9,
            "mip_feasibility_tolerance": 1e-9,
            "mip_rel_gap": options.mip_rel_gap,
            "mip_abs_gap": max(options.mip_abs_gap * form.cost_scale, 1e-9),
        }
        return told if limit is None else told | {"time_limit": limit}
    if solver == "SCIPY" and task.integer:
        asked: dict[str, Any] = {"mip_rel_gap": options.mip_rel_gap}
        return {"scipy_options": asked if limit is None else asked | {"time_limit": limit}}
    if solver == "SCIP":
        params: dict[str, Any] = {
            "limits/gap": options.mip_rel_gap,
            "limits/absgap": options.mip_abs_gap * form.cost_scale,
            "randomization/randomseedshift": options.seed % 2**31,
        }
        return {"scip_params": params if limit is None else params | {"limits/time": limit}}
    if solver == "CLARABEL":
        return {} if limit is None else {"time_limit": limit}
    if solver in ("SCS", "OSQP"):
        name = "time_limit_secs" if solver == "SCS" else "time_limit"
        accuracy = {"eps_abs": 1e-7, "eps_rel": 1e-7}
        return accuracy if limit is None else accuracy | {name: limit}
    return {}


def _shares(form: LinearForm, x: Any) -> Any:
    """Values that route every query, or None: at a limit CVXPY hands out zeros as values."""
    if x is None or not np.isfinite(x).all():
        return None
    placed = form.matrix[: form.free.size] @ x
    return x if (np.abs(placed - 1) < 1e-3).all() else None


def _bound(problem: Any, form: LinearForm, task: Task, termination: Termination) -> float:
    """The solver's bound where CVXPY passes one on, or the value of what it calls optimal."""
    stats = problem.solver_stats.extra_stats
    bound = getattr(stats, "mip_dual_bound", None) if task.integer else None
    shift = form.offset * form.cost_scale
    if bound is not None and math.isfinite(bound):
        return float(bound) / form.cost_scale + form.offset
    if termination is not Termination.OPTIMAL or problem.value is None:
        return -math.inf
    if task.integer and task.options.mip_rel_gap + task.options.mip_abs_gap > 0:
        return -math.inf  # optimal to a gap that nobody tells
    return (float(problem.value) - shift) / form.cost_scale + form.offset
