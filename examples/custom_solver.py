"""A solver of your own: one class with one method, checked in one line.

Registered as an entry point in the group ``dualroute.solvers``, it is found by name everywhere:

    [project.entry-points."dualroute.solvers"]
    cheapest = "my_package:CheapestFirst"
"""

from dataclasses import dataclass

import numpy as np

from dualroute import (
    Prices,
    RoutingProblem,
    Solution,
    SolveOptions,
    Status,
    Termination,
    lagrangian,
)
from dualroute.testing import check_solver


@dataclass(frozen=True)
class CheapestFirst:
    """Every query on its cheapest model, or nothing: right where no limit binds."""

    def solve(self, problem: RoutingProblem, options: SolveOptions) -> Solution:
        options.checked_start(problem)  # a start that does not fit is refused, not ignored
        prices = Prices.of(problem, np.zeros(problem.n_rows))
        point = lagrangian(problem, prices)
        held = point.assignment if problem.keeps_limits(point.assignment) else None
        return Solution(
            status=Status.UNKNOWN if held is None else Status.OPTIMAL,
            termination=Termination.COMPLETED,
            assignment=held,
            prices=prices,
            best_bound=point.value,
            solver="cheapest",
        )


if __name__ == "__main__":
    check_solver(CheapestFirst())
    print("keeps every rule")
