"""Ridge regression of many responses at once, each direction among them shrunk by itself."""

from dataclasses import dataclass, field

import numpy as np

from dualroute.arrays import Floats

_ROWS = 2**12
_PENALTIES = tuple(np.geomspace(1e-2, 3e3, 16).tolist())


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Features in their principal directions, for any number of regressions on them.

    Attributes
    ----------
    center
        Means of the features, ``(d,)``.
    values, vectors
        Squared length of the features along each direction that has any, ``(r,)``, and the
        directions, ``(d, r)``.
    along
        Every query's features along these, ``(n, r)``, in the features' type.
    """

    center: Floats
    values: Floats
    vectors: Floats
    along: Floats

    @classmethod
    def of(cls, features: Floats) -> "Design":
        """The directions of features ``(n, d)``."""
        n = features.shape[0]
        center = features.mean(axis=0, dtype=np.float64)
        gram = np.zeros((center.size, center.size))
        for rows in _blocks(n):
            x = features[rows] - center
            gram += x.T @ x
        values, vectors = np.linalg.eigh(gram)
        kept = values > 1e-10 * max(values[-1], 1e-300)
        values, vectors = values[kept], vectors[:, kept]
        along = np.empty((n, values.size), features.dtype)
        for rows in _blocks(n):
            along[rows] = (features[rows] - center) @ vectors
        return cls(center, values, vectors, along)


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

    def fit(self, features: Floats | Design, responses: Floats) -> Floats:
        """Learn from features ``(n, d)``, or their design, and responses ``(n, m)``.

        Returns
        -------
        array
            ``(n, m)``: the prediction of every query by all others.
        """
        design = features if isinstance(features, Design) else Design.of(features)
        n, m = responses.shape
        self._center = design.center
        self._mean = responses.mean(axis=0, dtype=np.float64)
        spread = np.zeros((m, m))
        for rows in _blocks(n):
            y = responses[rows] - self._mean
            spread += y.T @ y
        directions = np.linalg.eigh(spread)[1]
        rotated = np.empty((n, m))
        meets = np.zeros((design.values.size, m))
        for rows in _blocks(n):
            rotated[rows] = (responses[rows] - self._mean) @ directions
            meets += design.along[rows].T @ rotated[rows]
        # Directions by penalties; the last penalty is infinite, which leaves the mean.
        shrunk = np.array([1.0 / (design.values + penalty) for penalty in self.penalties]).T
        shrunk = np.concatenate([shrunk, np.zeros((design.values.size, 1))], axis=1)
        errors = np.zeros((shrunk.shape[1], m))
        for rows in _blocks(n):
            along = design.along[rows].astype(np.float64, copy=False)
            own = _own(along, shrunk, n)
            for k, factor in enumerate(shrunk.T):
                left = rotated[rows] - along @ (factor[:, None] * meets)
                errors[k] += ((left / own[:, k, None]) ** 2).sum(axis=0)
        factors = shrunk[:, errors.argmin(axis=0)]  # (r, m)
        self._weights = design.vectors @ (factors * meets) @ directions.T
        unseen = np.empty((n, m))
        for rows in _blocks(n):
            along = design.along[rows].astype(np.float64, copy=False)
            left = (rotated[rows] - along @ (factors * meets)) / _own(along, factors, n)
            unseen[rows] = self._mean + (rotated[rows] - left) @ directions.T
        return unseen

    def predict(self, features: Floats) -> Floats:
        """Responses of features ``(n, d)``, shape ``(n, m)``."""
        return self._mean + (features - self._center) @ self._weights


def _own(along: Floats, factors: Floats, n: int) -> Floats:
    """One minus leverage under every column of factors: what of a residual is not its own work."""
    own: Floats = np.maximum(1.0 - 1.0 / n - along**2 @ factors, 1e-6)
    return own


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]
