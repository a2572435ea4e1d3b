"""How fast predictors learn and predict, and in how much memory, on simulated texts."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.bench.child import in_child
from dualroute.bench.suites import Tell, silent
from dualroute.embedding import Embedding
from dualroute.errors import OptionError
from dualroute.memory import peak_bytes, start_of_peak
from dualroute.outcomes import Outcomes
from dualroute.workload import simulate

_DRAWN = 100_000  # distinct texts to predict; beyond that they come again
_PARTS = 8  # of the texts to predict, one after the other


@dataclass(frozen=True, slots=True)
class PredictionCase:
    """A predictor by its registered name, queries of its history, queries to predict, models."""

    predictor: str
    n_history: int
    n_queries: int
    n_models: int

    def __post_init__(self) -> None:
        """Check what would otherwise fail in a child process."""
        registry.create("predictors", self.predictor)
        if min(self.n_history, self.n_queries, self.n_models) < 1:
            raise OptionError("give at least one query of history, one to predict, and one model")


@dataclass(frozen=True, slots=True)
class PredictionRow:
    """What a case took.

    Attributes
    ----------
    predictor, n_history, n_queries, n_models
        As asked.
    fit_seconds
        Learning from the history, with everything that is judged out of fold.
    fit_bytes
        The most memory used then, beyond what the history takes.
    predict_seconds
        Predicting all queries, one part after the other, as a caller does whose memory is
        bounded.
    predict_bytes
        The most memory used then, beyond the texts and the fitted predictor: one part's
        predictions are in it.
    encode_seconds
        Of that, embedding the texts; nan where the predictor has no embedding.
    vector_bytes
        Vectors of the history, which an index of nearest neighbours holds; 0 without one.
    error
        Why nothing was measured; empty otherwise.
    """

    predictor: str
    n_history: int
    n_queries: int
    n_models: int
    fit_seconds: float = math.nan
    fit_bytes: float = math.nan
    predict_seconds: float = math.nan
    predict_bytes: float = math.nan
    encode_seconds: float = math.nan
    vector_bytes: float = math.nan
    error: str = ""


def bench_predict(
    predictors: Sequence[str],
    histories: Sequence[int],
    n_queries: int = 100_000,
    n_models: int = 16,
    *,
    threads: int = 1,
    tell: Tell = silent,
) -> list[PredictionRow]:
    """Measure every predictor at every length of history, each in a process of its own.

    Parameters
    ----------
    predictors
        Registered names.
    histories
        Numbers of queries to learn from.
    n_queries, n_models
        To predict.
    threads
        Of the libraries of linear algebra.
    tell
        Called with a line before and after each case.

    Returns
    -------
    list of PredictionRow
        In the order asked; on Ctrl-C, what was done until then.

    Raises
    ------
    OptionError
        If no predictor has such a name, or a number is below 1.
    """
    cases = [PredictionCase(p, n, n_queries, n_models) for n in histories for p in predictors]
    rows = []
    for case in cases:
        tell(f"{case.predictor}: learning from {case.n_history}, predicting {case.n_queries} "
             f"x {case.n_models}")  # fmt: skip
        try:
            given, why = in_child("predict", case, threads)
        except KeyboardInterrupt:
            break
        row = PredictionRow(**given) if given else PredictionRow(**asdict(case), error=why)
        tell(
            f"  failed: {why}"
            if why
            else f"  learned in {row.fit_seconds:.1f} s, {row.n_queries / row.predict_seconds:.0f} "
            "queries predicted a second"
        )
        rows.append(row)
    return rows


def measure_prediction(case: PredictionCase) -> PredictionRow:
    """One case, in this process."""
    learned = simulate(case.n_history, seed=1)
    history = _with_models(learned.outcomes, case.n_models)
    asked = simulate(min(case.n_queries, _DRAWN), seed=2).texts
    texts = [asked[i % len(asked)] for i in range(case.n_queries)]
    predictor: Any = registry.create("predictors", case.predictor)
    embedding: Embedding | None = getattr(predictor, "embedding", None)
    held = start_of_peak()
    started = time.perf_counter()
    predictor.fit(learned.texts, history)
    fitted = time.perf_counter()
    fit_bytes = peak_bytes() - held
    held = start_of_peak()
    before = time.perf_counter()
    step = math.ceil(case.n_queries / _PARTS)
    for start in range(0, case.n_queries, step):
        predictor.predict(texts[start : start + step])
    finished = time.perf_counter()
    predict_bytes = peak_bytes() - held
    encode, vector_bytes = math.nan, 0
    if embedding is not None:
        embedding.fit(learned.texts)
        ready = time.perf_counter()
        vectors = embedding.transform(asked)
        encode = (time.perf_counter() - ready) * case.n_queries / len(asked)
        vector_bytes = vectors[:1].nbytes * case.n_history
    return PredictionRow(
        **asdict(case),
        fit_seconds=fitted - started,
        fit_bytes=fit_bytes,
        predict_seconds=finished - before,
        predict_bytes=predict_bytes,
        encode_seconds=encode,
        vector_bytes=vector_bytes,
    )


def _with_models(outcomes: Outcomes, n_models: int) -> Outcomes:
    """As many models as asked: those simulated, again and again under further names."""
    which = np.arange(n_models) % outcomes.n_models
    grids = {
        name: grid if grid.shape[1] == 1 else np.ascontiguousarray(grid[:, which])
        for name, grid in outcomes.columns.items()
    }
    names = tuple(
        outcomes.models[j] + (f" ({k // outcomes.n_models + 1})" if k >= outcomes.n_models else "")
        for k, j in enumerate(which.tolist())
    )
    return replace(outcomes, models=names, columns=grids)
