"""What a whole certified frontier takes, beside one cold solve of it, on simulated tables."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dualroute import registry
from dualroute.bench.child import in_child
from dualroute.bench.suites import Tell, silent
from dualroute.certificate import certify
from dualroute.errors import OptionError
from dualroute.formulation import Budget, Capacity, Limit, QualityFloor, formulate
from dualroute.frontier import frontier
from dualroute.instances import continuous
from dualroute.outcomes import Outcomes
from dualroute.routing import explained
from dualroute.solver import SolveOptions, Solver

if TYPE_CHECKING:
    from rich.console import Group

SWEEPS = ("quality_floor", "budget", "capacity")
_WARM_QUERIES, _WARM_POINTS = 20_000, 5
_SOLVES = 3


@dataclass(frozen=True, slots=True)
class FrontierCase:
    """Which limit is swept, over which table, at how many points, to which relative gap."""

    sweep: str
    n_queries: int
    n_models: int
    points: int = 50
    gap: float = 1e-4
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what would otherwise fail in a child process."""
        if self.sweep not in SWEEPS:
            raise OptionError(f"no sweep {self.sweep!r}; the sweeps are {', '.join(SWEEPS)}")
        if min(self.n_queries, self.n_models) < 1 or self.points < 2:
            raise OptionError("give at least one query, one model and two points")
        SolveOptions(mip_rel_gap=self.gap, threads=self.threads, seed=self.seed)


@dataclass(frozen=True, slots=True)
class FrontierRow:
    """What a case took; the fields of the case are repeated.

    Attributes
    ----------
    cold_seconds, cold_passes, cold_gap
        Solving the middle point from nothing and certifying it, the median of 3: time, passes
        over the table with the one that certifies, and the gap certified.
    seconds, passes
        The frontier, with finding its range: time, and passes over the table, one for each of
        the prices that are looked at.
    ratio, passes_ratio
        Of the frontier to the cold solve; that of time in processor time, which other processes
        disturb less.
    solved, filled
        Points with a solve of their own, and the others.
    largest_gap
        Certified, over all points.
    error
        Why nothing was measured; empty otherwise.
    """

    sweep: str
    n_queries: int
    n_models: int
    points: int
    gap: float
    threads: int
    seed: int
    cold_seconds: float = math.nan
    cold_passes: float = math.nan
    cold_gap: float = math.nan
    seconds: float = math.nan
    passes: float = math.nan
    ratio: float = math.nan
    passes_ratio: float = math.nan
    solved: int = 0
    filled: int = 0
    largest_gap: float = math.nan
    error: str = ""


def bench_frontier(
    sweeps: Sequence[str] = SWEEPS,
    queries: Sequence[int] = (10**4, 10**5, 10**6),
    n_models: int = 16,
    *,
    points: int = 50,
    gap: float = 1e-4,
    threads: int = 1,
    seed: int = 0,
    tell: Tell = silent,
) -> list[FrontierRow]:
    """Measure a frontier and a cold solve of its middle, each case in a process of its own.

    Parameters
    ----------
    sweeps
        ``quality_floor`` (least cost within capacities), ``budget`` (most quality within them)
        or ``capacity`` (of one model; least cost above a floor, within the others).
    queries, n_models
        Sizes of the simulated tables, see `dualroute.instances.continuous`.
    points, gap
        Of the frontier, and what every point is certified to.
    threads, seed
        Of the solver; the seed also of the tables.
    tell
        Called with a line before and after each case.

    Returns
    -------
    list of FrontierRow
        In the order asked; on Ctrl-C, what was done until then.

    Raises
    ------
    OptionError
        If there is no such sweep, or a number is out of range.
    """
    cases = [
        FrontierCase(sweep, n, n_models, points, gap, threads, seed)
        for n in queries
        for sweep in sweeps
    ]
    rows = []
    for case in cases:
        tell(f"{case.sweep}: {case.points} points, {case.n_queries} queries x {n_models} models")
        try:
            given, why = in_child("frontier", case, threads)
        except KeyboardInterrupt:
            break
        row = FrontierRow(**given) if given else FrontierRow(**asdict(case), error=why)
        tell(
            f"  failed: {why}"
            if why
            else f"  {row.seconds:.1f} s, {row.ratio:.1f} cold solves; gap {row.largest_gap:.1e}"
        )
        rows.append(row)
    return rows


def measure_frontier(case: FrontierCase) -> FrontierRow:
    """One case, in this process."""
    options = SolveOptions(mip_rel_gap=case.gap, threads=case.threads, seed=case.seed)
    small, asked, _ = _asked(case, min(case.n_queries, _WARM_QUERIES))  # compiles
    frontier(small, points=_WARM_POINTS, options=options, compare=False, **asked)
    outcomes, asked, at = _asked(case, case.n_queries)
    before = time.process_time()
    swept = frontier(outcomes, points=case.points, options=options, compare=False, **asked)
    used = time.process_time() - before
    middle = swept.points[len(swept.points) // 2].value
    goal = {name: asked[name] for name in ("minimize", "maximize") if name in asked}
    problem = formulate(outcomes, limits=[*asked["limits"], at(middle)], **goal)
    solver: Solver = registry.create("solvers", "lagrangian")
    taken = []
    for _ in range(_SOLVES):
        started, before = time.perf_counter(), time.process_time()
        claim, _ = explained(problem, solver.solve(problem, options), options)
        certificate = certify(problem, claim, threads=case.threads)
        taken.append((time.perf_counter() - started, time.process_time() - before))
    (seconds, alone), passes = np.median(taken, axis=0).tolist(), claim.iterations + 1.0
    solved = sum(point.solved for point in swept.points)
    return FrontierRow(
        **asdict(case),
        cold_seconds=seconds,
        cold_passes=passes,
        cold_gap=certificate.mip_rel_gap,
        seconds=swept.seconds,
        passes=swept.passes,
        ratio=used / alone,
        passes_ratio=swept.passes / passes,
        solved=solved,
        filled=len(swept.points) - solved,
        largest_gap=swept.largest_gap,
    )


def _asked(case: FrontierCase, n_queries: int) -> tuple[Outcomes, dict[str, Any], Any]:
    """A table, what `frontier` is asked about it, and the swept limit at a value."""
    problem = continuous(n_queries, case.n_models, case.seed).problem
    floor, capacities = problem.rows
    outcomes = Outcomes.from_arrays(problem.objective, -floor.usage)
    room = dict(zip(outcomes.models, capacities.limit.tolist(), strict=True))
    if case.sweep == "quality_floor":
        asked = {"sweep": case.sweep, "minimize": "cost", "limits": [Capacity(room)]}
        return outcomes, asked, lambda value: QualityFloor(mean=value)
    if case.sweep == "budget":
        asked = {"sweep": case.sweep, "maximize": "quality", "limits": [Capacity(room)]}
        return outcomes, asked, Budget
    swept = outcomes.models[min(2, case.n_models - 1)]
    del room[swept]
    limits: list[Limit] = [QualityFloor(mean=-float(floor.limit[0]) / n_queries)]
    if room:
        limits.append(Capacity(room))
    asked = {"sweep": f"capacity:{swept}", "minimize": "cost", "limits": limits}
    return outcomes, asked, lambda value: Capacity({swept: value})


def frontier_bench_report(rows: Sequence[FrontierRow]) -> "Group":
    """Frontiers for people: a line for each case."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import ruled_table

    table = ruled_table("Simulated tables: continuous", ("sweep",), _FRONTIER_HEADINGS)
    for row in rows:
        if row.error:
            continue
        table.add_row(
            row.sweep,
            f"{row.n_queries} x {row.n_models}",
            f"{row.solved + row.filled}",
            f"{row.solved}",
            f"{row.cold_seconds:.2f}",
            f"{row.seconds:.2f}",
            f"{row.ratio:.1f}",
            f"{row.passes_ratio:.1f}",
            f"{row.largest_gap:.1e}",
        )
    note = "ratios: the whole frontier to one cold solve of its middle point, both certified"
    failed = [Text(f"{row.sweep}, {row.n_queries}: {row.error}") for row in rows if row.error]
    return Group(table, Text(note), *failed)


_FRONTIER_HEADINGS = ("table", "points", "solved", "cold, s", "all, s", "ratio", "of passes", "gap")
