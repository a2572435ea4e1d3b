"""Benchmarks: public suites, growth with size, frontiers, plans, policies and predictors."""

from dualroute.bench.frontiers import (
    FrontierCase,
    FrontierRow,
    bench_frontier,
    frontier_bench_report,
    measure_frontier,
)
from dualroute.bench.host import Machine, machine
from dualroute.bench.online import OnlineRow, bench_online, online_report
from dualroute.bench.planning import PlanCase, PlanRow, bench_plan, measure_plan, plan_report
from dualroute.bench.prediction import (
    PredictionCase,
    PredictionRow,
    bench_predict,
    measure_prediction,
)
from dualroute.bench.report import plain, prediction_report, scale_report, suite_report
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
    "OnlineRow",
    "PlanCase",
    "PlanRow",
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
    "bench_online",
    "bench_plan",
    "bench_predict",
    "bench_scale",
    "frontier_bench_report",
    "growth",
    "machine",
    "measure",
    "measure_frontier",
    "measure_plan",
    "measure_prediction",
    "online_report",
    "plain",
    "plan_report",
    "prediction_report",
    "scale_report",
    "suite_report",
    "summary",
]
