"""Public suites against their best known values."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dualroute import registry
from dualroute.certificate import certify
from dualroute.instances import Instance, Suite, continuous, read_suite
from dualroute.routing import explained
from dualroute.solver import SolveOptions, Solver, Status, Termination

Tell: TypeAlias = Callable[[str], None]

_SUITE_OPTIONS = SolveOptions(time_limit=10.0)
_WARM_SECONDS = 10.0
_NEAR = 1e-9  # what decimals in a table of best known values may be off


def silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class SuiteRow:
    """What a solver did with one instance; values in the user's sense.

    Attributes
    ----------
    instance
        Its name.
    objective
        Of the routing; NaN if none was found that keeps the limits.
    certified_bound, best_bound
        What no routing beats: proved, and as the solver claims it.
    best_known, best_known_status
        From the suite's table.
    gap_to_best_known
        How much worse the routing is, relative to `best_known`; negative for an improvement.
    gap
        Between `objective` and `certified_bound`, relative to the objective.
    seconds
        Of the search, without certifying.
    solver, status, termination
        Who searched, what it says it holds, and why it stopped.
    bound_valid
        Whether `certified_bound` is on the right side of `best_known`; None if that is unknown.
    proved_optimal
        Whether the certified gap is at most 1e-9.
    """

    instance: str
    objective: float
    certified_bound: float
    best_known: float
    gap_to_best_known: float
    gap: float
    seconds: float
    solver: str
    best_bound: float
    status: str
    termination: str
    best_known_status: str
    bound_valid: bool | None
    proved_optimal: bool


@dataclass(frozen=True, slots=True)
class SuiteSummary:
    """A suite in a few numbers.

    Attributes
    ----------
    instances, routed
        How many were tried, and for how many a routing was found.
    mean_gap_to_best_known, largest_gap_to_best_known
        Over those with a routing and a best known value; NaN if there are none.
    improved
        How many routings beat the best known value.
    bounds, valid_bounds
        How many bounds could be compared, and how many are on the right side.
    proved_optimal, claimed_optimal
        By the certificate, and by the solver's word.
    seconds
        In all searches.
    """

    instances: int
    routed: int
    mean_gap_to_best_known: float
    largest_gap_to_best_known: float
    improved: int
    bounds: int
    valid_bounds: int
    proved_optimal: int
    claimed_optimal: int
    seconds: float


def bench_gap(
    directory: str | Path,
    *,
    solver: str = "lagrangian",
    options: SolveOptions = _SUITE_OPTIONS,
    only: str = "*",
    tell: Tell = silent,
) -> list[SuiteRow]:
    """Solve generalized assignment problems and compare with their best known values.

    Parameters
    ----------
    directory
        A suite as `read_suite` reads it.
    solver
        A registered name.
    options
        For each instance; 10 seconds if not given.
    only
        Pattern of the instances wanted.
    tell
        Called with a line after every instance.

    Returns
    -------
    list of SuiteRow
        In the suite's order; where the user interrupts a search, what was done until then.

    Raises
    ------
    RoutingError
        If a file cannot be used; nothing has been solved then.
    """
    return _bench_suite("gap", directory, solver, options, only, tell)


def bench_mmkp(
    directory: str | Path,
    *,
    solver: str = "lagrangian",
    options: SolveOptions = _SUITE_OPTIONS,
    only: str = "*",
    tell: Tell = silent,
) -> list[SuiteRow]:
    """Solve multiple-choice multidimensional knapsack problems likewise; see `bench_gap`."""
    return _bench_suite("mmkp", directory, solver, options, only, tell)


def summary(rows: Iterable[SuiteRow]) -> SuiteSummary:
    """A suite in a few numbers."""
    rows = list(rows)
    gaps = [row.gap_to_best_known for row in rows if not math.isnan(row.gap_to_best_known)]
    return SuiteSummary(
        instances=len(rows),
        routed=sum(not math.isnan(row.objective) for row in rows),
        mean_gap_to_best_known=math.fsum(gaps) / len(gaps) if gaps else math.nan,
        largest_gap_to_best_known=max(gaps, default=math.nan),
        improved=sum(gap < -_NEAR for gap in gaps),
        bounds=sum(row.bound_valid is not None for row in rows),
        valid_bounds=sum(row.bound_valid is True for row in rows),
        proved_optimal=sum(row.proved_optimal for row in rows),
        claimed_optimal=sum(row.status == Status.OPTIMAL for row in rows),
        seconds=math.fsum(row.seconds for row in rows),
    )


def _bench_suite(
    kind: Suite, directory: str | Path, solver: str, options: SolveOptions, only: str, tell: Tell
) -> list[SuiteRow]:
    chosen: Solver = registry.create("solvers", solver)
    instances = read_suite(kind, directory, only)
    chosen.solve(continuous(100, 4).problem, SolveOptions(_WARM_SECONDS))  # compiles
    rows: list[SuiteRow] = []
    for instance in instances:
        row = _suite_row(instance, chosen, options)
        rows.append(row)
        tell(
            f"{len(rows)} of {len(instances)}: {row.instance}  objective {row.objective:.10g}  "
            f"bound {row.certified_bound:.10g}  best known {row.best_known:.10g}  "
            f"{row.seconds:.1f} s"
        )
        if row.termination == Termination.INTERRUPTED:
            break
    return rows


def _suite_row(instance: Instance, solver: Solver, options: SolveOptions) -> SuiteRow:
    problem, known = instance.problem, instance.best_known
    claim, _ = explained(problem, solver.solve(problem, options), options)
    certificate = certify(problem, claim)
    objective = problem.reported(certificate.objective) if certificate.feasible else math.nan
    bound = problem.reported(certificate.bound)
    worse = known - objective if problem.maximize else objective - known
    past = known - bound if problem.maximize else bound - known
    return SuiteRow(
        instance=instance.name,
        objective=objective,
        certified_bound=bound,
        best_known=known,
        gap_to_best_known=relative(worse, known),
        gap=certificate.mip_rel_gap,
        seconds=claim.seconds,
        solver=claim.solver,
        best_bound=problem.reported(claim.best_bound),
        status=str(claim.status),
        termination=str(claim.termination),
        best_known_status=instance.status,
        bound_valid=None if math.isnan(known) else past <= _NEAR * abs(known),
        proved_optimal=certificate.proved_optimal,
    )


def relative(difference: float, size: float) -> float:
    """A difference as a part of a size."""
    if difference == 0 or math.isnan(difference):
        return difference
    return difference / abs(size) if size else math.copysign(math.inf, difference)
