"""Benchmarks: public suites against their best known values, and how time grows with size.

``python -m dualroute.bench`` is the child process of `bench_scale`: one case as JSON on standard
input, its row as JSON on standard output. Each case so has memory, compiled kernels and threads
of its own.
"""

import gc
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats
from dualroute.certificate import certify
from dualroute.errors import OptionError
from dualroute.instances import Instance, Suite, continuous, read_suite, tie_heavy
from dualroute.problem import RoutingProblem
from dualroute.routing import explained
from dualroute.solver import SolveOptions, Solver, Status, Termination

if TYPE_CHECKING:
    from rich.console import Group

Tell: TypeAlias = Callable[[str], None]
Kind: TypeAlias = Literal["continuous", "ties"]

_SUITE_OPTIONS = SolveOptions(time_limit=10.0)
_NEAR = 1e-9  # what decimals in a table of best known values may be off
_GENERATORS = {"continuous": continuous, "ties": tie_heavy}
_WARM_QUERIES = 20_000
_WARM_SECONDS = 10.0
_READS = 5
_TELLING_BYTES = 10_000_000


def _silent(_: str) -> None:
    pass


# Public suites ------------------------------------------------------------------------------


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
    tell: Tell = _silent,
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
    tell: Tell = _silent,
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
    chosen: Solver = registry.load("solvers", solver)()
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
        gap_to_best_known=_relative(worse, known),
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


def _relative(difference: float, size: float) -> float:
    if difference == 0 or math.isnan(difference):
        return difference
    return difference / abs(size) if size else math.copysign(math.inf, difference)


# Scaling ------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures were measured, and with what; `commit` only in a checkout."""

    processor: str
    cpus: int
    memory_bytes: int | None
    system: str
    versions: dict[str, str]
    commit: str | None


def bench_scale(
    queries: Sequence[int] = (10**3, 10**4, 10**5, 10**6),
    models: Sequence[int] = (16,),
    kinds: Sequence[Kind] = ("continuous", "ties"),
    limits: Sequence[int | None] = (None,),
    options: ScaleOptions | None = None,
    tell: Tell = _silent,
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
    registry.load("solvers", options.solver)
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


def machine() -> Machine:
    """What runs here: the machine, Python, and the versions that matter."""
    versions = {"python": platform.python_version()}
    for name in ("dualroute", "numpy", "scipy", "numba", "highspy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cpus=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        memory_bytes=_of_system("SC_PAGE_SIZE", "SC_PHYS_PAGES"),
        system=platform.platform(),
        versions=versions,
        commit=_commit(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _of_system(*names: str) -> int | None:
    try:
        return math.prod(os.sysconf(name) for name in names)
    except (AttributeError, OSError, ValueError):
        return None


def _commit() -> str | None:
    """The commit of the checkout that this file belongs to, marked where it has changes."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


# The child process --------------------------------------------------------------------------


def _limits_of(case: Case) -> int:
    return case.n_models + 1 if case.n_limits is None else case.n_limits


def _in_child(case: Case) -> ScaleRow:
    threads = str(case.options.threads)
    pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, "-m", "dualroute.bench"],
        input=json.dumps(asdict(case)),
        env=os.environ | dict.fromkeys(pools, threads),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        given = json.loads(done.stdout)
        given["runs"] = tuple(Run(**run) for run in given["runs"])
        given["highs"] = None if given["highs"] is None else Run(**given["highs"])
        return ScaleRow(**given)
    said = done.stderr.strip().splitlines()
    why = said[-1] if said else f"the process ended with status {done.returncode}"
    if done.returncode < 0:
        why = f"the process was ended by signal {-done.returncode} (out of memory?)"
    return replace(_blank(case), error=why)


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
    solver: Solver = registry.load("solvers", options.solver)()
    compile_seconds = _warm(case, solver)
    gc.collect()
    before = _start_of_peak()
    problem = _table(case, case.n_queries)
    grids = _grids(problem)
    pairs = problem.n_queries * problem.n_models
    read = float(np.median([_timed_read(grids, pairs) for _ in range(_READS)]))
    asked = SolveOptions(options.time_limit, threads=options.threads, seed=options.seed)
    runs = [_run(solver, problem, replace(asked, mip_rel_gap=gap), read) for gap in options.gaps]
    table_bytes = sum(grid.nbytes for grid in grids)
    peak = (_memory("VmHWM") - before) / table_bytes
    highs = None
    if pairs <= options.highs_pairs:
        rival: Solver = registry.load("solvers", "highs")()
        limited = replace(asked, time_limit=options.highs_time_limit, mip_rel_gap=options.gaps[0])
        highs = _run(rival, problem, limited, read)
    return replace(
        _blank(case),
        n_limits=problem.n_rows,
        table_bytes=table_bytes,
        read_seconds=read,
        compile_seconds=compile_seconds,
        peak_memory=peak,
        runs=tuple(runs),
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


def _run(solver: Solver, problem: RoutingProblem, options: SolveOptions, read: float) -> Run:
    started = time.perf_counter()
    claim = solver.solve(problem, options)
    solved = time.perf_counter()
    claim, _ = explained(problem, claim, options)
    ready = time.perf_counter()
    certificate = certify(problem, claim)
    done = time.perf_counter()
    value = certificate.objective
    claimed = _relative(max(0.0, value - claim.best_bound), value)
    return Run(
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


def _start_of_peak() -> float:
    """Memory in use, in bytes, with the record of its peak started again from here.

    The peak of `resource.getrusage` will not do: it begins with that of the parent process.
    """
    with suppress(OSError):  # the peak then counts from the start of the process
        Path("/proc/self/clear_refs").write_text("5", "utf-8")
    return _memory("VmRSS")


def _memory(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return math.nan
    return float(next(line for line in lines if line.startswith(name)).split()[1]) * 1024


def _main() -> None:
    given = json.load(sys.stdin)
    shared = given.pop("options")
    options = ScaleOptions(**{**shared, "gaps": tuple(shared["gaps"])})
    row = measure(Case(**given, options=options))
    sys.stdout.write(json.dumps(asdict(row)))
    sys.stdout.flush()
    os._exit(0)  # a HiGHS that outran its limit would keep the process


# Reports ------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Rows, summaries and machines as plain values for JSON; what is not finite is None."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def suite_report(rows: Sequence[SuiteRow]) -> "Group":
    """A suite for people: a line for each instance, and the summary."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import number, ruled_table

    table = ruled_table(
        "Instances",
        ("instance",),
        ("objective", "best known", "to best", "certified bound", "gap", "seconds"),
    )
    table.add_column("solver's word")
    for row in rows:
        table.add_row(
            row.instance,
            number(row.objective),
            number(row.best_known),
            _percent(row.gap_to_best_known, sign=True),
            number(row.certified_bound),
            _percent(row.gap),
            f"{row.seconds:.2f}",
            row.status,
            style="bold red" if row.bound_valid is False else None,
        )
    said = summary(rows)
    words = (
        f"{said.routed} of {said.instances} routed; gap to best known: mean "
        f"{_percent(said.mean_gap_to_best_known, sign=True)}, largest "
        f"{_percent(said.largest_gap_to_best_known, sign=True)}; {said.improved} better than the "
        f"best known. Bounds on the right side of it: {said.valid_bounds} of {said.bounds}. "
        f"Optimal: {said.proved_optimal} proved, {said.claimed_optimal} claimed. "
        f"{said.seconds:.1f} s in all."
    )
    return Group(table, Text(words))


def scale_report(rows: Sequence[ScaleRow]) -> "Group":
    """A scaling run for people: a line for each solve, and the fitted growth."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import ruled_table

    tables = []
    for kind in dict.fromkeys(row.kind for row in rows):
        table = ruled_table(f"Simulated tables: {kind}", (), _SCALE_HEADINGS)
        for row in rows:
            for cells in _scale_cells(row) if row.kind == kind else ():
                table.add_row(*cells)
        tables.append(table)
    note = "K limits; reads, memory: multiples of one read of the table, and of its size"
    lines = [Text(f"{row.kind}, n = {row.n_queries}: {row.error}") for row in rows if row.error]
    lines += [Text(line) for line in map(_growth_line, growth(rows)) if line]
    return Group(*tables, Text(note), *lines)


_SCALE_HEADINGS = ("n", "m", "K", "asked", "seconds", "reads", "gap", "certify", "passes",
                   "memory", "HiGHS", "its gap", "ratio")  # fmt: skip


def _scale_cells(row: ScaleRow) -> Iterator[tuple[str, ...]]:
    size = (str(row.n_queries), str(row.n_models), str(row.n_limits))
    if row.error:
        yield (*size, "failed")
    for k, run in enumerate(row.runs):
        beside = row.highs if k == 0 else None
        yield (
            *(size if k == 0 else ("", "", "")),
            f"{run.gap_asked:.0e}",
            f"{run.seconds:.3f}",
            f"{run.reads:.1f}",
            f"{run.gap:.1e}",
            f"{run.certify_seconds:.3f}",
            str(run.iterations),
            # Below that the libraries a solver loads weigh more than the table.
            f"{row.peak_memory:.2f}" if row.table_bytes >= _TELLING_BYTES and k == 0 else "",
            f"{beside.seconds:.1f}" if beside else "",
            f"{beside.gap:.1e}" if beside else "",
            f"{row.highs_ratio:.0f}" if beside else "",
        )


def _growth_line(fit: Growth) -> str:
    sizes = (("n", fit.in_queries), ("m", fit.in_models), ("K", fit.in_limits))
    told = [f"{name}^{slope:.2f}" for name, slope in sizes if not math.isnan(slope)]
    if not told:
        return ""
    words = " ".join(told)
    return f"{fit.kind}, to a gap of {fit.gap_asked:.0e}: time grows as {words} ({fit.runs} runs)"


def _percent(value: float, *, sign: bool = False) -> str:
    if math.isnan(value) or math.isinf(value):
        return "-"
    return f"{100 * value:+.4f} %" if sign else f"{100 * value:.4f} %"


if __name__ == "__main__":
    _main()
