"""Every routing rule on four tables of observed outcomes, judged at equal realised cost.

Folds 0 to 6 are the history, 7 to 9 the batch. Needs the tables: set DUALROUTE_DATA to the folder
that holds zeroeval/, bfcl_2024_08/, routellm/ and llmrouter_ulab/ (sources are in
docs/solvers.md).

    python examples/judge_rules.py [TABLE ...]
"""

import os
import sys
from pathlib import Path

import numpy as np

from dualroute import read_outcomes, read_queries
from dualroute.fieldtest import field_test

TABLES = ("routellm", "llmrouter_ulab", "zeroeval", "bfcl_2024_08")
CROWDED = (None, 3.0, 1.5)  # times the even share: what each model takes
HISTORY_FOLDS = 7


def split(folder: Path):
    """Texts and outcomes of the batch, then those of the history."""
    outcomes = read_outcomes(folder / "outcomes.csv.gz")
    described = read_queries(folder / "queries.csv.gz", attributes=["fold"])
    row = {name: i for i, name in enumerate(described.ids)}
    order = [row[name] for name in outcomes.queries]
    fold = described.attributes["fold"].astype(int)[order]
    texts = np.array(described.texts, object)[order]
    parts = []
    for part in (fold >= HISTORY_FOLDS, fold < HISTORY_FOLDS):
        parts += [texts[part].tolist(), outcomes.take(np.flatnonzero(part))]
    return parts


def main() -> None:
    if "DUALROUTE_DATA" not in os.environ:
        sys.exit("set DUALROUTE_DATA to the folder that holds the tables (see docs/solvers.md)")
    for table in sys.argv[1:] or TABLES:
        texts, observed, known_texts, known = split(Path(os.environ["DUALROUTE_DATA"]) / table)
        for crowded in CROWDED:
            test = field_test(texts, observed, known_texts, known, capacity=crowded)
            words = "no capacity" if crowded is None else f"{crowded:g} x the even share"
            print(f"\n{table}, {words}: {test.n_queries} queries x {test.n_models} models")
            if crowded is None:
                curve = test.predicted_curve
                print(f"AIQ of hybrid {test.predicted_aiq}, over its own range {curve.aiq_own}; "
                      f"single models {test.singles_aiq:.4f}, oracle {test.oracle_aiq:.4f}; "
                      f"fitted in {test.fit_seconds:.0f} s")  # fmt: skip
                for line in test.forecast:
                    judged = line.calibration
                    ece = (
                        ""
                        if judged is None
                        else f", Brier {judged.brier:.4f}, ECE {judged.ece:.4f}"
                    )
                    print(f"{line.column}: {100 * line.explained:.1f} % explained{ece}")
                if test.recovered is not None:
                    print(f"APGR {test.recovered.apgr}, CPT {test.recovered.cpt}")
            print(f"{'rule':16}" + "".join(f"{f'at {cost:.3g}':>26}" for cost in test.costs)
                  + f"{'gap':>8}{'AIQ':>8}")  # fmt: skip
            for line in sorted(test.rules, key=lambda one: -one.curve.aiq.value):
                cells = "".join(
                    f"{one.quality:26.4f}" if line.rule == "certified" else
                    f"{100 * one.difference:+9.1f} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
                    f"{'' if one.bracketed else '*'}".rjust(26)
                    for one in line.against
                )  # fmt: skip
                print(f"{line.rule:16}{cells}{100 * line.gap:8.2f}{line.curve.aiq.value:8.4f}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
