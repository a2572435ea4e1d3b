"""The contract of a solver: it takes a problem and options, and returns a claim.

A claim is checked by `dualroute.certify`, which trusts nothing in it. *What you hold*
(`Status`) is kept apart from *why the search stopped* (`Termination`), so an incumbent found
before a limit is never lost.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dualroute.arrays import Ints
from dualroute.errors import OptionError
from dualroute.problem import Prices, RoutingProblem

if TYPE_CHECKING:
    from dualroute.proof import Proof


class Status(StrEnum):
    """What the solver says it holds."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


class Termination(StrEnum):
    """Why the solver stopped."""

    OPTIMAL = "optimal"
    GAP = "gap_reached"
    COMPLETED = "completed"
    TIME_LIMIT = "time_limit"
    INTERRUPTED = "interrupted"
    INFEASIBLE = "infeasible"
    NUMERICAL = "numerical_trouble"


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of a running search, in minimised objective units.

    Attributes
    ----------
    phase
        What the solver is doing.
    objective, best_bound
        Best routing and best bound so far; ``inf`` and ``-inf`` before there is one.
    seconds
        Since the start.
    """

    phase: str
    objective: float
    best_bound: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class SolveOptions:
    """What every solver understands.

    Attributes
    ----------
    time_limit
        Seconds; what was found by then is returned.
    mip_rel_gap
        Stop once ``objective - best_bound <= mip_rel_gap * abs(objective)``.
    mip_abs_gap
        The same in objective units; either suffices.
    seed
        Same seed, same answer (time limits apart).
    threads
        Most threads to use.
    start
        A routing to start from, shape ``(n,)``; it need not keep the limits.
    prices
        Prices to start from, as an earlier solve of a like problem left them; one array per
        family of limits. Solvers without prices have no use for them.
    progress
        Called now and then with a `Progress`.
    """

    time_limit: float = math.inf
    mip_rel_gap: float = 0.0
    mip_abs_gap: float = 0.0
    seed: int = 0
    threads: int = 1
    start: Ints | None = None
    prices: Prices | None = None
    progress: Callable[[Progress], None] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.time_limit > 0:
            raise OptionError(f"time_limit is {self.time_limit}; give seconds above 0")
        if not (0 <= self.mip_rel_gap < math.inf and 0 <= self.mip_abs_gap < math.inf):
            raise OptionError("mip_rel_gap and mip_abs_gap are finite and at least 0")
        if self.threads < 1:
            raise OptionError(f"threads is {self.threads}; give at least 1")
        if self.seed < 0:
            raise OptionError(f"seed is {self.seed}; give a number of at least 0")

    def after(self, seconds: float) -> "SolveOptions":
        """The options for what is left when some of the time is used."""
        return replace(self, time_limit=max(self.time_limit - seconds, 1e-3))

    def closed(self, objective: float, bound: float) -> bool:
        """Whether the gap asked for is reached."""
        gap = objective - bound
        return gap <= max(self.mip_abs_gap, self.mip_rel_gap * abs(objective))

    def checked_start(self, problem: RoutingProblem) -> Ints | None:
        """The start, if one is given and it fits the problem.

        Raises
        ------
        ProblemError
            If it has the wrong length or names a model that is not there.
        """
        if self.start is not None:
            problem.check_routing(self.start, "start")
        return self.start

    def checked_prices(self, problem: RoutingProblem) -> Prices | None:
        """The prices to start from, if any are given and they fit the problem.

        Raises
        ------
        ProblemError
            If they disagree with the limits in number or shape, or one is negative.
        """
        if self.prices is not None:
            self.prices.check(problem)
        return self.prices


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """What a solver claims; nothing in it is proved until `certify` has looked.

    Attributes
    ----------
    status
        What it says it holds.
    termination
        Why it stopped.
    assignment
        Model index per query, shape ``(n,)``; None if no routing was found.
    prices
        Prices whose Lagrangian is the bound to certify; None if the solver has none.
    ray
        Weights of the limits that prove infeasibility, if it has them.
    best_bound
        Claimed lower bound on the (minimised) objective; ``-inf`` if none.
    solver
        Its registered name, and variant.
    seconds
        Wall time.
    iterations
        Passes, nodes or steps: whatever the solver counts.
    phases
        Seconds by phase of the search, where the solver tells.
    proof
        A tree of prices that claims a better bound than the prices alone have.
    """

    status: Status
    termination: Termination
    assignment: Ints | None = None
    prices: Prices | None = None
    ray: Prices | None = None
    best_bound: float = -math.inf
    solver: str = ""
    seconds: float = 0.0
    iterations: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)
    proof: "Proof | None" = None


@runtime_checkable
class Solver(Protocol):
    """A frozen dataclass of its own options with one method.

    Every registered solver passes `dualroute.testing.check_solver`.
    """

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; the problem is never written to."""
        ...


def for_many(solver: Solver) -> Solver:
    """The solver, set up for many solves in one go: loading compiled code is then repaid."""
    if getattr(solver, "compiled", True) is not None:
        return solver
    frozen: Any = solver  # every registered solver is a dataclass
    changed: Solver = replace(frozen, compiled=True)
    return changed


@dataclass(frozen=True, slots=True)
class Clock:
    """Time since a solve started, and what is left of its limit."""

    time_limit: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self.time_limit - self.seconds)

    @property
    def expired(self) -> bool:
        """Whether the limit has passed."""
        return self.seconds >= self.time_limit


def attempted(
    attempt: Callable[[RoutingProblem, SolveOptions], Solution],
    problem: RoutingProblem,
    options: SolveOptions,
) -> Solution:
    """Run a search with the fallbacks that every solver owes.

    Where the limits as stated contradict each other, the tolerance may forgive it: the search
    is run again on the widened limits, and a proof for those is one for all. A start that keeps
    the limits within tolerance is never lost, nor on Ctrl-C.
    """
    clock = Clock(options.time_limit)
    start = options.checked_start(problem)
    try:
        solution = attempt(problem, options)
        if solution.status is Status.INFEASIBLE and problem.tolerance > 0:
            again = attempt(problem.widened(), options.after(clock.seconds))
            if again.assignment is not None or again.status is Status.INFEASIBLE:
                solution = replace(again, ray=again.ray or solution.ray)
    except KeyboardInterrupt:
        solution = Solution(Status.UNKNOWN, Termination.INTERRUPTED)
    if solution.assignment is None and start is not None and problem.keeps_limits(start):
        stopped = solution.termination
        return Solution(
            status=Status.FEASIBLE,
            termination=Termination.COMPLETED if stopped is Termination.INFEASIBLE else stopped,
            assignment=start,
            prices=solution.prices,
            solver=solution.solver,
            seconds=clock.seconds,
            iterations=solution.iterations,
        )
    return replace(solution, seconds=clock.seconds)
