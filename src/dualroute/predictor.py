"""The contract of a predictor: texts in, outcomes out; it knows no optimization."""

from collections.abc import Sequence
from typing import Protocol, Self, runtime_checkable

from dualroute.errors import TableError
from dualroute.outcomes import Outcomes


def check_history(texts: Sequence[str], outcomes: Outcomes) -> None:
    """Raise `TableError` unless there is one text for each query with outcomes, at least one."""
    if len(texts) == 0 or len(texts) != outcomes.n_queries:
        raise TableError(
            f"{len(texts)} texts for {outcomes.n_queries} queries with outcomes; give one text "
            "for each, at least one"
        )


@runtime_checkable
class Predictor(Protocol):
    """Learns from texts with observed outcomes, and predicts those of new texts.

    Every registered predictor passes `dualroute.testing.check_predictor`.
    """

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Learn from ``n`` texts and the outcomes observed on them; returns itself.

        Raises
        ------
        TableError
            If the number of texts is not ``outcomes.n_queries``, or is zero.
        """
        ...

    def predict(self, texts: Sequence[str]) -> Outcomes:
        """Predicted outcomes of any number of texts: the models and columns learned from.

        Costs are not negative and qualities lie in ``[0, 1]``; queries are labelled
        ``0 .. n-1``. An empty text, or one without a known word, gets a defined answer.
        """
        ...
