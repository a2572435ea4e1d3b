"""Our reconstruction of the optimizer of OmniRouter (Mei et al., arXiv 2502.20576).

Written from the paper's formulation, as its public code holds no such optimizer: every query
takes its argmin at the current multipliers, and the multipliers of quality and of each
capacity move along their violations with an adaptive step. This is no statement about the
authors' own program.
"""

from dataclasses import dataclass, replace

import numpy as np

from dualroute.arrays import Ints
from dualroute.errors import OptionError
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


@dataclass(frozen=True, slots=True)
class Subgradient:
    """Our reconstruction of OmniRouter's optimizer: argmin routing, adaptive multipliers.

    Attributes
    ----------
    iterations
        Most multiplier updates.
    step
        First step, relative to a mean objective per query.
    patience
        Updates without a better bound after which the step is halved.
    mend
        Mend the limits of the last routing when no iterate keeps them all; without it the
        scheme as published may return nothing.
    """

    iterations: int = 300
    step: float = 0.3
    patience: int = 20
    mend: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.iterations < 1 or not self.step > 0 or self.patience < 1:
            raise OptionError("iterations and patience are at least 1 and step above 0")

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        """Update the multipliers within the options; the best bound's prices are claimed."""
        return replace(attempted(self._solve, problem, options), solver="subgradient")

    def _solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        clock = Clock(options.time_limit)
        unit = problem.objective_size * problem.n_queries
        reach = problem.row_size
        vector, step, since = np.zeros(problem.n_rows), self.step, 0
        best_bound, best_prices = -np.inf, Prices.of(problem, vector)
        held: Ints | None = None
        objective = np.inf
        done = 0
        try:
            while done < self.iterations:
                done += 1
                prices = Prices.of(problem, vector)
                point = lagrangian(problem, prices)
                since += 1
                if point.value > best_bound:
                    best_bound, best_prices, since = point.value, prices, 0
                slack = np.concatenate([np.empty(0), *point.slack])
                value = problem.value(point.assignment)
                if value < objective and problem.meets_target(point.assignment):
                    held, objective = point.assignment, value
                    if options.progress is not None:
                        options.progress(
                            Progress("multipliers", objective, best_bound, clock.seconds)
                        )
                if clock.expired or problem.n_rows == 0:
                    break
                if held is not None and options.closed(objective, best_bound):
                    break
                if since >= self.patience:
                    step, since = 0.5 * step, 0
                # Relative violations move relative prices: both are free of units.
                along = slack / reach
                size = float(np.linalg.norm(along)) or 1.0
                vector = np.maximum(vector - step * unit / reach * (along / size), 0.0)
            if held is None and self.mend:
                wish = lagrangian(problem, best_prices).assignment
                held = repair(problem, wish, best_prices, clock)
            termination = Termination.TIME_LIMIT if clock.expired else Termination.COMPLETED
        except KeyboardInterrupt:
            termination = Termination.INTERRUPTED
        return Solution(
            status=Status.UNKNOWN if held is None else Status.FEASIBLE,
            termination=termination,
            assignment=held,
            prices=best_prices,
            best_bound=best_bound,
            iterations=done,
        )
