"""Solvers side by side on the same problems, each in a process of its own, every claim checked.

All get the same problem, options and number of threads. What a first solve costs (imports,
compilation, the start of a solver's process) is paid beforehand on a small problem; building a
model in the solver's own terms is part of the time and shown apart.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dualroute import memory, registry
from dualroute.certificate import certify
from dualroute.errors import OptionError, RoutingError
from dualroute.figures import empty_figure, write_figure
from dualroute.instances import continuous
from dualroute.problem import RoutingProblem
from dualroute.routing import explained
from dualroute.solver import Progress, SolveOptions, Status
from dualroute.worker import Worker, largest_peak

if TYPE_CHECKING:
    from rich.console import Group

GAPS = (1e-3, 1e-4, 1e-6)
_AGREE = 1e-9  # of the objective: optima closer than this are the same
_WARM_QUERIES, _WARM_MODELS = 300, 6
_WARM_SECONDS = 3.0
_PATIENCE = 120.0  # seconds past its limit after which a solver's process is ended
Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every solver on every problem.

    Attributes
    ----------
    rows
        One for each problem, seed and solver, in that order.
    warnings
        What contradicts: optima proved by two solvers that differ, and claims that a certificate
        refutes; one sentence each.
    """

    rows: tuple["Compared", ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        rows = [{k: _plain(v) for k, v in asdict(row).items()} for row in self.rows]
        return {"rows": rows, "warnings": list(self.warnings)}


@dataclass(frozen=True, slots=True)
class Compared:
    """One solve: what was claimed, what is certified of it, and what it took.

    Objectives and bounds are in the user's sense, times in seconds, nan where there is none.

    Attributes
    ----------
    problem, solver, seed
        Which solve it is.
    version
        Of the library that solved.
    n_queries, n_models, n_limits
        The problem's size.
    status, termination
        The solver's word.
    verdict
        Ours.
    objective
        Of the routing, if it keeps every limit; recomputed.
    certified_bound
        Proved by prices or a tree, whoever found them.
    claimed_bound
        The solver's word.
    gap
        Certified, relative to the objective.
    bound_by
        Whose prices prove the bound: the solver's own, or the native dual's where it has none.
    optimal, infeasible
        Whether that is proved.
    refuted
        Claims that do not stand up to a certificate; empty where all do.
    first_feasible
        Until the solver first held a routing, as far as it tells before its end.
    within
        Until it held a routing within 1e-3, 1e-4 and 1e-6 of the best bound that any of the
        solvers certified for this problem.
    seconds, build_seconds
        Of the whole solve; of it, for building the model in the solver's own terms.
    peak_bytes
        By how much the solve raised the memory in use at most, its own processes included.
    trace
        Seconds, objective and bound (minimised, as claimed) whenever the solver told.
    error
        Why there is no answer, else empty.
    """

    problem: str
    solver: str
    seed: int
    n_queries: int
    n_models: int
    n_limits: int
    version: str = ""
    status: str = ""
    termination: str = ""
    verdict: str = ""
    objective: float = math.nan
    certified_bound: float = math.nan
    claimed_bound: float = math.nan
    gap: float = math.nan
    bound_by: str = ""
    optimal: bool = False
    infeasible: bool = False
    refuted: tuple[str, ...] = ()
    first_feasible: float = math.nan
    within: tuple[float, ...] = (math.nan,) * len(GAPS)
    seconds: float = math.nan
    build_seconds: float = math.nan
    peak_bytes: float = math.nan
    trace: tuple[Point, ...] = field(default=(), repr=False)
    error: str = ""

    @property
    def answered(self) -> bool:
        """Whether there is a routing that keeps every limit, or a proof that there is none."""
        return math.isfinite(self.objective) or self.infeasible


def compare(
    problems: Mapping[str, RoutingProblem],
    solvers: Sequence[str],
    *,
    seeds: Sequence[int] = (0,),
    options: SolveOptions | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Solve every problem by every solver, and certify what they say.

    Parameters
    ----------
    problems
        By name.
    solvers
        Registered names, also of variants: ``("lagrangian", "highs", "ortools:scip")``.
    seeds
        Each solver is run once with each.
    options
        Time limit, gaps and threads for all of them.
    tell
        Called with a line for each solve as it ends.

    Returns
    -------
    Comparison
        On Ctrl-C, of the solves that were done.

    Raises
    ------
    OptionError
        If there is no problem, solver or seed, or a solver is not known or not installed.
    """
    if not (problems and solvers and seeds):
        raise OptionError("nothing to compare; give at least one problem, solver and seed")
    for name in solvers:
        registry.create("solvers", name)
    asked = replace(options or SolveOptions(), progress=None)
    workers = {name: Worker(__name__, asked.threads) for name in solvers}
    rows: list[Compared] = []
    try:
        for label, problem in problems.items():
            for seed in seeds:
                for name in solvers:
                    row = _solved(label, problem, name, replace(asked, seed=seed), workers[name])
                    if row is None:
                        return _judged(rows, problems)
                    rows.append(row)
                    tell(_line(row))
    finally:
        for worker in workers.values():
            worker.close()
    return _judged(rows, problems)


def _solved(
    label: str, problem: RoutingProblem, name: str, options: SolveOptions, worker: Worker
) -> Compared | None:
    """One row, its times to gaps still open; None after Ctrl-C."""
    blank = Compared(
        label,
        name,
        options.seed,
        problem.n_queries,
        problem.n_models,
        problem.n_rows,
        version=_version(name),
    )
    try:
        reply = worker.call((name, problem, options), seconds=options.time_limit + _PATIENCE)
    except RoutingError as error:
        return replace(blank, error=str(error))
    if reply.interrupted:
        return None
    if reply.late:
        return replace(blank, error=f"still running {_PATIENCE:g} s past its limit; ended")
    return replace(blank, **reply.answer)


def _version(name: str) -> str:
    made = registry.load("solvers", name.partition(":")[0])
    packages = getattr(made, "packages", ("dualroute",))
    return ", ".join(f"{package} {version(package)}" for package in packages)


# In a solver's process ----------------------------------------------------------------------

_WARM: set[str] = set()


def work(
    request: tuple[str, RoutingProblem, SolveOptions], tell: Callable[[Any], None]
) -> dict[str, Any]:
    """Solve and certify; fields of `Compared`."""
    name, problem, options = request
    solver = registry.create("solvers", name)
    if name not in _WARM:
        size = getattr(solver, "warm_up_queries", _WARM_QUERIES)
        small = continuous(size, _WARM_MODELS).problem
        limited = SolveOptions(_WARM_SECONDS, 1e-4, threads=options.threads)
        certify(small, solver.solve(small, limited))
        _WARM.add(name)
    trace: list[Point] = []

    def hear(line: Progress) -> None:
        trace.append((line.seconds, line.objective, line.best_bound))

    before = memory.start_of_peak()
    largest_peak(forget=True)
    claim = solver.solve(problem, replace(options, progress=hear))
    taken = memory.peak_bytes() - before + largest_peak()
    # The search for prices where a solver has none is not on its clock.
    priced, bound_by = explained(problem, replace(claim, seconds=0.0), options)
    certificate = certify(problem, priced, threads=options.threads)
    if certificate.feasible:
        trace.append((claim.seconds, certificate.objective, certificate.bound))
    told = claim.assignment is not None
    refuted = []
    if told and not certificate.feasible:
        refuted.append("its routing breaks a limit")
    if claim.best_bound > certificate.objective * (
        1 + math.copysign(_AGREE, certificate.objective)
    ):
        refuted.append("its bound is worse than its own routing")
    return {
        "status": str(claim.status),
        "termination": str(claim.termination),
        "verdict": certificate.verdict,
        "objective": problem.reported(certificate.objective) if certificate.feasible else math.nan,
        "certified_bound": problem.reported(certificate.bound),
        "claimed_bound": problem.reported(claim.best_bound),
        "gap": certificate.mip_rel_gap,
        "bound_by": bound_by,
        "optimal": certificate.proved_optimal,
        "infeasible": certificate.infeasible,
        "refuted": tuple(refuted),
        "seconds": claim.seconds,
        "build_seconds": claim.phases.get("build", 0.0),
        "peak_bytes": taken,
        "trace": tuple(trace),
    }


# What they say, against each other ----------------------------------------------------------


def _judged(rows: Sequence[Compared], problems: Mapping[str, RoutingProblem]) -> Comparison:
    judged: list[Compared] = []
    warnings: list[str] = []
    for label, problem in problems.items():
        mine = [row for row in rows if row.problem == label]
        sign = -1.0 if problem.maximize else 1.0
        held = [sign * row.objective for row in mine if math.isfinite(row.objective)]
        bounds = [sign * row.certified_bound for row in mine if math.isfinite(row.certified_bound)]
        best, bound = min(held, default=math.inf), max(bounds, default=-math.inf)
        for row in mine:
            refuted = (*row.refuted, *_refuted(row, sign, best))
            warnings += [f"{label}: {row.solver} (seed {row.seed}): {what}" for what in refuted]
            judged.append(replace(row, refuted=refuted, **_times(row, bound)))
        optima = {row.solver: row.objective for row in mine if row.optimal}
        if optima:
            low, high = min(optima, key=optima.__getitem__), max(optima, key=optima.__getitem__)
            if optima[high] - optima[low] > 2 * _AGREE * abs(optima[high]):
                warnings.append(
                    f"{label}: {low} and {high} both prove an optimum, of {optima[low]!r} and "
                    f"{optima[high]!r}; please report it"
                )
    return Comparison(tuple(judged), tuple(warnings))


def _refuted(row: Compared, sign: float, best: float) -> Iterator[str]:
    """Claims that a routing of another solver contradicts; its value is certified."""
    near = _AGREE * abs(best) if math.isfinite(best) else 0.0
    if row.status == Status.INFEASIBLE and best < math.inf:
        yield "says infeasible, and there is a routing"
    if sign * row.claimed_bound > best + near and row.status != Status.INFEASIBLE:
        yield f"claims a bound of {row.claimed_bound!r}, and {sign * best!r} is reached"
    elif row.status == Status.OPTIMAL and sign * row.objective > best + near:
        yield f"calls {row.objective!r} optimal, and {sign * best!r} is reached"


def _times(row: Compared, bound: float) -> dict[str, Any]:
    """Seconds to a first routing, and to within each gap of a bound."""

    def until(most: float) -> float:
        return next((seconds for seconds, value, _ in row.trace if value <= most), math.nan)

    within = [until(bound + gap * abs(bound)) for gap in GAPS]
    return {"first_feasible": until(1e300), "within": tuple(within)}


# For people ---------------------------------------------------------------------------------


def comparison_report(comparison: Comparison) -> "Group":
    """A line for each solve, and what contradicts."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import number, plain, ruled_table

    tables = []
    for label in dict.fromkeys(row.problem for row in comparison.rows):
        rows = [row for row in comparison.rows if row.problem == label]
        first = rows[0]
        size = f"{first.n_queries} queries x {first.n_models} models, {first.n_limits} limits"
        table = ruled_table(f"{plain(label)}: {size}", ("solver", "status"), _HEADINGS)
        for column in table.columns[:2]:
            column.no_wrap = True
        seeds = len({row.seed for row in rows}) > 1
        for row in rows:
            name = f"{row.solver}, seed {row.seed}" if seeds else row.solver
            if row.error:
                table.add_row(name, Text(plain(row.error)))
                continue
            table.add_row(
                name,
                _word(row),
                number(row.objective),
                number(row.certified_bound) + ("" if row.bound_by == row.solver else "*"),
                f"{row.gap:.1e}" if math.isfinite(row.gap) else "-",
                *map(_seconds, (row.first_feasible, row.within[0], row.within[-1])),
                *map(_seconds, (row.seconds, row.build_seconds)),
                "-" if math.isnan(row.peak_bytes) else f"{row.peak_bytes / 1e6:.0f}",
                style="bold red" if row.refuted else None,
            )
        tables.append(table)
    used = dict.fromkeys(row.version for row in comparison.rows if row.version)
    notes = [
        "Status as certified, or in brackets on the solver's word. first, 1e-3, 1e-6: seconds to a "
        "first routing, and to one within that of the best certified bound, as far as the solver "
        "tells before its end. build: of all seconds, those for the model.",
        "* By prices of the native dual: the solver gives none.",
        "With " + ", ".join(used) + ".",
    ]
    warnings = [Text(f"warning: {plain(line)}", style="bold red") for line in comparison.warnings]
    return Group(*tables, *map(Text, notes), *warnings)


_HEADINGS = ("objective", "certified bound", "gap", "first", "1e-3", "1e-6", "seconds", "build",
             "MB")  # fmt: skip


def _word(row: Compared) -> str:
    if row.refuted:
        return "refuted"
    if row.optimal or row.infeasible:
        return "optimal" if row.optimal else "infeasible"
    word = row.status if row.termination != "time_limit" else f"{row.status}, time"
    return f"({word})"


def _seconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"


def _line(row: Compared) -> str:
    if row.error:
        return f"{row.problem}  {row.solver}: {row.error}"
    gap = f"gap {row.gap:.1e}" if math.isfinite(row.gap) else "no gap"
    return f"{row.problem}  {row.solver}: {row.status}, {gap}, {row.seconds:.2f} s"


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def comparison_csv(comparison: Comparison) -> str:
    """One line for each solve, under the names of `Compared`; the trace is left out."""
    import csv

    written = io.StringIO()
    names = [f.name for f in fields(Compared) if f.name not in ("trace", "within", "refuted")]
    times = [f"within_{gap:.0e}" for gap in GAPS]
    table = csv.writer(written, lineterminator="\n")
    table.writerow([*names, *times, "refuted"])
    for row in comparison.rows:
        values = [getattr(row, name) for name in names] + list(row.within)
        blank = ["" if isinstance(v, float) and not math.isfinite(v) else v for v in values]
        table.writerow([*blank, "; ".join(row.refuted)])
    return written.getvalue()


def plot_comparison(comparison: Comparison, path: str | Path) -> None:
    """Draw how each solver's gap fell over time, one panel for each problem.

    The gap is that of the routing held to the best bound any solver certified for the problem.

    Parameters
    ----------
    path
        ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    OptionError, MissingDependencyError
        As `dualroute.figures.check_figure` does.
    """
    from matplotlib.ticker import NullFormatter

    labels = list(dict.fromkeys(row.problem for row in comparison.rows))
    across = min(len(labels), 3)
    down = math.ceil(len(labels) / across)
    figure = empty_figure(path, 4.6 * across, 3.6 * down + 0.6)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    solvers = list(dict.fromkeys(row.solver for row in comparison.rows))
    for panel, label in zip(panels, labels, strict=False):
        rows = [row for row in comparison.rows if row.problem == label]
        ends = [row.trace[-1] for row in rows if row.trace]
        bound = max((b for *_, b in ends if math.isfinite(b)), default=math.nan)
        for row in rows:
            _draw(panel, row, bound, solvers.index(row.solver))
        panel.set(title=label, xscale="log", yscale="log", xlabel="seconds")
        panel.set_ylabel("gap to the best certified bound")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    for panel in panels[len(labels) :]:
        panel.remove()
    handles = {h.get_label(): h for p in panels[: len(labels)] for h in p.get_lines()}
    named = [(handles[name], name) for name in solvers if name in handles]
    if named:
        figure.legend(
            *zip(*named, strict=True),
            loc="outside lower center",
            ncols=min(len(named), 2 * across + 1),
        )
    write_figure(figure, path)


_SMALLEST_GAP = 1e-12


def _draw(panel: Any, row: Compared, bound: float, number: int) -> None:
    """A staircase from each better routing to the next, ended by a dot."""
    best, seconds, gaps = math.inf, [], []
    for at, value, _ in row.trace:
        if value < best and math.isfinite(value):
            best = value
            seconds.append(max(at, 1e-4))
            gaps.append(max((value - bound) / max(abs(value), 1e-300), _SMALLEST_GAP))
    if not seconds:
        return
    seconds.append(max(row.trace[-1][0], seconds[-1]))
    gaps.append(gaps[-1])
    panel.plot(
        seconds,
        gaps,
        drawstyle="steps-post",
        color=f"C{number % 10}",
        linestyle=("-", "--", ":")[number // 10 % 3],
        marker="o",
        markevery=[-1],
        markersize=4,
        label=row.solver,
    )
