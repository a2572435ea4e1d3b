"""Cost from prices: counted input tokens, predicted output tokens, and a price list."""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats
from dualroute.errors import TableError
from dualroute.outcomes import Outcomes
from dualroute.predictor import SPREAD, Predictor, check_asked, check_history
from dualroute.pricing import TokenPrices, token_prices

_PIECE = re.compile(r"\w+|[^\w\s]")
_TEXTS = 2**15


@dataclass(slots=True)
class Priced:
    r"""Another predictor, its costs replaced by prices times tokens.

    Cost is input price times counted input tokens plus output price times predicted output
    tokens. A tokenizer is seldom at hand for every model, so counting is learned from the log:
    for each model input tokens are ``a + b * characters + c * pieces`` with non-negative weights
    by least squares (a piece is a word or a mark), ``a`` being what a prompt adds to every query.

    Attributes
    ----------
    inner
        What predicts everything else, the output tokens included: a registered name or an
        object.
    prices
        A list of prices, or where to find one: ``"genai-prices"``, ``"litellm"`` or a file.
    input_tokens, output_tokens
        Columns of the log.
    """

    inner: str | Predictor = "hybrid"
    prices: str | TokenPrices = "genai-prices"
    input_tokens: str = "input_tokens"
    output_tokens: str = "output_tokens"
    _fitted: Predictor | None = field(default=None, init=False, repr=False, compare=False)
    _list: TokenPrices | None = field(default=None, init=False, repr=False, compare=False)
    _count: Floats = field(
        default_factory=lambda: np.empty((0, 3)), init=False, repr=False, compare=False
    )

    @classmethod
    def variant(cls, name: str) -> "Priced":
        """Priced around the predictor of this name."""
        return cls(inner=name)

    @property
    def priced_by(self) -> str:
        """The price list, with its date; empty before fitting."""
        return "" if self._list is None else self._list.words

    @property
    def report(self) -> Any:
        """What the inner predictor says of itself; None if nothing."""
        return getattr(self._fitted, "report", None)

    @property
    def unseen(self) -> Outcomes | None:
        """The inner predictor's history out of fold, priced; None if it has none."""
        inner: Outcomes | None = getattr(self._fitted, "unseen", None)
        return None if inner is None else self._priced(inner, inner.column(self.input_tokens))

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Fit the inner predictor, find the prices, and learn to count; returns itself.

        Raises
        ------
        TableError
            If the log has no columns of tokens, or a model has no price.
        """
        check_history(texts, outcomes)
        for name in (self.input_tokens, self.output_tokens):
            if name not in outcomes.columns:
                raise TableError(
                    f"costs from prices need the column {name!r}; the log has "
                    f"{', '.join(map(repr, outcomes.columns))}"
                )
        self._list = (
            token_prices(self.prices, outcomes.models)
            if isinstance(self.prices, str)
            else self.prices.take(outcomes.models)
        )
        self._count = _counting(texts, outcomes.columns[self.input_tokens], outcomes.n_queries)
        inner = (
            registry.create("predictors", self.inner)
            if isinstance(self.inner, str)
            else copy.deepcopy(self.inner)
        )
        self._fitted = inner.fit(texts, self._with_cost(outcomes))
        return self

    def predict(self, texts: Sequence[str]) -> Outcomes:
        """Predict outcomes, with costs from prices and tokens.

        Raises
        ------
        OptionError
            If nothing has been fitted.
        TableError
            If there is no text.
        """
        check_asked(texts, self._fitted is not None)
        assert self._fitted is not None
        predicted = self._fitted.predict(texts)
        counted = np.concatenate(
            [
                _sizes(texts[start : start + _TEXTS]) @ self._count.T
                for start in range(0, len(texts), _TEXTS)
            ]
        )
        return self._priced(predicted, counted)

    def _priced(self, predicted: Outcomes, counted: Floats) -> Outcomes:
        assert self._list is not None
        told = predicted.columns[self.output_tokens]
        dtype = predicted.columns[predicted.cost].dtype
        cost = np.maximum(self._list.cost(counted, told), 0.0).astype(dtype)
        columns = {k: v for k, v in predicted.columns.items() if k != predicted.cost + SPREAD}
        columns |= {predicted.cost: cost}
        columns[self.input_tokens] = counted.astype(columns[self.input_tokens].dtype)
        spread = predicted.columns.get(predicted.cost + SPREAD)
        if spread is not None:  # relative to the cost, as that of the inner prediction
            before = np.maximum(predicted.columns[predicted.cost].astype(np.float64), 1e-300)
            columns[predicted.cost + SPREAD] = (spread / before * cost).astype(dtype)
        return replace(predicted, columns=columns)

    def _with_cost(self, outcomes: Outcomes) -> Outcomes:
        """The log with a cost column, by the prices where it has none."""
        if outcomes.cost in outcomes.columns:
            return outcomes
        assert self._list is not None
        cost = self._list.cost(
            outcomes.columns[self.input_tokens], outcomes.columns[self.output_tokens]
        )
        return replace(outcomes, columns={**outcomes.columns, outcomes.cost: cost})


def _sizes(texts: Sequence[str]) -> Floats:
    """One, the characters and the pieces of every text, ``(n, 3)``."""
    return np.array([(1.0, len(text), len(_PIECE.findall(text))) for text in texts])


def _counting(texts: Sequence[str], tokens: Floats, n: int) -> Floats:
    """Weights of every model's input tokens, ``(m, 3)``: none, characters, pieces."""
    from scipy.optimize import nnls

    sizes = _sizes(texts)
    seen = np.broadcast_to(tokens, (n, tokens.shape[1])).astype(np.float64)
    # Twenty numbers per model instead of n: the normal equations, by their square root.
    scale = np.maximum(np.abs(sizes).max(axis=0), 1.0)
    _, root = np.linalg.qr(sizes / scale)
    orthogonal, *_ = np.linalg.lstsq(root.T, (sizes / scale).T @ seen, rcond=None)
    return np.array([nnls(root, orthogonal[:, j])[0] / scale for j in range(seen.shape[1])])
