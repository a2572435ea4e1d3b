"""The baseline: every query gets each model's mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from dualroute.errors import OptionError, TableError
from dualroute.outcomes import Outcomes
from dualroute.predictor import check_history


@dataclass(slots=True)
class Mean:
    """Every query gets each model's mean: the baseline that reads no text."""

    _means: Outcomes | None = field(default=None, init=False, repr=False, compare=False)

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Average every column over the queries; returns itself.

        Raises
        ------
        TableError
            If the number of texts is not ``outcomes.n_queries``, or is zero.
        """
        check_history(texts, outcomes)
        columns = {}
        for name, grid in outcomes.columns.items():
            mean = grid.mean(axis=0, keepdims=True, dtype=np.float64).astype(grid.dtype)
            # A rounded mean must not leave the range of what it averages.
            columns[name] = np.clip(mean, grid.min(), grid.max())
        self._means = replace(outcomes, columns=columns, queries=np.arange(1), attributes={})
        return self

    def predict(self, texts: Sequence[str]) -> Outcomes:
        """Predict the means, as ``(1, m)`` columns of a table of ``len(texts)`` queries.

        Raises
        ------
        OptionError
            If nothing has been fitted.
        TableError
            If there is no text.
        """
        if self._means is None:
            raise OptionError("this predictor has learned nothing; call fit(texts, outcomes) first")
        if len(texts) == 0:
            raise TableError("no text to predict; give at least one")
        return replace(self._means, queries=np.arange(len(texts)))
