"""Prices at work online: four tables of observed outcomes replayed as streams.

Folds 0 to 6 are the history, 7 to 9 the stream; `retrieval` predicts both, the history out of
fold. Each model takes 1.5 even shares of the stream, and the budget is a quarter of the way from
the least to the most that a plan of the history spends. Needs the tables: set DUALROUTE_DATA to
the folder that holds routellm/, llmrouter_ulab/, zeroeval/ and bfcl_2024_08/ (sources are in
docs/solvers.md).

    python examples/online_rules.py [TABLE ...]
"""

import math
import os
import sys
from pathlib import Path

import numpy as np

from dualroute import (
    Budget,
    Capacity,
    SolveOptions,
    read_outcomes,
    read_queries,
    simulate_stream,
    solve,
)
from dualroute.predictor import cross_predict
from dualroute.predictors.retrieval import Retrieval
from dualroute.rule import whole
from dualroute.simulation import ORDERS, Outage

TABLES = ("routellm", "llmrouter_ulab", "zeroeval", "bfcl_2024_08")
HISTORY_FOLDS = 7
CROWD, DEAR, SEEDS = 1.5, 0.25, 20
OPTIONS = SolveOptions(mip_rel_gap=1e-4, time_limit=20)


def predicted(folder: Path):
    """The stream as predicted and observed, and the history as predicted out of fold."""
    outcomes = read_outcomes(folder / "outcomes.csv.gz")
    described = read_queries(folder / "queries.csv.gz", attributes=["fold"])
    row = {name: i for i, name in enumerate(described.ids)}
    order = [row[name] for name in outcomes.queries]
    later = described.attributes["fold"].astype(int)[order] >= HISTORY_FOLDS
    texts = np.array(described.texts, object)[order]
    known, history = texts[~later].tolist(), outcomes.take(np.flatnonzero(~later))
    told = Retrieval().fit(known, history).predict(texts[later].tolist())
    earlier = cross_predict(Retrieval(), known, history)
    return told, outcomes.take(np.flatnonzero(later)), earlier


def limits_for(history, n: int):
    """A budget and capacities for a stream of ``n`` queries, from the history alone."""
    each = math.ceil(CROWD * n / history.n_models)
    room = [Capacity(each * history.n_queries / n)]
    ends = [
        solve(history, limits=room, options=OPTIONS, minimize="cost"),
        solve(history, limits=room, options=OPTIONS, maximize="quality"),
    ]
    cost, lines = whole(history, "cost"), np.arange(history.n_queries)
    least, most = (float(cost[lines, end.assignment].mean()) for end in ends)
    return [Budget(n * (least + DEAR * (most - least))), Capacity(each)]


def show(result, orders) -> None:
    for order in orders:
        for line in (one for one in result.lines if one.order == order):
            budget, capacity = line.broken
            print(f"{order:14}{line.policy:9}{100 * line.ratio.value:8.2f}"
                  f" [{100 * line.ratio.low:.2f}, {100 * line.ratio.high:.2f}]"
                  f"{100 * line.path[-1]:9.1f}{100 * budget.share:8.0f}"
                  f"{100 * budget.mean:8.2f}{100 * budget.worst:8.2f}{100 * capacity.share:6.0f}"
                  f"{line.refused:8.1f}{100 * line.stopped:8.1f}"
                  f"{line.microseconds[0]:8.0f}{line.microseconds[1]:7.0f}",
                  flush=True)  # fmt: skip


def main() -> None:
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    for table in sys.argv[1:] or TABLES:
        told, seen, history = predicted(Path(os.environ["DUALROUTE_DATA"]) / table)
        limits = limits_for(history, told.n_queries)
        asked = {"maximize": "quality", "limits": limits, "history": history, "options": OPTIONS,
                 "seeds": SEEDS}  # fmt: skip
        result = simulate_stream(told, seen, **asked)
        over = max(one.worst for one in result.offline_broken)
        print(f"\n{table}: {told.n_queries} queries, {told.n_models} models, {SEEDS} streams per "
              f"order; budget {limits[0].total:.4g}, each model takes {limits[1].limit}\n"
              f"plan of all queries on predictions: {100 * result.offline_ratio:.2f} % of the "
              f"certified optimum on the truth, limits broken by {100 * over:.2f} % at most\n"
              f"{'order':14}{'rule':9}{'ratio %':>8} [2.5 %, 97.5 %]   used %broken %  mean %"
              f" worst %cap. % refused stops %  us 50 %  99 %")  # fmt: skip
        show(result, ORDERS)
        plan = solve(told, maximize="quality", limits=limits, options=OPTIONS)
        busiest = told.models[int(np.bincount(plan.assignment).argmax())]
        out = simulate_stream(told, seen, outage=Outage(busiest), orders=["random"], **asked)
        print(f"the busiest model of the plan ({busiest}) is out from 40 to 60 % of the stream:")
        show(out, ["random"])


if __name__ == "__main__":
    main()
