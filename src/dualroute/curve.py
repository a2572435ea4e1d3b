"""The cost-quality curve of a routing rule: its hull, and the area under it."""

from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.errors import ProblemError
from dualroute.outcomes import Outcomes

_STEPS = 200  # multipliers of a sweep, over eight decades
_BLOCK = 2**21  # entries of a working array


@dataclass(frozen=True, slots=True, eq=False)
class Hull:
    """Upper concave non-decreasing hull of points of mean cost and mean quality.

    Two routings mixed at random reach every point between theirs, and nobody has to spend more
    for less: whatever lies on the hull can be had.

    Attributes
    ----------
    cost, quality
        Its corners, both ``(k,)``, each above the one before.
    """

    cost: Floats
    quality: Floats

    @classmethod
    def of(cls, cost: Floats, quality: Floats) -> "Hull":
        """The hull of any number of points, at least one.

        Raises
        ------
        ProblemError
            If there is no point.
        """
        if np.size(cost) == 0:
            raise ProblemError("a hull needs at least one point of cost and quality")
        corners: list[tuple[float, float]] = []
        order = np.lexsort((-np.asarray(quality), cost))
        points = np.asarray(cost, np.float64)[order], np.asarray(quality, np.float64)[order]
        for x, y in zip(points[0].tolist(), points[1].tolist(), strict=True):
            if corners and y <= corners[-1][1]:
                continue
            while len(corners) > 1 and _below(corners[-2], corners[-1], (x, y)):
                corners.pop()
            corners.append((x, y))
        return cls(np.array([x for x, _ in corners]), np.array([y for _, y in corners]))

    def at(self, cost: Floats | float) -> Floats:
        """Quality at some mean cost: 0 below the first corner, the last one's above it."""
        return np.asarray(np.interp(cost, self.cost, self.quality, left=0.0))

    def mean(self, low: float, high: float) -> float:
        r"""Area under the hull between two costs over their distance, in units of quality.

        :math:`\frac{1}{b - a} \int_a^b h(c)\,dc`, exact, as the hull is piecewise linear; at
        :math:`a = b` the quality there.
        """
        if not low < high:
            return float(self.at(high))
        inner = self.cost[(self.cost > low) & (self.cost < high)]
        corners = np.concatenate([[low], inner, [high]])
        heights = self.at(corners)
        if low < self.cost[0] < high:  # a step, not a slope, from nothing to the first corner
            corners, heights = corners[1:], heights[1:]
        elif self.cost[0] >= high:
            return 0.0
        return float(np.trapezoid(heights, corners) / (high - low))


def _below(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    rise = (middle[1] - left[1]) * (right[0] - left[0])
    return rise <= (right[1] - left[1]) * (middle[0] - left[0])


def multipliers(cost: Floats, steps: int = _STEPS) -> Floats:
    """Prices of cost, in quality per unit of it, from none to all-deciding, shape ``(steps,)``."""
    spread = (cost.max(axis=1) - cost.min(axis=1)).astype(np.float64)
    scale = float(np.median(spread)) or float(spread.mean()) or 1.0
    return np.concatenate([[0.0], np.geomspace(1e-4, 1e4, steps - 1) / scale])


def lambda_routings(predicted: Outcomes, steps: int = _STEPS) -> tuple[Ints, ...]:
    """The lambda rule at every multiplier: each query its model of most quality minus priced cost.

    Returns
    -------
    tuple of integer arrays
        Model per query, shape ``(n,)``, from the dearest to the cheapest; the same routing once.
    """
    shape = (predicted.n_queries, predicted.n_models)
    quality = np.broadcast_to(predicted.column("quality"), shape)
    cost = np.broadcast_to(predicted.column("cost"), shape)
    prices = multipliers(cost, steps)
    routed = np.empty((prices.size + 1, shape[0]), np.intp)
    step = max(1, _BLOCK // shape[1])
    for start in range(0, shape[0], step):
        rows = slice(start, start + step)
        worth, paid = quality[rows].astype(np.float64), cost[rows].astype(np.float64)
        for k, price in enumerate(prices.tolist()):
            routed[k, rows] = (worth - price * paid).argmax(axis=1)
        routed[-1, rows] = paid.argmin(axis=1)
    distinct = [0, *(1 + np.flatnonzero((routed[1:] != routed[:-1]).any(axis=1)))]
    return tuple(routed[k] for k in distinct)


def lambda_value(quality: Floats, cost: Floats, observed: Outcomes) -> float:
    """Mean quality under the hull of the lambda rule on predictions, judged on what was observed.

    Parameters
    ----------
    quality, cost
        Predictions, both ``(n, m)``.
    observed
        What happened to the same queries; without a cost, or with the same at every model, the
        mean quality of the best-predicted models is given.
    """
    shape = (observed.n_queries, observed.n_models)
    truth = np.broadcast_to(observed.column("quality"), shape)
    paid = observed.columns.get(observed.cost)
    mean = np.zeros(1) if paid is None else np.broadcast_to(paid, shape).mean(axis=0)
    lines = np.arange(shape[0])
    if paid is None or not mean.min() < mean.max():
        return float(truth[lines, quality.argmax(axis=1)].mean())
    predicted = Outcomes.from_arrays(cost, quality, observed.models)
    routed = lambda_routings(predicted, 60)
    paid = np.broadcast_to(paid, shape)
    hull = Hull.of(
        np.array([paid[lines, one].mean() for one in routed]),
        np.array([truth[lines, one].mean() for one in routed]),
    )
    return hull.mean(float(mean.min()), float(mean.max()))
