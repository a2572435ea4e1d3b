"""Prices at work online: four tables of observed outcomes replayed as streams.

Folds 0 to 6 are the history, 7 to 9 the stream; `retrieval` predicts both, the history out of
fold. Each model takes 1.5 even shares of the stream, and the budget is a quarter of the way from
the least to the most that a plan of the history spends. Needs the tables: set DUALROUTE_DATA to
the folder that holds routellm/, llmrouter_ulab/, zeroeval/ and bfcl_2024_08/ (sources are in
docs/solvers.md).

    python examples/online_rules.py [TABLE ...] [--streams N] [--floor]

With --floor the cost is minimised instead, under a quality floor halfway between the cheapest
plan of the history and the best.
"""

import argparse
import math
import os
import sys
from pathlib import Path

import numpy as np

from dualroute import (
    Budget,
    Capacity,
    QualityFloor,
    SolveOptions,
    read_outcomes,
    read_queries,
    simulate_stream,
    solve,
)
from dualroute.contenders import FixedPrices, Mirror
from dualroute.predictor import cross_predict
from dualroute.predictors.retrieval import Retrieval
from dualroute.rule import whole
from dualroute.simulation import ORDERS, Outage

TABLES = ("routellm", "llmrouter_ulab", "zeroeval", "bfcl_2024_08")
HISTORY_FOLDS = 7
CROWD, DEAR, HIGH = 1.5, 0.25, 0.5
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


def limits_for(history, n: int, *, floor: bool = False):
    """A budget or floor, and capacities, for ``n`` queries, from the history alone."""
    each = math.ceil(CROWD * n / history.n_models)
    room = [Capacity(each * history.n_queries / n)]
    ends = [
        solve(history, limits=room, options=OPTIONS, minimize="cost"),
        solve(history, limits=room, options=OPTIONS, maximize="quality"),
    ]
    column, lines = whole(history, "quality" if floor else "cost"), np.arange(history.n_queries)
    least, most = (float(column[lines, end.assignment].mean()) for end in ends)
    if floor:
        return [QualityFloor(mean=least + HIGH * (most - least)), Capacity(each)]
    return [Budget(n * (least + DEAR * (most - least))), Capacity(each)]


def show(result, orders) -> None:
    for order in orders:
        for line in (one for one in result.lines if one.order == order):
            first, capacity = line.broken
            print(f"{order:14}{line.policy:16}{100 * line.ratio.value:8.2f}"
                  f" [{100 * line.ratio.low:.2f}, {100 * line.ratio.high:.2f}]"
                  f"{100 * line.path[-1]:9.1f}{100 * first.share:8.0f}"
                  f"{100 * first.mean:8.2f}{100 * first.worst:8.2f}{100 * capacity.share:6.0f}"
                  f"{line.refused:8.1f}{100 * line.stopped:8.1f}"
                  f"{line.microseconds[0]:8.0f}{line.microseconds[1]:7.0f}",
                  flush=True)  # fmt: skip


def replay(table: str, streams: int, *, floor: bool) -> None:
    told, seen, history = predicted(Path(os.environ["DUALROUTE_DATA"]) / table)
    limits = limits_for(history, told.n_queries, floor=floor)
    aim = {"minimize": "cost"} if floor else {"maximize": "quality"}
    asked = aim | {"limits": limits, "history": history, "options": OPTIONS, "seeds": streams}
    rules, orders = None, ORDERS
    if floor:
        rules = {"mirror": Mirror(), "without reserve": Mirror(reserve=False),
                 "gentle": Mirror(step=0.03, reserve=False), "fixed": FixedPrices()}  # fmt: skip
        orders = ORDERS[:2]
    result = simulate_stream(told, seen, policies=rules, orders=orders, **asked)
    over = max(one.worst for one in result.offline_broken)
    print(f"\n{table}: {told.n_queries} queries, {told.n_models} models, {streams} streams per "
          f"order; {limits[0]}, each model takes {limits[1].limit}\n"
          f"plan of all queries on predictions: {100 * result.offline_ratio:.2f} % of the "
          f"certified optimum on the truth, limits broken by {100 * over:.2f} % at most\n"
          f"{'order':14}{'rule':16}{'ratio %':>8} [2.5 %, 97.5 %]   used %broken %  mean %"
          f" worst %cap. % refused stops %  us 50 %  99 %")  # fmt: skip
    show(result, orders)
    if floor:
        return
    plan = solve(told, limits=limits, options=OPTIONS, **aim)
    busiest = told.models[int(np.bincount(plan.assignment).argmax())]
    out = simulate_stream(told, seen, outage=Outage(busiest), orders=["random"], **asked)
    print(f"the busiest model of the plan ({busiest}) is out from 40 to 60 % of the stream:")
    show(out, ["random"])


def main() -> None:
    asked = argparse.ArgumentParser(description="Four tables of outcomes replayed as streams.")
    asked.add_argument("tables", nargs="*", default=TABLES, metavar="TABLE")
    asked.add_argument("--streams", type=int, default=20, help="per order of arrival (20)")
    asked.add_argument("--floor", action="store_true", help="least cost under a quality floor")
    given = asked.parse_args()
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    for table in given.tables:
        replay(table, given.streams, floor=given.floor)


if __name__ == "__main__":
    main()
