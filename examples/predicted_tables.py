"""Optima on predicted outcomes: folds 0 to 6 of four tables predict folds 7 to 9.

Needs the tables: set DUALROUTE_DATA to the folder that holds zeroeval/, bfcl_2024_08/,
routellm/ and llmrouter_ulab/ (sources are in docs/solvers.md). Money in USD x 1000. Each problem
is solved by the native solver, whose proof is checked, and by HiGHS: two routes to one optimum.

    python examples/predicted_tables.py
"""

import math
import os
import sys
from pathlib import Path

import numpy as np

from dualroute import Capacity, QualityFloor, SolveOptions, read_outcomes, read_queries, solve
from dualroute.predictors.retrieval import Retrieval

TABLES = ("zeroeval", "bfcl_2024_08", "routellm", "llmrouter_ulab")
HISTORY_FOLDS = 7
ALMOST = 0.95  # of the best single model's mean quality: the floor
CROWDED = (None, 3.0, 1.5)  # times the even share: what each model takes


def predicted(folder):
    """Outcomes of the queries of folds 7 to 9, as predicted from the others."""
    outcomes = read_outcomes(folder / "outcomes.csv.gz")
    described = read_queries(folder / "queries.csv.gz", attributes=["fold"])
    row = {name: i for i, name in enumerate(described.ids)}
    order = [row[name] for name in outcomes.queries]
    fold = described.attributes["fold"].astype(int)[order]
    texts = np.array(described.texts, object)[order]
    known = fold < HISTORY_FOLDS
    retrieval = Retrieval().fit(texts[known].tolist(), outcomes.take(np.flatnonzero(known)))
    return retrieval.predict(texts[~known].tolist())


def main() -> None:
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    print(f"{'table':16}{'n':>6}{'floor':>8}{'capacity':>11}{'objective':>13}"
          f"{'gap':>9}{'status':>12}{'seconds':>9}{'HiGHS':>13}{'gap':>9}{'seconds':>9}"
          )  # fmt: skip
    for table in TABLES:
        outcomes = predicted(Path(os.environ["DUALROUTE_DATA"]) / table)
        floor = ALMOST * float(outcomes.column("quality").mean(axis=0).max())
        for crowded in CROWDED:
            limits, words = [QualityFloor(mean=floor)], "none"
            if crowded is not None:
                words = f"{crowded} x even"
                limits.append(Capacity(math.ceil(crowded * outcomes.n_queries / outcomes.n_models)))
            own, other = (
                solve(outcomes, minimize="cost", limits=limits, solver=solver,
                      options=SolveOptions(time_limit=60))
                for solver in ("lagrangian", "highs")
            )  # fmt: skip
            print(f"{table:16}{outcomes.n_queries:6}{floor:8.4f}{words:>11}"
                  f"{1e3 * own.objective:13.6f}{own.certificate.mip_rel_gap:9.1e}"
                  f"{own.status:>12}{own.solution.seconds:9.2f}"
                  f"{1e3 * other.objective:13.6f}{other.certificate.mip_rel_gap:9.1e}"
                  f"{other.solution.seconds:9.2f}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
