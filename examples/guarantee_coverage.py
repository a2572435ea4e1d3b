"""How often a floor or a budget with a confidence holds on the outcomes, over 1,000 batches.

A table of observed outcomes is split at random 100 times: 70 % is the history that the hybrid
predictor and the margins are learned from, and 10 batches are drawn from the rest. Each is routed
on the predictions under a floor (88 % of the best single model's mean quality in the history, at
least cost) and under a budget (30 % of that model's mean cost, at most quality); what the routed
models did with it is counted. Batches that no routing keeps the tightened limits of are told in
brackets, and left out; the standard errors are those of the splits. Needs the tables: set
DUALROUTE_DATA to the folder that holds zeroeval/, bfcl_2024_08/, routellm/ and llmrouter_ulab/
(sources are in docs/solvers.md).

    python examples/guarantee_coverage.py [--splits 100] [--batches 10] [--size 300] [TABLE ...]
"""

import argparse
import math
import os
import sys
from collections import defaultdict
from itertools import product
from pathlib import Path

import numpy as np

from dualroute import (
    Budget,
    Capacity,
    QualityFloor,
    SolveOptions,
    read_outcomes,
    read_queries,
    solve,
)
from dualroute.guarantee import Record, tighten
from dualroute.predictors.hybrid import Hybrid

TABLES = ("bfcl_2024_08", "zeroeval", "llmrouter_ulab", "routellm")
CONFIDENCES = (None, 0.90, 0.95, 0.99)
CROWDED = (None, 1.5)  # times the even share: what each model takes
KNOWN, ALMOST, SHARE = 0.7, 0.88, 0.3
AIM = {"floor": {"minimize": "cost"}, "budget": {"maximize": "quality"}}
OPTIONS = SolveOptions(mip_rel_gap=1e-3, time_limit=5.0)


def read(folder):
    """Texts and outcomes of a table."""
    outcomes = read_outcomes(folder / "outcomes.csv.gz")
    described = read_queries(folder / "queries.csv.gz")
    row = {name: i for i, name in enumerate(described.ids)}
    return [described.texts[row[name]] for name in outcomes.queries], outcomes


def grid(outcomes, column):
    """A column of every pair, ``(n, m)``."""
    shape = outcomes.n_queries, outcomes.n_models
    return np.broadcast_to(outcomes.columns[column], shape).astype(float)


def held(kind, limits, goal, predicted, observed):
    """Whether the goal is met on the outcomes; None where no routing keeps the limits."""
    plan = solve(predicted, **AIM[kind], limits=limits, options=OPTIONS)
    if plan.assignment is None:
        return None
    column = observed.quality if kind == "floor" else observed.cost
    taken = np.take_along_axis(grid(observed, column), plan.assignment[:, None], 1)
    return taken.mean() >= goal - 1e-12 if kind == "floor" else taken.mean() <= goal + 1e-12


def coverage(texts, outcomes, size, splits, batches):
    """Per capacity, kind of limit and confidence: batches kept and routed, of every split."""
    n, m = outcomes.n_queries, outcomes.n_models
    counts = defaultdict(list)
    for split in range(splits):
        rng = np.random.default_rng(split)
        order = rng.permutation(n)
        known, later = order[: int(KNOWN * n)], order[int(KNOWN * n) :]
        history, observed = outcomes.take(known), outcomes.take(later)
        predictor = Hybrid().fit([texts[i] for i in known], history)
        predicted = predictor.predict([texts[i] for i in later])
        record = Record(predictor.unseen, history)
        quality, cost = (grid(history, c).mean(axis=0) for c in (history.quality, history.cost))
        goals = {"floor": ALMOST * quality.max(), "budget": SHARE * cost[quality.argmax()]}
        drawn = [rng.permutation(later.size)[:size] for _ in range(batches)]
        for crowded, (kind, goal), confidence in product(CROWDED, goals.items(), CONFIDENCES):
            room = [] if crowded is None else [Capacity(math.ceil(crowded * size / m))]
            if kind == "floor":
                limit = QualityFloor(mean=goal, confidence=confidence)
            else:
                limit = Budget(goal * size, confidence=confidence)
            limits, _ = tighten([limit, *room], record, size, **AIM[kind])
            told = [
                held(kind, limits, goal, predicted.take(rows), observed.take(rows))
                for rows in drawn
            ]
            routed = [one for one in told if one is not None]
            counts[crowded, kind, confidence].append((sum(routed), len(routed)))
        print(f"  split {split + 1} of {splits}", end="\r", file=sys.stderr, flush=True)
    return {key: np.array(value) for key, value in counts.items()}


def cell(counts):
    """Share kept of the batches routed, its standard error over splits, and batches not routed."""
    kept, routed = counts.T
    share = kept.sum() / max(1, routed.sum())
    apart = kept - share * routed  # of a ratio of sums
    error = math.sqrt((apart**2).sum()) / max(1, routed.sum())
    return f"{share:.3f} ±{error:.3f}", int(routed.max() * routed.size - routed.sum())


def main() -> None:
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--size", type=int, default=300)
    asked = parser.parse_args()
    named = ["as asked", *(f"{100 * c:g} %" for c in CONFIDENCES[1:])]
    print(f"{'table':16}{'capacity':>9}{'limit':>8}" + "".join(f"{one:>22}" for one in named))
    for table in asked.tables:
        texts, outcomes = read(Path(os.environ["DUALROUTE_DATA"]) / table)
        size = min(asked.size, int((1 - KNOWN) * outcomes.n_queries))
        counts = coverage(texts, outcomes, size, asked.splits, asked.batches)
        for crowded, kind in product(CROWDED, AIM):
            words = "none" if crowded is None else f"{crowded:g} x"
            line = f"{table:16}{words:>9}{kind:>8}"
            for confidence in CONFIDENCES:
                told, missing = cell(counts[crowded, kind, confidence])
                line += f"{told + (f' ({missing})' if missing else ''):>22}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
