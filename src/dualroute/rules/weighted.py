"""A weighted sum of several attributes, after hard filters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.rule import Scene, means


@dataclass(frozen=True, slots=True)
class Weighted:
    """OptiRoute [1]_, a reconstruction: filters on models, then a score the user weighs.

    Models below a share of the best mean quality are filtered out, as a user would who names a
    least accuracy; quality, cost and, where the table has one, latency are brought to ``[0, 1]``
    over the remaining models of a query, and weighed.

    Attributes
    ----------
    filter
        Least mean quality of a model, as a share of the best one's.
    latency
        Weight of latency beside cost, of what quality leaves.
    steps
        Weights of quality, from 0 to 1.

    References
    ----------
    .. [1] Piskala et al. (2025), Dynamic LLM routing and selection based on user preferences:
       balancing performance, cost, and ethics, arXiv 2502.16696.
    """

    filter: float = 0.7
    latency: float = 0.25
    steps: int = 41

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per weight, from cost alone to quality alone."""
        mean = means(scene.history, "quality")
        kept = mean >= self.filter * mean.max()
        quality = _unit(scene.told("quality"), kept)
        price = _unit(scene.told("cost"), kept)
        slow = [name for name in scene.predicted.columns if name.startswith("latency")]
        slow = [name for name in slow if name in scene.history.columns]
        if slow:
            late = _unit(scene.told(slow[0]), kept)
            price = (1.0 - self.latency) * price + self.latency * late
        shut = 10.0 * ~kept - mean  # what was filtered serves only where all else is full
        return [
            scene.served(np.where(kept, (1.0 - weight) * price - weight * quality, shut))
            for weight in np.linspace(0, 1, self.steps)
        ]


def _unit(values: Floats, kept: Floats) -> Floats:
    """Values over the models kept, each query's from 0 to 1."""
    low = values[:, kept].min(axis=1, keepdims=True)
    width = values[:, kept].max(axis=1, keepdims=True) - low
    unit: Floats = (values - low) / np.where(width > 0, width, 1.0)
    return unit
