"""OR-Tools through MathOpt, in a process of its own: it cannot be loaded beside HiGHS's library.

CP-SAT takes whole numbers. Costs and usage are scaled by powers of two and rounded down, so that
every routing that keeps the limits keeps the rounded ones at no higher cost: its bound, scaled
back, is a bound. A routing of the rounded program may break a limit by some 1e-13 of it, and is
then mended like any other solver's. Its presolve is off: with numbers of 36 bits and more, that of
9.15 at times removes the best routing and calls another optimal.
"""

import datetime
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from dualroute.arrays import Floats
from dualroute.errors import OptionError
from dualroute.exact import needs, run_apart, solve_exactly
from dualroute.linear import Answer, LinearForm, Task
from dualroute.problem import RoutingProblem
from dualroute.solver import Solution, SolveOptions, Termination
from dualroute.worker import Worker

needs("ortools", "ortools")

_INTEGER = {"cp-sat": "CP_SAT", "scip": "GSCIP", "highs": "HIGHS"}
_RELAXED = {"glop": "GLOP", "pdlp": "PDLP"}
_NAMES = _INTEGER | _RELAXED
_BITS = 46  # of the largest sum over queries: a double and CP-SAT hold it exactly
_TELLABLE = 200_000  # columns whose values cross over at every better routing
_WORKER = Worker(__name__)


@dataclass(frozen=True, slots=True)
class Ortools:
    """Google OR-Tools: CP-SAT or SCIP for the routing, GLOP or PDLP for relaxation and prices.

    Attributes
    ----------
    solver
        ``cp-sat``, ``scip`` or ``highs`` for the integer program; ``glop`` or ``pdlp`` to solve
        the relaxation and round it.
    """

    packages: ClassVar[tuple[str, ...]] = ("ortools",)
    solver: str = "cp-sat"

    def __post_init__(self) -> None:
        """Check the name."""
        if self.solver not in _NAMES:
            raise OptionError(f"solver is {self.solver!r}; one of {', '.join(_NAMES)}")

    @classmethod
    def variant(cls, name: str) -> Self:
        """The solver by name."""
        return cls(name)

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; only ``glop`` and ``pdlp`` have prices."""
        run = partial(run_apart, _WORKER, self.solver)
        integer = self.solver in _INTEGER
        return solve_exactly(
            problem,
            options,
            name=f"ortools:{self.solver}",
            relax=None if integer else run,
            search=run if integer else None,
            explain=partial(run_apart, _WORKER, "glop"),
        )


# In the worker process ----------------------------------------------------------------------


def work(request: tuple[str, LinearForm, Task], tell: Callable[[Any], None]) -> Answer:
    """Solve a form with one of MathOpt's solvers."""
    solver, form, task = request
    if solver != "cp-sat":
        return _solved(solver, form, task, tell)
    whole, scale = _whole(form)

    def unscaled(told: tuple[Floats, float, float]) -> None:
        tell((told[0], told[1] / scale, told[2] / scale))

    answer = _solved(solver, whole, task, unscaled)
    return replace(answer, best_bound=(answer.best_bound - form.offset) / scale + form.offset)


def _whole(form: LinearForm) -> tuple[LinearForm, float]:
    """The form in whole numbers, none of which asks for more; and what costs were scaled by."""
    n_free, n_rows = form.free.size, form.matrix.shape[0]
    matrix, upper = form.matrix.copy(), form.upper.copy()
    scales = np.ones(n_rows)
    for r in range(n_free, n_rows):
        line = slice(matrix.indptr[r], matrix.indptr[r + 1])
        scales[r] = _scale(np.append(matrix.data[line], upper[r]), n_free)
    by_entry = np.repeat(scales, np.diff(matrix.indptr))
    matrix.data = np.floor(matrix.data * by_entry)
    upper[n_free:] = np.floor(upper[n_free:] * scales[n_free:])
    cost_scale = _scale(form.cost, n_free)
    cost = np.floor(form.cost * cost_scale)
    return replace(form, matrix=matrix, upper=upper, cost=cost), cost_scale


def _scale(values: Floats, queries: int) -> float:
    """A power of two that leaves whole numbers as they are, and others as many bits as fit."""
    if (values == np.rint(values)).all() and np.abs(values).sum() < 2.0**_BITS:
        return 1.0
    largest = float(np.abs(values).max(initial=1.0)) * max(queries, 1)
    return float(2.0 ** (_BITS - math.ceil(math.log2(largest))))


def _solved(solver: str, form: LinearForm, task: Task, tell: Callable[[Any], None]) -> Answer:
    assert "highspy" not in sys.modules  # the two libraries clash in one process
    from ortools.math_opt.python import mathopt

    started = time.perf_counter()
    model = mathopt.Model.from_model_proto(_proto(form, task.integer))
    variables = list(model.variables())
    built = time.perf_counter() - started
    options = task.options
    params = mathopt.SolveParameters()
    if solver != "pdlp":  # which draws nothing
        params.random_seed = options.seed % 2**31
    if math.isfinite(options.time_limit):
        params.time_limit = datetime.timedelta(seconds=max(options.time_limit - built, 1e-3))
    if solver != "highs":  # which refuses it
        params.threads = options.threads
    if solver == "cp-sat":
        params.presolve = mathopt.Emphasis.OFF
    if task.integer:
        params.relative_gap_tolerance = options.mip_rel_gap
        params.absolute_gap_tolerance = options.mip_abs_gap * form.cost_scale
    hints = mathopt.ModelSolveParameters()
    if task.start is not None and task.integer:
        ones = np.flatnonzero(task.start > 0.5)
        hints.solution_hints.append(mathopt.SolutionHint({variables[k]: 1.0 for k in ones}))
    told: dict[str, Any] = {}
    if task.integer and solver != "highs" and form.n_columns <= _TELLABLE:

        def better(event: Any) -> Any:
            x = np.zeros(form.n_columns)
            for variable, value in event.solution.items():
                x[variable.id] = value
            bound = (
                event.mip_stats.dual_bound if event.mip_stats.HasField("dual_bound") else -math.inf
            )
            tell((x, float(form.cost @ x), bound))
            return mathopt.CallbackResult()

        told = {
            "callback_reg": mathopt.CallbackRegistration(events={mathopt.Event.MIP_SOLUTION}),
            "cb": better,
        }
    kind = mathopt.SolverType[_NAMES[solver]]
    try:
        result = mathopt.solve(model, kind, params=params, model_params=hints, **told)
    except AttributeError as error:  # 9.15 loses the message of a refusal; it is in the context
        raise OptionError(f"OR-Tools refuses the model: {error.__context__ or error}") from None
    return replace(_answer(form, task, result, mathopt, model, variables), build_seconds=built)


def _answer(
    form: LinearForm, task: Task, result: Any, mathopt: Any, model: Any, variables: list[Any]
) -> Answer:
    reasons, limits = mathopt.TerminationReason, mathopt.Limit
    reason = result.termination.reason
    termination = {
        reasons.OPTIMAL: Termination.OPTIMAL,
        reasons.INFEASIBLE: Termination.INFEASIBLE,
        # Columns are bounded, so it is the former.
        reasons.INFEASIBLE_OR_UNBOUNDED: Termination.INFEASIBLE,
    }.get(reason, Termination.NUMERICAL)
    if reason in (reasons.FEASIBLE, reasons.NO_SOLUTION_FOUND):
        late = result.termination.limit in (limits.TIME, limits.UNDETERMINED)
        termination = Termination.TIME_LIMIT if late else Termination.GAP
    x = row_dual = None
    if result.has_primal_feasible_solution():
        x = np.array(result.variable_values(variables))
    if not task.integer and result.has_dual_feasible_solution():
        row_dual = np.array(result.dual_values(list(model.linear_constraints())))
    bound = float(result.termination.objective_bounds.dual_bound)
    stats = result.solve_stats
    return Answer(
        termination,
        x,
        bound / form.cost_scale + form.offset if math.isfinite(bound) else -math.inf,
        row_dual,
        iterations=int(
            stats.node_count
            if task.integer
            else stats.simplex_iterations + stats.first_order_iterations
        ),
    )


def _proto(form: LinearForm, integer: bool) -> Any:
    """MathOpt's message, filled by whole arrays: expressions in Python take ten times as long."""
    from ortools.math_opt import model_pb2

    columns, rows = form.n_columns, form.matrix.shape[0]
    proto = model_pb2.ModelProto(name="routing")
    variables = proto.variables
    variables.ids.extend(range(columns))
    variables.lower_bounds.extend(np.zeros(columns))
    variables.upper_bounds.extend(np.ones(columns))
    variables.integers.extend([integer] * columns)
    constraints = proto.linear_constraints
    constraints.ids.extend(range(rows))
    constraints.lower_bounds.extend(form.lower)
    constraints.upper_bounds.extend(form.upper)
    entries = form.matrix.tocoo()
    matrix = proto.linear_constraint_matrix
    matrix.row_ids.extend(entries.row)
    matrix.column_ids.extend(entries.col)
    matrix.coefficients.extend(entries.data)
    proto.objective.linear_coefficients.ids.extend(range(columns))
    proto.objective.linear_coefficients.values.extend(form.cost)
    return proto
