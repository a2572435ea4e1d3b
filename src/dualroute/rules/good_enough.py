"""For every query the cheapest model that is predicted to be good enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Ints
from dualroute.rule import Scene


@dataclass(frozen=True, slots=True)
class GoodEnough:
    """The streaming rule of OmniRouter [1]_, a reconstruction: a floor for every query by itself.

    The cheapest model whose predicted quality reaches the floor; the best one where none does.

    Attributes
    ----------
    steps
        Floors, at equal shares of the predicted qualities.

    References
    ----------
    .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576.
    """

    steps: int = 61

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per floor, from the cheapest to the dearest."""
        quality, cost = scene.told("quality"), scene.told("cost")
        floors = np.quantile(quality, np.linspace(0, 1, self.steps))
        above = 1.0 + cost.max()
        return [
            scene.served(np.where(quality >= floor, cost, above + 1.0 - quality))
            for floor in np.unique(floors)
        ]
