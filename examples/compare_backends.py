"""All backends on real tables, simulated ones and public instances, every claim certified.

Needs the extras of the solvers, and the data: set DUALROUTE_DATA to the folder with zeroeval/,
bfcl_2024_08/, routellm/, llmrouter_ulab/ and gap/ (sources are in docs/solvers.md). Prints a table
for each problem, and a summary. Parts: real, public, simulated.

    python examples/compare_backends.py [--seconds S] [--json FILE] [PART ...]
"""

import argparse
import json
import os
import sys
from pathlib import Path

from real_tables import CASES

from dualroute import (
    Budget,
    Capacity,
    QualityFloor,
    SolveOptions,
    compare,
    formulate,
    read_outcomes,
)
from dualroute.comparison import comparison_report
from dualroute.instances import continuous, read_gap, tie_heavy
from dualroute.report import print_report

SOLVERS = ("lagrangian", "highs", "ortools:cp-sat", "ortools:scip", "ortools:pdlp", "pyomo",
           "cvxpy")  # fmt: skip
GAP = ("gap1-0", "gap4-1", "gap12-2", "a05100", "a20100", "b05100", "b20200", "c05100", "d05100",
       "e05100")  # fmt: skip
SIZES = ((100, 4), (300, 5), (1000, 6), (3000, 8), (10_000, 10))


def real(data):
    for table, floor, budget, capacity, _ in CASES:
        limits = [] if capacity is None else [Capacity(capacity)]
        goal = {"minimize": "cost"} if budget is None else {"maximize": "quality"}
        limits.append(QualityFloor(total=floor) if budget is None else Budget(budget / 1000))
        words = f"floor {floor}" if budget is None else f"budget {budget}"
        name = f"{table}, {words}" + ("" if capacity is None else f", cap {capacity}")
        outcomes = read_outcomes(data / table / "outcomes.csv.gz")
        yield name, formulate(outcomes, **goal, limits=limits)


def public(data):
    for name in GAP:
        path = data / "gap" / "instances" / f"{name}.txt"
        yield f"GAP {name}", read_gap(path)


def simulated(data):
    for n, m in SIZES:
        for seed in (0, 1):
            for make in (continuous, tie_heavy):
                yield f"{make.__name__} {n} x {m}, seed {seed}", make(n, m, seed=seed).problem


PARTS = {"real": real, "public": public, "simulated": simulated}


def main():
    asked = argparse.ArgumentParser()
    asked.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all if not given")
    asked.add_argument("--seconds", type=float, default=10.0)
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    data = Path(os.environ["DUALROUTE_DATA"])
    problems = dict(pair for part in given.part or PARTS for pair in PARTS[part](data))
    options = SolveOptions(time_limit=given.seconds)
    done = compare(problems, SOLVERS, options=options, tell=print)
    print_report(comparison_report(done), width=140)
    print(f"{'':16}{'routed':>8}{'proved':>8}{'gap <= 1e-6':>13}{'seconds':>9}")
    for name in SOLVERS:
        rows = [row for row in done.rows if row.solver == name]
        routed = sum(row.answered for row in rows)
        proved = sum(row.optimal for row in rows)
        near = sum(row.gap <= 1e-6 for row in rows)
        seconds = sum(row.seconds for row in rows if not row.error)
        print(f"{name:16}{routed:8}{proved:8}{near:13}{seconds:9.1f}")
    if given.json:
        given.json.write_text(json.dumps(done.to_dict(), indent=1))


if __name__ == "__main__":
    main()
