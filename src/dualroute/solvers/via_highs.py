"""HiGHS: the exact solver that is always there; linear relaxation for prices, then the MILP."""

import math
from dataclasses import dataclass, replace

import numpy as np

from dualroute.arrays import Ints
from dualroute.errors import OptionError
from dualroute.highs import HighsAnswer, run_highs
from dualroute.linear import LinearForm, linear_form
from dualroute.problem import Prices, RoutingProblem, lagrangian
from dualroute.rounding import repair
from dualroute.solver import (
    Clock,
    Progress,
    Solution,
    SolveOptions,
    Status,
    Termination,
    attempted,
)

_OPTIMAL = 1e-9
_ALGORITHMS = ("choose", "simplex", "ipx", "pdlp")


@dataclass(frozen=True, slots=True)
class Highs:
    """HiGHS on the whole table: the relaxation gives prices, branch-and-cut the routing.

    Attributes
    ----------
    mode
        ``"mip"``, or ``"lp"`` to stop after the relaxation and round it.
    algorithm
        How HiGHS solves the relaxation: ``choose``, ``simplex``, ``ipx`` or ``pdlp``.
    """

    mode: str = "mip"
    algorithm: str = "choose"

    def __post_init__(self) -> None:
        """Check the names."""
        if self.mode not in ("mip", "lp"):
            raise OptionError(f"mode is {self.mode!r}; give 'mip' or 'lp'")
        if self.algorithm not in _ALGORITHMS:
            raise OptionError(f"algorithm is {self.algorithm!r}; one of {', '.join(_ALGORITHMS)}")

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; prices come from the relaxation's duals."""
        solution = attempted(self._solve, problem, options)
        return replace(solution, solver=self._name)

    @property
    def _name(self) -> str:
        return "highs" if self.mode == "mip" else "highs (lp)"

    def _solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        clock = Clock(options.time_limit)
        start = options.checked_start(problem)
        form = linear_form(problem)
        relaxed = run_highs(
            form,
            integer=False,
            time_limit=clock.left,
            seed=options.seed,
            threads=options.threads,
            algorithm=self.algorithm,
        )
        if relaxed.termination is Termination.INFEASIBLE:
            return Solution(
                status=Status.INFEASIBLE,
                termination=Termination.INFEASIBLE,
                ray=_ray(problem, options, clock),
                best_bound=math.inf,
                iterations=relaxed.iterations,
            )
        prices, answer = None, relaxed
        incumbent = start if start is not None and problem.meets_target(start) else None
        if relaxed.row_dual is not None:
            prices = form.prices(problem, relaxed.row_dual)
            incumbent = _better(problem, incumbent, _rounded(problem, form, relaxed, prices, clock))
            if self.mode == "mip" and not (relaxed.interrupted or clock.expired):
                answer = _branch(form, incumbent, options, clock)
                found = _kept(problem, form, answer, prices, clock)
                incumbent = _better(problem, incumbent, found)
        bound = max(answer.best_bound, relaxed.best_bound)
        status = Status.UNKNOWN
        if incumbent is not None:
            value = problem.value(incumbent)
            bound = min(bound, value)
            optimal = value - bound <= _OPTIMAL * abs(value)
            status = Status.OPTIMAL if optimal else Status.FEASIBLE
        elif answer.termination is Termination.INFEASIBLE:
            status, bound = Status.INFEASIBLE, math.inf
        return Solution(
            status=status,
            termination=self._stopped(status, relaxed, answer, clock),
            assignment=incumbent,
            prices=prices,
            best_bound=bound,
            iterations=answer.iterations,
        )

    def _stopped(
        self, status: Status, relaxed: HighsAnswer, answer: HighsAnswer, clock: Clock
    ) -> Termination:
        if relaxed.interrupted or answer.interrupted:
            return Termination.INTERRUPTED
        if answer.termination is not Termination.OPTIMAL:
            return answer.termination
        if answer is relaxed:
            late = clock.expired and self.mode == "mip"
            return Termination.TIME_LIMIT if late else Termination.COMPLETED
        if status is Status.UNKNOWN:  # optimal is a routing that breaks a limit by a hair
            return Termination.NUMERICAL
        return Termination.OPTIMAL if status is Status.OPTIMAL else Termination.GAP


def _branch(
    form: LinearForm, incumbent: Ints | None, options: SolveOptions, clock: Clock
) -> HighsAnswer:
    tell = options.progress

    def report(objective: float, bound: float) -> None:
        if tell is not None:
            tell(Progress("branch and cut", objective, bound, clock.seconds))

    return run_highs(
        form,
        integer=True,
        time_limit=clock.left,
        mip_rel_gap=options.mip_rel_gap,
        mip_abs_gap=options.mip_abs_gap,
        seed=options.seed,
        threads=options.threads,
        start=None if incumbent is None else form.columns_of(incumbent),
        on_incumbent=report if tell is not None else None,
    )


def _kept(
    problem: RoutingProblem, form: LinearForm, answer: HighsAnswer, prices: Prices, clock: Clock
) -> Ints | None:
    """HiGHS's routing, mended where its absolute tolerance let a limit break by a hair."""
    if answer.x is None:
        return None
    found = form.routing(answer.x, np.zeros(problem.n_queries, np.intp))
    return found if problem.meets_target(found) else repair(problem, found, prices, clock)


def _rounded(
    problem: RoutingProblem, form: LinearForm, relaxed: HighsAnswer, prices: Prices, clock: Clock
) -> Ints | None:
    if relaxed.x is None:
        return None
    base = lagrangian(problem, prices).assignment
    return repair(problem, form.routing(relaxed.x, base), prices, clock)


def _better(problem: RoutingProblem, one: Ints | None, other: Ints | None) -> Ints | None:
    held = [routing for routing in (one, other) if routing is not None]
    return min(held, key=problem.value) if held else None


def _ray(problem: RoutingProblem, options: SolveOptions, clock: Clock) -> Prices | None:
    """Weights that prove infeasibility: duals of the program of least total violation."""
    free = problem.without_objective()
    form = linear_form(free)
    answer = run_highs(
        form.elastic(),
        integer=False,
        time_limit=clock.left,
        seed=options.seed,
        threads=options.threads,
    )
    if answer.row_dual is None:
        return None
    return form.prices(free, answer.row_dual).normalized()
