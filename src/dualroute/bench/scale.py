"""How time and memory grow with a table: cases, each run in a process of its own, and the fit."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Literal, TypeAlias, get_args

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats
from dualroute.bench.common import Tell, silent
from dualroute.errors import OptionError
from dualroute.solver import SolveOptions

Kind: TypeAlias = Literal["continuous", "ties"]


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
    return replace(empty_row(case), error=why)


def empty_row(case: Case) -> ScaleRow:
    """A case without figures."""
    return ScaleRow(
        kind=case.kind,
        n_queries=case.n_queries,
        n_models=case.n_models,
        n_limits=_limits_of(case),
        dtype=case.options.dtype,
        order=case.options.order,
        threads=case.options.threads,
    )
