"""What one case of a scaling run takes: reads, solves and certificates timed, memory counted."""

import gc
import math
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.bench.common import relative
from dualroute.bench.scale import Case, Run, ScaleRow, empty_row
from dualroute.certificate import certify
from dualroute.instances import continuous, tie_heavy
from dualroute.problem import RoutingProblem
from dualroute.routing import explained
from dualroute.solver import SolveOptions, Solver

_GENERATORS = {"continuous": continuous, "ties": tie_heavy}
_WARM_QUERIES = 20_000
_WARM_SECONDS = 10.0
_READS = 5


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
        empty_row(case),
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
    claimed = relative(max(0.0, value - claim.best_bound), value)
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
