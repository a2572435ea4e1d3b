"""Benchmarks as tables for people, and as plain values for JSON."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from dualroute.bench.prediction import PredictionRow
from dualroute.bench.scale import Growth, ScaleRow, growth
from dualroute.bench.suites import SuiteRow, summary

if TYPE_CHECKING:
    from rich.console import Group

_TELLING_BYTES = 10_000_000


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


def prediction_report(rows: Sequence[PredictionRow]) -> "Group":
    """Predictors for people: a line for each case."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import ruled_table

    table = ruled_table("Simulated texts", ("predictor",), _PREDICTION_HEADINGS)
    for row in rows:
        encoded = row.n_queries / row.encode_seconds
        table.add_row(
            row.predictor,
            f"{row.n_history}",
            f"{row.n_queries} x {row.n_models}",
            f"{row.fit_seconds:.1f}",
            f"{row.n_queries / row.predict_seconds:.0f}",
            "" if math.isnan(encoded) else f"{encoded:.0f}",
            *(
                f"{size / 1e6:.0f}" if size else ""
                for size in (row.vector_bytes, row.fit_bytes, row.predict_bytes)
            ),
        )
    note = "vectors, memory in MB: of the index, and the most used beyond what was there before"
    failed = [Text(f"{row.predictor}, {row.n_history}: {row.error}") for row in rows if row.error]
    return Group(table, Text(note), *failed)


_PREDICTION_HEADINGS = ("history", "asked", "fit, s", "predicted/s", "embedded/s", "vectors",
                        "fit memory", "memory")  # fmt: skip


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
    again = ruled_table("Again, with every limit 1 % looser", ("table",), _AGAIN_HEADINGS)
    for row in rows:
        if row.again:
            name = f"{row.kind} {row.n_queries} x {row.n_models}, K = {row.n_limits}"
            again.add_row(name, *(f"{run.seconds:.3f}" for run in row.again))
    if again.row_count:
        tables.append(again)
    note = "K limits; reads, memory: multiples of one read of the table, and of its size"
    lines = [Text(f"{row.kind}, n = {row.n_queries}: {row.error}") for row in rows if row.error]
    lines += [Text(line) for line in map(_growth_line, growth(rows)) if line]
    return Group(*tables, Text(note), *lines)


_AGAIN_HEADINGS = ("from cold, s", "from prices", "and a routing")
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
