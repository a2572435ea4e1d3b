"""How a general solver becomes one of ours: it answers linear forms, the rest is shared.

A backend is one function or two: one that solves a relaxation and gives duals, one that solves
the integer program. `solve_exactly` asks them, mends what a solver's tolerance broke, and makes a
`Solution` of it, whose claims are then certified like anybody's.
"""

import math
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.linear import Answer, LinearForm, Run, Task, linear_form
from dualroute.problem import Prices, RoutingProblem, lagrangian
from dualroute.rounding import repair, without_prices
from dualroute.solver import (
    Clock,
    Progress,
    Solution,
    SolveOptions,
    Status,
    Termination,
    attempted,
)
from dualroute.worker import Worker

_OPTIMAL = 1e-9
_GRACE = 2.0  # seconds past its limit after which a solver is taken to ignore it


def solve_exactly(
    problem: RoutingProblem,
    options: SolveOptions,
    *,
    name: str,
    relax: Run | None = None,
    search: Run | None = None,
    explain: Run | None = None,
) -> Solution:
    """Solve a problem by a general solver's relaxation, its integer program, or both.

    Parameters
    ----------
    problem, options
        As every solver takes them.
    name
        Of the solver and its variant, for reports.
    relax
        Solves relaxations with duals, which become prices; a relaxed optimum is rounded to a
        routing. Without it the solution has no prices of its own.
    search
        Solves integer programs, from the rounded routing where there is one.
    explain
        Solves relaxations with duals, where `relax` is not given: asked only for weights that
        prove what `search` calls infeasible.
    """

    def attempt(problem: RoutingProblem, options: SolveOptions) -> Solution:
        return _Attempt(problem, options, Clock(options.time_limit)).run(relax, search, explain)

    return replace(attempted(attempt, problem, options), solver=name)


def run_apart(worker: Worker, solver: str, form: LinearForm, task: Task) -> Answer:
    """Solve a form in a worker process, which is killed where it outruns its time or on Ctrl-C.

    Parameters
    ----------
    worker
        Of a module whose ``work((solver, form, task), tell)`` returns an `Answer`, and may tell
        ``(x, objective, bound)`` of better routings on the way, scaled as the form is.
    solver
        The module's name for the solver wanted.

    Returns
    -------
    Answer
        Where the process was killed, the best that it had told.
    """
    x, bound = None, -math.inf

    def heard(told: tuple[Floats | None, float, float]) -> None:
        nonlocal x, bound
        x = told[0] if told[0] is not None else x
        objective, bound = (value / form.cost_scale + form.offset for value in told[1:])
        if task.on_incumbent is not None:
            task.on_incumbent(objective, bound)

    quiet = replace(task, on_incumbent=None, options=replace(task.options, progress=None))
    seconds = task.options.time_limit + _GRACE
    reply = worker.call((solver, form, quiet), seconds=seconds, heard=heard)
    if reply.late or reply.interrupted:
        ended = Termination.INTERRUPTED if reply.interrupted else Termination.TIME_LIMIT
        return Answer(ended, x, bound, interrupted=reply.interrupted)
    answer: Answer = reply.answer
    return answer


def needs(module: str, extra: str) -> None:
    """Raise `ImportError`, saying what to install, if a module is not there; imports nothing."""
    if find_spec(module) is None:
        raise ImportError(f"{module} is not installed; pip install 'dualroute[{extra}]'")


@dataclass(slots=True, eq=False)
class _Attempt:
    """One run; a routing that keeps the target is held from when it is found."""

    problem: RoutingProblem
    options: SolveOptions
    clock: Clock
    incumbent: Ints | None = None
    prices: Prices | None = None
    phases: dict[str, float] = field(default_factory=dict)

    def run(self, relax: Run | None, search: Run | None, explain: Run | None) -> Solution:
        problem, clock = self.problem, self.clock
        start = self.options.checked_start(problem)
        if start is not None and problem.meets_target(start):
            self.incumbent = start
        form = linear_form(problem)
        self.phases["build"] = clock.seconds
        answer, bound = Answer(Termination.COMPLETED), -math.inf
        if relax is not None:
            answer = self._asked("relaxation", relax, form, Task(integer=False))
            if answer.termination is Termination.INFEASIBLE:
                return self._infeasible(answer, relax)
            bound = answer.best_bound
            if answer.row_dual is not None:
                self.prices = form.prices(problem, answer.row_dual)
                self._take(self._rounded(form, answer))
            elif search is not None:
                search = None  # the time is up, or the numbers are beyond the solver
        relaxed = answer
        if search is not None and not (answer.interrupted or clock.expired):
            begun = None if self.incumbent is None else form.columns_of(self.incumbent)
            tell = None if self.options.progress is None else self._report
            task = Task(integer=True, start=begun, on_incumbent=tell)
            answer = self._asked("search", search, form, task)
            self._take(self._kept(form, answer))
            bound = max(bound, answer.best_bound)
            if answer.termination is Termination.INFEASIBLE and self.incumbent is None:
                return self._infeasible(answer, relax or explain)
        return self._solution(answer, bound, relaxed_only=answer is relaxed, wanted=search)

    def _asked(self, phase: str, run: Run, form: LinearForm, task: Task) -> Answer:
        """What a run answers within what is left of the time."""
        began = self.clock.seconds
        answer = run(form, replace(task, options=self.options.after(self.clock.seconds)))
        spent = self.clock.seconds - began - answer.build_seconds
        self.phases[phase] = self.phases.get(phase, 0.0) + spent
        self.phases["build"] += answer.build_seconds
        return answer

    def _solution(
        self, answer: Answer, bound: float, *, relaxed_only: bool, wanted: Run | None
    ) -> Solution:
        status = Status.UNKNOWN
        if self.incumbent is not None:
            value = self.problem.value(self.incumbent)
            bound = min(bound, value)
            optimal = value - bound <= _OPTIMAL * abs(value)
            status = Status.OPTIMAL if optimal else Status.FEASIBLE
        termination = answer.termination
        if answer.interrupted:
            termination = Termination.INTERRUPTED
        elif termination in (Termination.OPTIMAL, Termination.COMPLETED):
            if relaxed_only:
                late = self.clock.expired and wanted is not None
                termination = Termination.TIME_LIMIT if late else Termination.COMPLETED
            elif status is Status.UNKNOWN:  # optimal is a routing that breaks a limit by a hair
                termination = Termination.NUMERICAL
            else:
                optimal = status is Status.OPTIMAL
                termination = Termination.OPTIMAL if optimal else Termination.GAP
        return Solution(
            status=status,
            termination=termination,
            assignment=self.incumbent,
            prices=self.prices,
            best_bound=bound,
            iterations=answer.iterations,
            phases=dict(self.phases),
        )

    def _infeasible(self, claim: Answer, relax: Run | None) -> Solution:
        """Infeasible, with weights that prove it: duals of the least total violation."""
        ray = None
        if relax is not None:
            free = self.problem.without_objective()
            form = linear_form(free)
            answer = self._asked("relaxation", relax, form.elastic(), Task(integer=False))
            if answer.row_dual is not None:
                ray = form.prices(free, answer.row_dual).normalized()
        return Solution(
            status=Status.INFEASIBLE,
            termination=Termination.INFEASIBLE,
            ray=ray,
            best_bound=math.inf,
            iterations=claim.iterations,
            phases=dict(self.phases),
        )

    def _rounded(self, form: LinearForm, relaxed: Answer) -> Ints | None:
        if relaxed.x is None or self.prices is None:
            return None
        base = lagrangian(self.problem, self.prices).assignment
        return repair(self.problem, form.routing(relaxed.x, base), self.prices, self.clock)

    def _kept(self, form: LinearForm, answer: Answer) -> Ints | None:
        """The solver's routing, mended where its tolerance let a limit break by a hair."""
        if answer.x is None:
            return None
        problem = self.problem
        found = form.routing(answer.x, np.zeros(problem.n_queries, np.intp))
        if problem.meets_target(found):
            return found
        prices = without_prices(problem) if self.prices is None else self.prices
        return repair(problem, found, prices, self.clock)

    def _take(self, routing: Ints | None) -> None:
        """Hold a routing that keeps the target, if it is the best."""
        if routing is None:
            return
        held = self.incumbent
        if held is None or self.problem.value(routing) < self.problem.value(held):
            self.incumbent = routing

    def _report(self, objective: float, bound: float) -> None:
        if self.options.progress is not None:
            line = Progress("branch and cut", objective, bound, self.clock.seconds)
            self.options.progress(line)
