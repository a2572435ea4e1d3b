"""How time and memory grow with size, on simulated tables."""

import gc
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats
from dualroute.bench.child import in_child
from dualroute.bench.suites import Tell, relative, silent
from dualroute.certificate import certify
from dualroute.errors import OptionError
from dualroute.instances import continuous, tie_heavy
from dualroute.memory import peak_bytes, start_of_peak
from dualroute.problem import RoutingProblem
from dualroute.routing import explained
from dualroute.solver import Solution, SolveOptions, Solver

Kind: TypeAlias = Literal["continuous", "ties"]

_GENERATORS = {"continuous": continuous, "ties": tie_heavy}
_WARM_QUERIES = 20_000
_WARM_SECONDS = 10.0
_READS = 5
_LOOSER = 0.01  # of each limit


@dataclass(frozen=True, slots=True)
class ScaleOptions:
    """What all cases of a scaling run share.

    Attributes
    ----------
    solver
        A registered name.
    gaps
        Relative gaps to solve to, each from cold.
    time_limit
        Seconds for each of these.
    threads, seed
        Of the solver; the seed also of the tables.
    dtype, order
        ``float32`` or ``float64``; ``C`` (query by query) or ``F`` (model by model).
    highs_pairs
        HiGHS solves tables of at most so many pairs too, to the first of `gaps`; 0 for none.
    highs_time_limit
        Seconds for that.
    """

    solver: str = "lagrangian"
    gaps: tuple[float, ...] = (1e-6, 1e-9)
    time_limit: float = 60.0
    threads: int = 1
    seed: int = 0
    dtype: str = "float32"
    order: Literal["C", "F"] = "C"
    highs_pairs: int = 200_000
    highs_time_limit: float = 30.0

    def __post_init__(self) -> None:
        """Check what would otherwise fail in every case."""
        if self.dtype not in ("float32", "float64") or self.order not in ("C", "F"):
            raise OptionError(
                f"dtype {self.dtype!r}, order {self.order!r}; give float32 or float64, and C or F"
            )
        if not self.gaps or self.highs_pairs < 0:
            raise OptionError("give at least one gap, and at least 0 pairs for HiGHS")
        for gap in self.gaps:
            SolveOptions(self.time_limit, gap, threads=self.threads, seed=self.seed)
        SolveOptions(self.highs_time_limit)


@dataclass(frozen=True, slots=True)
class Case:
    """One size: which table, and how it is solved; `n_limits` as in `continuous`."""

    kind: Kind
    n_queries: int
    n_models: int
    n_limits: int | None = None
    options: ScaleOptions = field(default_factory=ScaleOptions)


@dataclass(frozen=True, slots=True)
class Run:
    """One solve of one table.

    Attributes
    ----------
    solver, gap_asked
        Who, and the relative gap it was to reach.
    seconds, reads
        Of the search: wall time, and as a multiple of one plain read of the table.
    certify_seconds
        Of the certificate.
    gap, best_gap
        Certified, and as the solver claims it; relative to the objective.
    objective
        Of the routing; NaN without one.
    status, termination
        What the solver says it holds, and why it stopped.
    iterations
        Passes, or what the solver counts.
    phases
        Seconds by phase, where the solver tells.
    start
        What it was given to start from: ``cold`` for nothing, ``prices``, or ``prices, routing``.
    """

    solver: str
    gap_asked: float
    seconds: float
    reads: float
    certify_seconds: float
    gap: float
    best_gap: float
    objective: float
    status: str
    termination: str
    iterations: int
    phases: dict[str, float]
    start: str = "cold"


@dataclass(frozen=True, slots=True)
class ScaleRow:
    """One case, solved in a process of its own.

    Attributes
    ----------
    kind, n_queries, n_models, n_limits, dtype, order, threads
        What was solved; `n_limits` counts all pools.
    table_bytes
        Objective, usage and pools of all limits.
    read_seconds
        One sum over every array of ``(n, m)``, on one thread; the median of 5.
    compile_seconds
        What the first solve of a small table took longer than the second.
    peak_memory
        Most memory in use while the table was made, solved and certified, above what was in use
        before, as a multiple of `table_bytes`; NaN where the system does not tell.
    runs
        One for each gap asked.
    again
        The same table with every limit looser by a hundredth, to the first gap: from cold, from
        the prices of the first run, and from its prices and routing.
    highs
        HiGHS on the same table; None where it is too large.
    highs_ratio
        Seconds of HiGHS over seconds of the first run.
    error
        Why there is no run, where the process failed.
    """

    kind: str
    n_queries: int
    n_models: int
    n_limits: int
    dtype: str
    order: str
    threads: int
    table_bytes: int = 0
    read_seconds: float = math.nan
    compile_seconds: float = math.nan
    peak_memory: float = math.nan
    runs: tuple[Run, ...] = ()
    again: tuple[Run, ...] = ()
    highs: Run | None = None
    highs_ratio: float = math.nan
    error: str = ""

    @property
    def answered(self) -> bool:
        """Whether every run found a routing."""
        return bool(self.runs) and not any(math.isnan(run.objective) for run in self.runs)


@dataclass(frozen=True, slots=True)
class Growth:
    """Fitted growth of time: proportional to ``n**in_queries * m**in_models``.

    Attributes
    ----------
    kind, gap_asked
        Of which runs.
    runs
        How many reached their gap, by the solver's word, and count.
    in_queries, in_models, in_limits
        Exponents by least squares on logarithms; NaN where the runs do not tell.
    """

    kind: str
    gap_asked: float
    runs: int
    in_queries: float
    in_models: float
    in_limits: float


def bench_scale(
    queries: Sequence[int] = (10**3, 10**4, 10**5, 10**6),
    models: Sequence[int] = (16,),
    kinds: Sequence[Kind] = ("continuous", "ties"),
    limits: Sequence[int | None] = (None,),
    options: ScaleOptions | None = None,
    tell: Tell = silent,
) -> list[ScaleRow]:
    """Solve simulated tables of growing size, each in a process of its own.

    Parameters
    ----------
    queries, models, kinds, limits
        Every combination is a case; limits None means ``m + 1``.
    options
        What all cases share.
    tell
        Called with a line before and after every case.

    Returns
    -------
    list of ScaleRow
        Smallest tables first within a kind; on Ctrl-C, what was done until then.

    Raises
    ------
    OptionError
        If a size, a kind or an option is out of range.
    """
    options = options or ScaleOptions()
    registry.create("solvers", options.solver)
    strange = [kind for kind in kinds if kind not in get_args(Kind)]
    if strange:
        raise OptionError(f"no kind {strange[0]!r}; the kinds are {', '.join(get_args(Kind))}")
    if min(*queries, *models, *(k or 1 for k in limits), 1) < 1:
        raise OptionError("queries, models and limits are at least 1")
    ordered = product(kinds, limits, sorted(models), sorted(queries))
    rows: list[ScaleRow] = []
    for kind, n_limits, n_models, n_queries in ordered:
        case = Case(kind, n_queries, n_models, n_limits, options)
        tell(f"{kind}: {n_queries} queries x {n_models} models, {_limits_of(case)} limits")
        try:
            row = _in_child(case)
        except KeyboardInterrupt:
            break
        rows.append(row)
        for run in (*row.runs, *([row.highs] if row.highs else [])):
            tell(f"  {run.solver}: gap {run.gap:.1e}, {run.seconds:.2f} s, {run.reads:.1f} reads")
        if row.error:
            tell(f"  failed: {row.error}")
    return rows


def growth(rows: Iterable[ScaleRow]) -> list[Growth]:
    """Fit how time grows with queries, models and limits, for each kind and gap."""
    runs = [(row, run) for row in rows for run in row.runs if run.best_gap <= run.gap_asked]
    found = []
    for kind, gap in dict.fromkeys((row.kind, run.gap_asked) for row, run in runs):
        alike = [(r, s.seconds) for r, s in runs if (r.kind, s.gap_asked) == (kind, gap)]
        sizes = [np.log([r.n_queries for r, _ in alike]), np.log([r.n_models for r, _ in alike])]
        # By default the limits follow the models, and then they have no part of their own.
        if len({(r.n_models, r.n_limits) for r, _ in alike}) > len({r.n_models for r, _ in alike}):
            sizes.append(np.log([r.n_limits for r, _ in alike]))
        exponents = _exponents(np.log([seconds for _, seconds in alike]), sizes)
        in_queries, in_models, in_limits = (*exponents, math.nan)[:3]
        found.append(Growth(kind, gap, len(alike), in_queries, in_models, in_limits))
    return found


def _exponents(time: Floats, sizes: list[Floats]) -> list[float]:
    """Slopes of the logarithm of time; NaN for a size that does not vary, or too few runs."""
    varying = [k for k, size in enumerate(sizes) if np.ptp(size) > 0]
    slopes = [math.nan] * len(sizes)
    table = np.column_stack([np.ones_like(time), *(sizes[k] for k in varying)])
    fitted, _, rank, _ = np.linalg.lstsq(table, time, rcond=None)
    if rank == table.shape[1]:
        for k, slope in zip(varying, fitted[1:].tolist(), strict=True):
            slopes[k] = slope
    return slopes


# The child process --------------------------------------------------------------------------


def _limits_of(case: Case) -> int:
    return case.n_models + 1 if case.n_limits is None else case.n_limits


def _in_child(case: Case) -> ScaleRow:
    given, why = in_child("scale", case, case.options.threads)
    if given is None:
        return replace(_blank(case), error=why)
    for name in ("runs", "again"):
        given[name] = tuple(Run(**run) for run in given[name])
    given["highs"] = None if given["highs"] is None else Run(**given["highs"])
    return ScaleRow(**given)


def _blank(case: Case) -> ScaleRow:
    return ScaleRow(
        kind=case.kind,
        n_queries=case.n_queries,
        n_models=case.n_models,
        n_limits=_limits_of(case),
        dtype=case.options.dtype,
        order=case.options.order,
        threads=case.options.threads,
    )


def measure(case: Case) -> ScaleRow:
    """Make the table of a case, solve it and measure; meant for a process of its own."""
    options = case.options
    solver: Solver = registry.create("solvers", options.solver)
    compile_seconds = _warm(case, solver)
    gc.collect()
    before = start_of_peak()
    problem = _table(case, case.n_queries)
    grids = _grids(problem)
    pairs = problem.n_queries * problem.n_models
    read = float(np.median([_timed_read(grids, pairs) for _ in range(_READS)]))
    asked = SolveOptions(options.time_limit, threads=options.threads, seed=options.seed)
    solved = [_run(solver, problem, replace(asked, mip_rel_gap=gap), read) for gap in options.gaps]
    runs, claims = zip(*solved, strict=True)
    table_bytes = sum(grid.nbytes for grid in grids)
    peak = (peak_bytes() - before) / table_bytes
    highs = None
    if pairs <= options.highs_pairs:
        rival: Solver = registry.load("solvers", "highs")()
        limited = replace(asked, time_limit=options.highs_time_limit, mip_rel_gap=options.gaps[0])
        highs, _ = _run(rival, problem, limited, read)
    asked = replace(asked, mip_rel_gap=options.gaps[0])
    again = _again(solver, problem, asked, claims[0], read)
    return replace(
        _blank(case),
        n_limits=problem.n_rows,
        table_bytes=table_bytes,
        read_seconds=read,
        compile_seconds=compile_seconds,
        peak_memory=peak,
        runs=runs,
        again=again,
        highs=highs,
        highs_ratio=highs.seconds / runs[0].seconds if highs else math.nan,
    )


def _table(case: Case, n_queries: int) -> RoutingProblem:
    options = case.options
    return _GENERATORS[case.kind](
        n_queries,
        case.n_models,
        options.seed,
        n_limits=case.n_limits,
        dtype={"float32": np.float32, "float64": np.float64}[options.dtype],
        order=options.order,
    ).problem


def _warm(case: Case, solver: Solver) -> float:
    """Compile: the first solve of a small table, less the time of the second."""
    small = _table(case, min(case.n_queries, _WARM_QUERIES))
    options = SolveOptions(_WARM_SECONDS, case.options.gaps[0], threads=case.options.threads)
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        certify(small, solver.solve(small, options))
        taken.append(time.perf_counter() - started)
    return max(0.0, taken[0] - taken[1])


def _grids(problem: RoutingProblem) -> list[Any]:
    """Every array of the table, each once."""
    grids = [problem.objective, *(g for rows in problem.rows for g in (rows.usage, rows.pool))]
    return list({grid.ctypes.data: grid for grid in grids}.values())


def _timed_read(grids: list[Any], pairs: int) -> float:
    started = time.perf_counter()
    for grid in grids:
        if grid.size == pairs:
            np.sum(grid)
    return time.perf_counter() - started


def _again(
    solver: Solver, problem: RoutingProblem, options: SolveOptions, claim: Solution, read: float
) -> tuple[Run, ...]:
    """A planner's next question, with and without what is known from the last."""
    room = problem.split(problem.limit + _LOOSER * np.abs(problem.limit))
    rows = (replace(r, limit=limit) for r, limit in zip(problem.rows, room, strict=True))
    looser = replace(problem, rows=tuple(rows))
    known = (
        ("cold", options),
        ("prices", replace(options, prices=claim.prices)),
        ("prices, routing", replace(options, prices=claim.prices, start=claim.assignment)),
    )
    return tuple(replace(_run(solver, looser, o, read)[0], start=name) for name, o in known)


def _run(
    solver: Solver, problem: RoutingProblem, options: SolveOptions, read: float
) -> tuple[Run, Solution]:
    started = time.perf_counter()
    claim = solver.solve(problem, options)
    solved = time.perf_counter()
    claim, _ = explained(problem, claim, options)
    ready = time.perf_counter()
    certificate = certify(problem, claim, threads=options.threads)
    done = time.perf_counter()
    value = certificate.objective
    claimed = relative(max(0.0, value - claim.best_bound), value)
    run = Run(
        solver=claim.solver,
        gap_asked=options.mip_rel_gap,
        seconds=solved - started,
        reads=(solved - started) / read,
        certify_seconds=done - ready,
        gap=certificate.mip_rel_gap,
        best_gap=claimed if certificate.feasible else math.inf,
        objective=problem.reported(value) if certificate.feasible else math.nan,
        status=str(claim.status),
        termination=str(claim.termination),
        iterations=claim.iterations,
        phases=dict(claim.phases),
    )
    return run, claim
