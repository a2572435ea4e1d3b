"""Benchmarks: public suites against their best known values, and how time grows with size."""

from dualroute.bench.host import Machine, machine
from dualroute.bench.report import plain, scale_report, suite_report
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
    "Run",
    "ScaleOptions",
    "ScaleRow",
    "SuiteRow",
    "SuiteSummary",
    "bench_gap",
    "bench_mmkp",
    "bench_scale",
    "growth",
    "machine",
    "measure",
    "plain",
    "scale_report",
    "suite_report",
    "summary",
]
