"""The budget for a promised quality: what it costs to keep a promise in 95 of 100 batches.

A floor on predictions is kept by about half of all batches; a floor with a confidence is
tightened by what routings of the log promised too much. Both budgets are held against what the
batch really cost and was worth. All data are simulated.

    python examples/budget_for_a_promise.py
"""

import numpy as np

from dualroute import Capacity, QualityFloor, SolveOptions, route
from dualroute.embedding import TfidfEmbedding
from dualroute.evaluation import realised
from dualroute.predictors.regression import Regression
from dualroute.workload import simulate

BATCH, LOG = 500, 2000
ROOM = 200  # requests each model takes


def main() -> None:
    whole = simulate(LOG + BATCH, seed=11)
    log, batch = np.arange(LOG), np.arange(LOG, LOG + BATCH)
    history, truth = whole.outcomes.take(log), whole.outcomes.take(batch)
    texts = [whole.texts[i] for i in batch]
    log_texts = [whole.texts[i] for i in log]
    print(f"{'promise':>8} {'confidence':>11} {'budget, USD':>12} {'really spent':>13} "
          f"{'real quality':>13}")  # fmt: skip
    for promise in (0.76, 0.78):
        for confidence in (None, 0.95):
            plan = route(
                texts,
                history,
                history_texts=log_texts,
                predictor=Regression(embedding=TfidfEmbedding(dimensions=64)),
                minimize="cost",
                options=SolveOptions(mip_rel_gap=1e-3, time_limit=10),
                limits=[QualityFloor(mean=promise, confidence=confidence), Capacity(ROOM)],
            )
            words = "none" if confidence is None else f"{confidence:.0%}"
            if plan.assignment is None:
                print(f"{promise:8.2f} {words:>11}  {plan.certificate.verdict}")
                continue
            got = realised(truth, plan.assignment)
            print(f"{promise:8.2f} {words:>11} {plan.objective:12.4f} {got.cost:13.4f} "
                  f"{got.quality:13.3f}")  # fmt: skip
            for margin in plan.margins:
                print(f"{'':9}{margin.words}")


if __name__ == "__main__":
    main()
