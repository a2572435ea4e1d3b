"""The contract of a predictor: texts in, outcomes out; it knows no optimization."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, Self, runtime_checkable

import numpy as np

from dualroute.arrays import Ints
from dualroute.errors import OptionError, TableError
from dualroute.outcomes import Outcomes

SPREAD = "_sd"  # a column's name with this is the standard deviation of its outcome


def check_history(texts: Sequence[str], outcomes: Outcomes) -> None:
    """Raise `TableError` unless there is one text for each query with outcomes, at least one."""
    if len(texts) == 0 or len(texts) != outcomes.n_queries:
        raise TableError(
            f"{len(texts)} texts for {outcomes.n_queries} queries with outcomes; give one text "
            "for each, at least one"
        )


def check_asked(texts: Sequence[str], fitted: bool) -> None:
    """Raise `OptionError` before anything was learned, and `TableError` without a text."""
    if not fitted:
        raise OptionError("this predictor has learned nothing; call fit(texts, outcomes) first")
    if len(texts) == 0:
        raise TableError("no text to predict; give at least one")


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
        ``0 .. n-1``. An empty text, or one without a known word, gets a defined answer. A column
        may come with a further one of its name and ``_sd``: the standard deviation of the
        outcome about its prediction, in the column's unit.
        """
        ...


def folds_of(texts: Sequence[str], folds: int, seed: int = 0) -> Ints:
    """Fold number of every text, shape ``(n,)``: drawn at random, equal texts in the same fold."""
    place: dict[str, int] = {}
    number = np.array([place.setdefault(text, len(place)) for text in texts], np.intp)
    order = np.random.default_rng(seed).permutation(len(place))
    return (order % folds)[number]


def cross_predict(
    predictor: Predictor,
    texts: Sequence[str],
    outcomes: Outcomes,
    *,
    folds: int = 5,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Outcomes:
    """Predict every query of a history by a copy of the predictor that has not seen its text.

    Parameters
    ----------
    predictor
        Not fitted, or fitted on anything: copies are fitted anew, the object stays as it is.
    texts, outcomes
        The history, ``n`` queries.
    folds
        Parts that are predicted from the others; equal texts lie in the same part.
    seed
        Of the division.
    tell
        Called with the parts done and the number of parts.

    Returns
    -------
    Outcomes
        As from ``predict``, in the order of the history and with its labels and attributes.

    Raises
    ------
    TableError
        If the history has fewer than two distinct texts.
    """
    check_history(texts, outcomes)
    if folds < 2:
        raise OptionError(f"folds is {folds}; give 2 or more")
    fold = folds_of(texts, folds, seed)
    present = np.unique(fold)
    if present.size < 2:
        raise TableError("a history of one distinct text cannot be predicted out of fold; add more")
    parts, rows = [], []
    for done, part in enumerate(present.tolist(), start=1):
        known, asked = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        learner = copy.deepcopy(predictor)
        learner.fit([texts[i] for i in known.tolist()], outcomes.take(known))
        parts.append(learner.predict([texts[i] for i in asked.tolist()]))
        rows.append(asked)
        tell(done, present.size)
    order = np.argsort(np.concatenate(rows))
    columns = {}
    # A part learned from one query alone has no spread to tell.
    for name in [k for k in parts[0].columns if all(k in one.columns for one in parts)]:
        grids = [
            np.broadcast_to(one.columns[name], (one.n_queries, one.columns[name].shape[1]))
            for one in parts
        ]
        columns[name] = np.concatenate(grids)[order]
    return replace(
        parts[0], columns=columns, queries=outcomes.queries, attributes=outcomes.attributes
    )
