"""Benchmarks: public suites, how time and memory grow with size, predictors, days of replicas."""

from dualroute.bench.host import Machine, machine
from dualroute.bench.planning import PlanCase, PlanRow, bench_plan, measure_plan
from dualroute.bench.prediction import (
    PredictionCase,
    PredictionRow,
    bench_predict,
    measure_prediction,
)
from dualroute.bench.report import plain, plan_report, prediction_report, scale_report, suite_report
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
    "Growth",
    "Machine",
    "PlanCase",
    "PlanRow",
    "PredictionCase",
    "PredictionRow",
    "Run",
    "ScaleOptions",
    "ScaleRow",
    "SuiteRow",
    "SuiteSummary",
    "bench_gap",
    "bench_mmkp",
    "bench_plan",
    "bench_predict",
    "bench_scale",
    "growth",
    "machine",
    "measure",
    "measure_plan",
    "measure_prediction",
    "plain",
    "plan_report",
    "prediction_report",
    "scale_report",
    "suite_report",
    "summary",
]
