"""The scale on which a column is predicted, and how far outcomes lie from predictions."""

from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats

_OFFSET = 0.01  # of a model's mean: zeros have a logarithm


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """How one column is modelled: as it is, in shares of each model's mean, or by its logarithm.

    Attributes
    ----------
    low, high
        Range of what was observed; predictions stay within it.
    offset
        Per model, shape ``(m,)``: the scale is ``log(y + offset)``; None for ``y`` itself, which
        is also taken where everything lies in ``[0, 1]``.
    share
        Per model, shape ``(m,)``: the scale is ``y / share``; None unless the column is a cost.
    """

    low: float
    high: float
    offset: Floats | None = None
    share: Floats | None = None

    @classmethod
    def of(cls, grid: Floats, *, cost: bool = False) -> "Link":
        """The link of an observed column, shape ``(n, m)``, and whether it is the cost.

        Costs of models differ by orders of magnitude, and are fractions of a dollar as often as
        thousands of tokens: in shares of each model's mean they are alike, whatever the unit.
        """
        low, high = float(grid.min()), float(grid.max())
        if low < 0 or (high <= 1 and not cost):
            return cls(low, high)
        mean = grid.mean(axis=0, dtype=np.float64)
        size = np.where(mean > 0, mean, 1.0)
        return cls(low, high, share=size) if cost else cls(low, high, offset=_OFFSET * size)

    @property
    def unit(self) -> bool:
        """Whether it is a chance or a share, all in ``[0, 1]``, as qualities are."""
        return self.low >= 0 and self.high <= 1 and self.share is None

    def onto(self, grid: Floats) -> Floats:
        """Values on the scale of the model, float64."""
        values = grid.astype(np.float64)
        if self.share is not None:
            return values / self.share
        return values if self.offset is None else np.log(values + self.offset)

    def back(self, values: Floats) -> Floats:
        """Values of the column from those on the scale, within the range observed."""
        if self.share is not None:
            values = values * self.share
        elif self.offset is not None:
            values = np.exp(np.minimum(values, 700.0)) - self.offset
        return np.clip(values, self.low, self.high)

    def variance(self, predicted: Floats) -> Floats:
        """Variance up to a factor: that of a yes or no, of a fixed relative error, or constant."""
        if self.unit:
            return predicted * (1.0 - predicted)
        relative = self.offset is not None or self.share is not None
        return predicted**2 if relative else np.ones_like(predicted)


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
