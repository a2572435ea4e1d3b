"""RouteLLM's measure on its MMLU questions: the average gap recovered between two models.

GPT-4-1106 and Mixtral 8x7B, the prompts that RouteLLM drops as contaminated left out; folds 0 to 6
are the history, 7 to 9 are judged. RouteLLM's own routers were trained on other data (Chatbot
Arena votes) and judged on all questions, so that its published figures are no like-for-like rival.
Needs the table: set DUALROUTE_DATA to the folder that holds routellm/ (sources are in
docs/solvers.md).

    python examples/routellm_mmlu.py [PREDICTOR ...]
"""

import os
import sys
from pathlib import Path

import numpy as np

from dualroute import read_outcomes, read_queries
from dualroute.fieldtest import field_test

PREDICTORS = ("hybrid", "retrieval", "regression", "clusters", "mean")
HISTORY_FOLDS = 7


def main() -> None:
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds routellm/ (see docs/solvers.md)")
    folder = Path(os.environ["DUALROUTE_DATA"]) / "routellm"
    outcomes = read_outcomes(folder / "outcomes.csv.gz")
    described = read_queries(
        folder / "queries.csv.gz", attributes=["fold", "benchmark", "contaminated"]
    )
    row = {name: i for i, name in enumerate(described.ids)}
    order = np.array([row[name] for name in outcomes.queries])
    told = {name: np.asarray(grid)[order] for name, grid in described.attributes.items()}
    texts = np.array(described.texts, object)[order]
    judged = (told["benchmark"] == "mmlu") & (told["contaminated"].astype(str) != "True")
    fold = told["fold"].astype(int)
    known, asked = (
        np.flatnonzero(judged & part) for part in (fold < HISTORY_FOLDS, fold >= HISTORY_FOLDS)
    )
    print(f"{known.size} questions of history, {asked.size} judged")
    for predictor in sys.argv[1:] or PREDICTORS:
        test = field_test(
            texts[asked].tolist(),
            outcomes.take(asked),
            texts[known].tolist(),
            outcomes.take(known),
            predictor=predictor,
            rules=(),
        )
        found = test.recovered
        shares = ", ".join(f"CPT({k:.0%}) {v:.1%}" for k, v in found.cpt.items())
        print(f"{predictor:12} APGR {found.apgr}, {shares}", flush=True)


if __name__ == "__main__":
    main()
