"""Pyomo: a ConcreteModel to take away and extend, solved by HiGHS or any solver Pyomo finds.

Solved in a process of its own, so that solvers Pyomo calls print nowhere and are ended on time.
"""

import math
import time
from collections.abc import Callable, Sequence
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

needs("pyomo", "pyomo")

_WORKER = Worker(__name__)


@dataclass(frozen=True, slots=True)
class Pyomo:
    """Pyomo's model of the problem, solved by HiGHS or by any solver that Pyomo finds here.

    Attributes
    ----------
    solver
        Pyomo's name for it; ``highs`` goes through Pyomo's persistent interface.
    """

    packages: ClassVar[tuple[str, ...]] = ("pyomo",)
    solver: str = "highs"

    @classmethod
    def variant(cls, name: str) -> Self:
        """The solver by Pyomo's name."""
        return cls(name)

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; the solution has no prices of its own."""
        run = partial(run_apart, _WORKER, self.solver)
        name = "pyomo" if self.solver == "highs" else f"pyomo:{self.solver}"
        return solve_exactly(problem, options, name=name, search=run, explain=run)


def to_pyomo(
    problem: RoutingProblem,
    *,
    queries: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    relaxed: bool = False,
) -> Any:
    """The problem as a ``pyomo.environ.ConcreteModel``, in its own numbers.

    Parameters
    ----------
    problem
        ``n`` queries, ``m`` models; the objective is minimised.
    queries, models
        Their names, ``n`` and ``m`` of them; numbers if not given.
    relaxed
        Whether shares are continuous between 0 and 1; binary otherwise.

    Returns
    -------
    pyomo.environ.ConcreteModel
        ``route[query, model]`` is 1 where that pair is taken; ``once[query]`` says that a query
        goes somewhere; ``limit[k]`` keeps use at most ``ceiling[k]``, a mutable parameter, with
        ``k`` a limit's name (and pool); ``total`` is the objective.
    """
    form = linear_form(problem, scaled=False)
    query_names = list(range(problem.n_queries)) if queries is None else list(queries)
    model_names = list(range(problem.n_models)) if models is None else list(models)
    pairs = [
        (query_names[i], model_names[j])
        for i, j in zip(form.query.tolist(), form.model.tolist(), strict=True)
    ]
    once = [query_names[i] for i in form.free.tolist()]
    return _model(form, pairs, once, _limit_names(problem), integer=not relaxed)


def _limit_names(problem: RoutingProblem) -> list[str]:
    names: list[str] = []
    for rows in problem.rows:
        for r in range(rows.n_pools):
            name = f"{rows.name} {rows.labels[r]}" if rows.labels else rows.name
            names.append(name if name not in names else f"{name} ({len(names)})")
    return names


def _model(
    form: LinearForm, pairs: list[Any], once: list[Any], limits: list[Any], *, integer: bool
) -> Any:
    import pyomo.environ as pyo
    from pyomo.core.expr.numeric_expr import LinearExpression

    model = pyo.ConcreteModel("routing")
    domain = pyo.Binary if integer else pyo.UnitInterval
    model.pairs = pyo.Set(initialize=pairs, ordered=True)
    model.route = pyo.Var(model.pairs, domain=domain)
    columns = [model.route[pair] for pair in pairs]
    matrix = form.matrix

    def used(r: int) -> Any:
        line = slice(matrix.indptr[r], matrix.indptr[r + 1])
        taken = [columns[c] for c in matrix.indices[line].tolist()]
        return LinearExpression(
            constant=0, linear_coefs=matrix.data[line].tolist(), linear_vars=taken
        )

    model.queries = pyo.Set(initialize=once, ordered=True)
    model.once = pyo.Constraint(model.queries)
    for r, query in enumerate(once):
        model.once[query] = used(r) == 1
    ceilings = dict(zip(limits, form.upper[len(once) :].tolist(), strict=True))
    model.limits = pyo.Set(initialize=limits, ordered=True)
    model.ceiling = pyo.Param(model.limits, initialize=ceilings, mutable=True, domain=pyo.Reals)
    model.limit = pyo.Constraint(model.limits)
    for r, limit in enumerate(limits, start=len(once)):
        if matrix.indptr[r + 1] > matrix.indptr[r]:
            model.limit[limit] = used(r) <= model.ceiling[limit]
        elif ceilings[limit] < 0:  # nothing can be used, and that is too much
            model.limit[limit] = pyo.Constraint.Infeasible
    model.total = pyo.Objective(
        expr=LinearExpression(
            constant=form.offset * form.cost_scale,
            linear_coefs=form.cost.tolist(),
            linear_vars=columns,
        )
    )
    return model


# In the worker process ----------------------------------------------------------------------


def work(request: tuple[str, LinearForm, Task], tell: Callable[[Any], None]) -> Answer:
    """Build the model of a form and solve it by a solver of Pyomo's."""
    solver, form, task = request
    started = time.perf_counter()
    pairs, once = list(range(form.n_columns)), list(range(form.free.size))
    limits = list(range(form.row_scale.size))
    model = _model(form, pairs, once, limits, integer=task.integer)
    built = time.perf_counter() - started
    options = task.options.after(built)
    solved = _by_highs if solver == "highs" else partial(_by_name, solver)
    termination, x, bound, duals = solved(model, options, form, task)
    row_dual = None
    if duals is not None:
        # A row that nothing uses has no constraint, and no dual.
        once_duals = [duals[model.once[q]] for q in once]
        limit_duals = [duals[model.limit[k]] if k in model.limit else 0.0 for k in limits]
        row_dual = np.array(once_duals + limit_duals)
    shift = form.offset * form.cost_scale
    return Answer(
        termination,
        x,
        (bound - shift) / form.cost_scale + form.offset if math.isfinite(bound) else -math.inf,
        row_dual,
        build_seconds=built,
    )


def _by_highs(model: Any, options: SolveOptions, form: LinearForm, task: Task) -> Any:
    from pyomo.contrib.solver.common.factory import SolverFactory
    from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition

    asked: dict[str, Any] = {
        "primal_feasibility_tolerance": 1e-9,
        "dual_feasibility_tolerance": 1e-9,
        "mip_feasibility_tolerance": 1e-9,
        "mip_abs_gap": max(options.mip_abs_gap * form.cost_scale, 1e-9),
        "random_seed": options.seed % 2**31,
    }
    if task.start is not None and task.integer:
        for column, value in zip(model.route.values(), task.start.tolist(), strict=True):
            column.set_value(round(value), skip_validation=True)
    result = SolverFactory("highs").solve(
        model,
        rel_gap=options.mip_rel_gap,
        time_limit=options.time_limit if math.isfinite(options.time_limit) else None,
        threads=options.threads,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        solver_options=asked,
    )
    conditions = TerminationCondition
    termination = {
        conditions.convergenceCriteriaSatisfied: Termination.OPTIMAL,
        conditions.provenInfeasible: Termination.INFEASIBLE,
        conditions.infeasibleOrUnbounded: Termination.INFEASIBLE,
        conditions.maxTimeLimit: Termination.TIME_LIMIT,
    }.get(result.termination_condition, Termination.NUMERICAL)
    x = duals = None
    if result.solution_status in (SolutionStatus.optimal, SolutionStatus.feasible):
        values = result.solution_loader.get_vars()
        x = np.array([values[column] for column in model.route.values()])
    if not task.integer and termination is Termination.OPTIMAL:
        duals = result.solution_loader.get_duals()
    bound = result.objective_bound
    return termination, x, -math.inf if bound is None else float(bound), duals


def _by_name(solver: str, model: Any, options: SolveOptions, form: LinearForm, task: Task) -> Any:
    """Through the interface that all of Pyomo's solvers share; each keeps its own tolerances."""
    import pyomo.environ as pyo

    found = pyo.SolverFactory(solver)
    if not found.available(exception_flag=False):
        raise OptionError(
            f"Pyomo finds no solver {solver!r} here; install it, or take 'pyomo' (HiGHS)"
        )
    if not task.integer:
        model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    limited = {"timelimit": options.time_limit} if math.isfinite(options.time_limit) else {}
    result = found.solve(model, load_solutions=False, **limited)
    conditions = pyo.TerminationCondition
    termination = {
        conditions.optimal: Termination.OPTIMAL,
        conditions.infeasible: Termination.INFEASIBLE,
        conditions.infeasibleOrUnbounded: Termination.INFEASIBLE,
        conditions.maxTimeLimit: Termination.TIME_LIMIT,
    }.get(result.solver.termination_condition, Termination.NUMERICAL)
    x = duals = None
    if len(result.solution) > 0:
        model.solutions.load_from(result)
        x = np.array([column.value for column in model.route.values()], np.float64)
        x = None if np.isnan(x).any() else x
        duals = None if task.integer or termination is not Termination.OPTIMAL else model.dual
    bound = result.problem.lower_bound
    return termination, x, -math.inf if bound is None else float(bound), duals
