"""The scale on which a column is predicted, and how far outcomes lie from predictions."""

from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats

_OFFSET = 0.01  # of a model's mean: zeros have a logarithm


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """How one column is modelled: as it is, or, where nothing is negative, by its logarithm.

    Attributes
    ----------
    low, high
        Range of what was observed; predictions stay within it.
    offset
        Per model, shape ``(m,)``: the scale is ``log(y + offset)``; None for ``y`` itself, which
        is also taken where everything lies in ``[0, 1]``.
    """

    low: float
    high: float
    offset: Floats | None

    @classmethod
    def of(cls, grid: Floats) -> "Link":
        """The link of an observed column, shape ``(n, m)``."""
        low, high = float(grid.min()), float(grid.max())
        if low < 0 or high <= 1:
            return cls(low, high, None)
        mean = grid.mean(axis=0, dtype=np.float64)
        return cls(low, high, _OFFSET * np.where(mean > 0, mean, 1.0))

    @property
    def unit(self) -> bool:
        """Whether everything lies in ``[0, 1]``, as qualities do."""
        return self.low >= 0 and self.high <= 1

    def onto(self, grid: Floats) -> Floats:
        """Values on the scale of the model, float64."""
        values = grid.astype(np.float64)
        return values if self.offset is None else np.log(values + self.offset)

    def back(self, values: Floats) -> Floats:
        """Values of the column from those on the scale, within the range observed."""
        if self.offset is not None:
            values = np.exp(np.minimum(values, 700.0)) - self.offset
        return np.clip(values, self.low, self.high)

    def variance(self, predicted: Floats) -> Floats:
        """Variance up to a factor: that of a yes or no, of a fixed relative error, or constant."""
        if self.unit:
            return predicted * (1.0 - predicted)
        return np.ones_like(predicted) if self.offset is None else predicted**2


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How far the outcomes of a column lie from predictions that had not seen them.

    Attributes
    ----------
    link
        Of the column.
    factor
        Per model, shape ``(m,)``: mean squared error over mean `Link.variance`.
    """

    link: Link
    factor: Floats

    @classmethod
    def of(cls, link: Link, predicted: Floats, observed: Floats) -> "Spread":
        """From predictions out of fold and outcomes, both ``(n, m)``."""
        error = ((observed - predicted) ** 2).mean(axis=0, dtype=np.float64)
        expected = link.variance(predicted.astype(np.float64)).mean(axis=0)
        return cls(link, np.where(expected > 0, error / np.where(expected > 0, expected, 1.0), 0.0))

    def sd(self, predicted: Floats) -> Floats:
        """Standard deviation of outcomes about these predictions, ``(n, m)``, in their unit."""
        return np.sqrt(self.link.variance(predicted.astype(np.float64)) * self.factor)
