"""How soon a simulated day of replicas is planned, and how well that is proved."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dualroute.bench.child import in_child
from dualroute.bench.suites import Tell, silent
from dualroute.errors import OptionError
from dualroute.formulation import QualityFloor
from dualroute.outcomes import Outcomes
from dualroute.planning import Replicas, Traffic, plan_replicas
from dualroute.solver import SolveOptions

if TYPE_CHECKING:
    from rich.console import Group

_WARM_QUERIES = 12_000  # from some 8,000 on the passes over long tables are compiled
_GPUS = 60.0
_FLOOR = 0.75


@dataclass(frozen=True, slots=True)
class PlanCase:
    """Mean queries of a period, periods, models, whether counts are constant, and what is asked."""

    n_queries: int
    n_periods: int = 24
    n_models: int = 8
    constant: bool = False
    mip_rel_gap: float = 1e-3
    time_limit: float = 60.0
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what would otherwise fail in a child process."""
        if min(self.n_queries, self.n_periods, self.n_models) < 1:
            raise OptionError("give at least one query, one period and one model")
        SolveOptions(self.time_limit, self.mip_rel_gap, seed=self.seed, threads=self.threads)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What a case took.

    Attributes
    ----------
    case
        As asked.
    seconds, processor_seconds
        Wall time of planning, and what all threads worked meanwhile: on a machine that is
        shared, the second says more.
    gap
        Certified, relative; infinite without counts.
    objective, certified_bound
        What the gap is between.
    evaluations, nodes
        Counts whose routing problems were bounded, and boxes of the proof.
    error
        Why nothing was measured; empty otherwise.
    """

    case: PlanCase
    seconds: float = math.nan
    processor_seconds: float = math.nan
    gap: float = math.nan
    objective: float = math.nan
    certified_bound: float = math.nan
    evaluations: int = 0
    nodes: int = 0
    error: str = ""

    @property
    def reached(self) -> bool:
        """Whether the gap asked for is proved."""
        return self.gap <= self.case.mip_rel_gap


def bench_plan(cases: Sequence[PlanCase], *, tell: Tell = silent) -> list[PlanRow]:
    """Plan simulated days, each in a process of its own.

    Parameters
    ----------
    cases
        What to plan.
    tell
        Called with a line before and after each case.

    Returns
    -------
    list of PlanRow
        In the order asked; on Ctrl-C, what was done until then.
    """
    rows = []
    for case in cases:
        counts = "the same counts" if case.constant else "counts of each period's own"
        tell(f"{case.n_periods} periods x {case.n_queries} queries x {case.n_models}, {counts}")
        try:
            given, why = in_child("plan", case, case.threads)
        except KeyboardInterrupt:
            break
        row = PlanRow(**((given or {"error": why}) | {"case": case}))
        tell(f"  failed: {why}" if why else f"  gap {row.gap:.1e} in {row.seconds:.1f} s")
        rows.append(row)
    return rows


def measure_plan(case: PlanCase) -> PlanRow:
    """One case, in this process; compiled code is loaded before the clock runs."""
    limits = [QualityFloor(mean=_FLOOR)]
    for n_queries in (50, min(_WARM_QUERIES, case.n_queries)):
        small = PlanCase(n_queries, 2, case.n_models)
        plan_replicas(
            *simulated_day(small), limits=limits, gpus=_GPUS, options=SolveOptions(60.0, 0.01)
        )
    traffic, replicas = simulated_day(case)
    options = SolveOptions(case.time_limit, case.mip_rel_gap, seed=case.seed, threads=case.threads)
    started, worked = time.perf_counter(), time.process_time()
    plan = plan_replicas(
        traffic, replicas, limits=limits, gpus=_GPUS, constant=case.constant, options=options
    )
    return PlanRow(
        case=case,
        seconds=time.perf_counter() - started,
        processor_seconds=time.process_time() - worked,
        gap=plan.gap,
        objective=plan.objective,
        certified_bound=plan.certified_bound,
        evaluations=plan.evaluations,
        nodes=plan.nodes,
    )


def simulated_day(case: PlanCase) -> tuple[list[Traffic], list[Replicas]]:
    """Periods between 0.4 and 1.6 of the mean, and hosted models of rising ability and price.

    Quality is a logistic function of a model's ability less a query's hardness, cost lognormal
    around the model's price; a replica serves a tenth of a mean period. All of it is simulated.
    """
    draw, m = np.random.default_rng(case.seed), case.n_models
    names = tuple(f"model {j + 1}" for j in range(m))
    ability, price = np.linspace(-0.5, 2.5, m), 1e-4 * 1.8 ** np.arange(m)
    traffic = []
    for period in range(case.n_periods):
        n = max(1, int(case.n_queries * (1 + 0.6 * math.sin(2 * math.pi * (period - 8) / 24))))
        hardness = draw.normal(0.0, 1.2, (n, 1)) + draw.normal(0.0, 0.5, (n, m))
        quality = 1 / (1 + np.exp(hardness - ability))
        cost = price * draw.lognormal(0.0, 0.7, (n, 1)) * draw.lognormal(0.0, 0.15, (n, m))
        grids = {"quality": quality.astype(np.float32), "cost": cost.astype(np.float32)}
        traffic.append(Traffic(f"{period:02}", Outcomes(names, grids)))
    size = max(1.0, case.n_queries / 10)
    replicas = [
        Replicas(name, size=size, price=2e-5 * size * 1.6**j, most=30, gpus=1 + j // 3)
        for j, name in enumerate(names)
    ]
    return traffic, replicas


def plan_report(rows: Sequence[PlanRow]) -> "Group":
    """Planned days for people: a line for each case."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import ruled_table

    table = ruled_table(
        "Simulated days of replicas", ("periods x queries x models",), _PLAN_HEADINGS
    )
    for row in rows:
        case = row.case
        name = f"{case.n_periods} x {case.n_queries} x {case.n_models}"
        if row.error:
            table.add_row(name, "failed")
            continue
        table.add_row(
            name,
            "the same" if case.constant else "own",
            f"{case.mip_rel_gap:.0e}",
            f"{row.gap:.1e}",
            f"{row.seconds:.1f}",
            f"{row.processor_seconds:.1f}",
            str(row.evaluations),
            str(row.nodes),
        )
    failed = [Text(f"{row.case.n_queries} queries: {row.error}") for row in rows if row.error]
    return Group(table, *failed)


_PLAN_HEADINGS = ("counts", "asked", "gap", "seconds", "processor, s", "bounded", "boxes")
