"""Benchmarks: public suites against their best known values, and how time grows with size.

`suites` runs the first; `scale` the second, each case in a process of its own (``python -m
dualroute.bench``), which `measuring` measures. `host` says where figures come from, and `report`
shows them to people.
"""

from dualroute.bench.host import Machine, machine
from dualroute.bench.measuring import measure
from dualroute.bench.report import plain, scale_report, suite_report
from dualroute.bench.scale import Case, Growth, Run, ScaleOptions, ScaleRow, bench_scale, growth
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
