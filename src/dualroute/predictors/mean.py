"""The baseline: every query gets each model's mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from dualroute.outcomes import Outcomes
from dualroute.predictor import SPREAD, check_asked, check_history


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
            if name in (outcomes.cost, outcomes.quality) and grid.shape[0] > 1:
                sd = grid.std(axis=0, keepdims=True, dtype=np.float64)
                columns[name + SPREAD] = sd.astype(grid.dtype)
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
        check_asked(texts, self._means is not None)
        assert self._means is not None
        return replace(self._means, queries=np.arange(len(texts)))
