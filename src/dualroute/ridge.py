"""Ridge regression of many responses at once, each direction among them shrunk by itself."""

from dataclasses import dataclass, field

import numpy as np

from dualroute.arrays import Floats

_ROWS = 2**15
_PENALTIES = tuple(np.geomspace(1e-2, 3e3, 16).tolist())


@dataclass(slots=True)
class CanonicalRidge:
    r"""Ridge regression in the principal directions of the responses.

    The responses of ``m`` models to the same queries are strongly correlated: most of what can
    be known of them is how hard the query is for all. The responses are rotated to their
    principal directions, each of which has the penalty, of those offered and an infinite one,
    that predicts queries best that were left out (exact leave-one-out from the hat matrix); so
    the common direction is followed closely and differences between models, whose noise a router
    would select on, are followed only as far as they can be predicted. A form of the shrinkage
    of multiple responses of [1]_, with penalties in the place of their factors.

    Attributes
    ----------
    penalties
        Tried in every direction, in units of the features' squared length.

    References
    ----------
    .. [1] Breiman and Friedman (1997), Predicting multivariate responses in multiple linear
       regression, Journal of the Royal Statistical Society B 59(1).
    """

    penalties: tuple[float, ...] = _PENALTIES
    _center: Floats = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    _mean: Floats = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    _weights: Floats = field(default_factory=lambda: np.empty(0), init=False, repr=False)

    def fit(self, features: Floats, responses: Floats) -> Floats:
        """Learn from features ``(n, d)`` and responses ``(n, m)``.

        Returns
        -------
        array
            ``(n, m)``: the prediction of every query by all others.
        """
        n = features.shape[0]
        self._center = features.mean(axis=0, dtype=np.float64)
        self._mean = responses.mean(axis=0, dtype=np.float64)
        gram = np.zeros((self._center.size, self._center.size))
        spread = np.zeros((self._mean.size, self._mean.size))
        for rows in _blocks(n):
            x, y = features[rows] - self._center, responses[rows] - self._mean
            gram += x.T @ x
            spread += y.T @ y
        values, vectors = np.linalg.eigh(gram)
        directions = np.linalg.eigh(spread)[1]
        kept = values > 1e-10 * max(values[-1], 1e-300)
        values, vectors = values[kept], vectors[:, kept]
        meets = np.zeros((values.size, self._mean.size))
        for rows in _blocks(n):
            meets += ((features[rows] - self._center) @ vectors).T @ (
                (responses[rows] - self._mean) @ directions
            )
        shrunk = np.array([1.0 / (values + penalty) for penalty in self.penalties])
        errors = np.zeros((1 + len(self.penalties), self._mean.size))
        for rows in _blocks(n):
            z = (responses[rows] - self._mean) @ directions
            own = max(1.0 - 1.0 / n, 1e-12)  # a mean without the query itself
            errors[0] += ((z / own) ** 2).sum(axis=0)
            for k, factor in enumerate(shrunk):
                errors[k + 1] += (
                    _left_out(features[rows] - self._center, vectors, factor, meets, z, n) ** 2
                ).sum(axis=0)
        best = errors.argmin(axis=0)
        factors = np.concatenate([np.zeros((1, values.size)), shrunk])[best].T  # (d, m)
        self._weights = vectors @ (factors * meets) @ directions.T
        unseen = np.empty(responses.shape)
        for rows in _blocks(n):
            x = features[rows] - self._center
            z = (responses[rows] - self._mean) @ directions
            left = np.empty_like(z)
            for k in np.unique(best).tolist():
                factor = np.zeros(values.size) if k == 0 else shrunk[k - 1]
                chosen = best == k
                left[:, chosen] = _left_out(x, vectors, factor, meets[:, chosen], z[:, chosen], n)
            unseen[rows] = self._mean + (z - left) @ directions.T
        return unseen

    def predict(self, features: Floats) -> Floats:
        """Responses of features ``(n, d)``, shape ``(n, m)``."""
        return self._mean + (features - self._center) @ self._weights


def _left_out(
    features: Floats, vectors: Floats, factor: Floats, meets: Floats, z: Floats, n: int
) -> Floats:
    """Errors of the prediction of each query from all others: residual over one minus leverage."""
    along = features @ vectors
    leverage = (along**2) @ factor + 1.0 / n
    residual = z - along @ (factor[:, None] * meets)
    return residual / np.maximum(1.0 - leverage, 1e-6)[:, None]


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]
