"""Greedy: the unlimited best, then the cheapest moves that mend each broken limit."""

from dataclasses import dataclass, replace

from dualroute.problem import RoutingProblem, lagrangian
from dualroute.rounding import improve, repair, without_prices
from dualroute.solver import Clock, Solution, SolveOptions, Status, Termination, attempted


@dataclass(frozen=True, slots=True)
class Greedy:
    """Regret-ordered greedy: cheapest model each, then mend limits at least regret per unit.

    Fast and without a bound of its own; a yardstick for what careful search is worth.
    """

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Search within the options; no prices are claimed."""
        return replace(attempted(self._solve, problem, options), solver="greedy")

    def _solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        clock = Clock(options.time_limit)
        free = without_prices(problem)
        start = options.checked_start(problem)
        wish = lagrangian(problem, free).assignment if start is None else start
        routed = repair(problem, wish, free, clock)
        if routed is not None:
            routed = improve(problem, routed, clock)
        late = clock.expired
        return Solution(
            status=Status.UNKNOWN if routed is None else Status.FEASIBLE,
            termination=Termination.TIME_LIMIT if late else Termination.COMPLETED,
            assignment=routed,
        )
