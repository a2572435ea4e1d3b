"""Benchmarks: public suites, how time and memory grow with size, frontiers, and predictors."""

from dualroute.bench.frontiers import (
    FrontierCase,
    FrontierRow,
    bench_frontier,
    measure_frontier,
)
from dualroute.bench.host import Machine, machine
from dualroute.bench.prediction import (
    PredictionCase,
    PredictionRow,
    bench_predict,
    measure_prediction,
)
from dualroute.bench.report import (
    frontier_bench_report,
    plain,
    prediction_report,
    scale_report,
    suite_report,
)
from dualroute.bench.scale import (
    Case,
    Growth,
    Run,
    ScaleOptions,
    ScaleRow,
    bench_scale,
    growth,
    measure,
)
from dualroute.bench.suites import SuiteRow, SuiteSummary, bench_gap, bench_mmkp, summary

__all__ = [
    "Case",
    "FrontierCase",
    "FrontierRow",
    "Growth",
    "Machine",
    "PredictionCase",
    "PredictionRow",
    "Run",
    "ScaleOptions",
    "ScaleRow",
    "SuiteRow",
    "SuiteSummary",
    "bench_frontier",
    "bench_gap",
    "bench_mmkp",
    "bench_predict",
    "bench_scale",
    "frontier_bench_report",
    "growth",
    "machine",
    "measure",
    "measure_frontier",
    "measure_prediction",
    "plain",
    "prediction_report",
    "scale_report",
    "suite_report",
    "summary",
]
