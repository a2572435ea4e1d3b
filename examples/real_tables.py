"""Known optima on four tables of observed outcomes, by every solver.

Needs the tables: set DUALROUTE_DATA to the folder that holds zeroeval/, bfcl_2024_08/,
routellm/ and llmrouter_ulab/ (sources are in docs/solvers.md). Money in USD x 1000.

    python examples/real_tables.py [SOLVER ...]
"""

import os
import sys
from pathlib import Path

from dualroute import Budget, Capacity, QualityFloor, SolveOptions, read_outcomes, solve

# table, least total quality (or None), budget, capacity, known optimum
CASES = [
    ("zeroeval", 1965, None, None, 79.406410),
    ("zeroeval", 1965, None, 100, 246.635740),
    ("bfcl_2024_08", 1539, None, None, 99.432800),
    ("bfcl_2024_08", 1539, None, 53, 767.285530),
    ("routellm", 12445, None, None, 2625.378600),
    ("routellm", 12445, None, 10753, 3628.720000),
    ("llmrouter_ulab", 3204.37928, None, 776, 145.019200),
    ("bfcl_2024_08", None, 1499.5572, 53, 1662),
    ("llmrouter_ulab", None, 319.56984, 776, 3874.059022),
]


def main() -> None:
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    data = Path(os.environ["DUALROUTE_DATA"])
    solvers = sys.argv[1:] or ["lagrangian", "highs", "greedy", "lambda", "subgradient"]
    print(f"{'table':16}{'limits':28}{'known':>13} {'solver':12}{'objective':>14}"
          f"{'certified bound':>17}{'gap':>9}{'seconds':>9}")  # fmt: skip
    for table, floor, budget, capacity, known in CASES:
        outcomes = read_outcomes(data / table / "outcomes.csv.gz")
        limits = [] if capacity is None else [Capacity(capacity)]
        words = "" if capacity is None else f", cap {capacity}"
        if floor is not None:
            limits.append(QualityFloor(total=floor))
            direction, unit, words = {"minimize": "cost"}, 1000.0, f"quality >= {floor}{words}"
        else:
            limits.append(Budget(budget / 1000))
            direction, unit, words = {"maximize": "quality"}, 1.0, f"budget {budget}{words}"
        for name in solvers:
            options = SolveOptions(time_limit=120)
            plan = solve(outcomes, **direction, limits=limits, solver=name, options=options)
            print(f"{table:16}{words:28}{known:13.6f} {name:12}{plan.objective * unit:14.6f}"
                  f"{plan.certified_bound * unit:17.6f}{plan.certificate.mip_rel_gap:9.1e}"
                  f"{plan.solution.seconds:9.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
