"""Predicted quality less cost at one price for all queries."""

from collections.abc import Sequence
from dataclasses import dataclass

from dualroute.arrays import Ints
from dualroute.curve import multipliers
from dualroute.rule import Scene


@dataclass(frozen=True, slots=True)
class CalibratedLambda:
    """CARROT [1]_ and UniRoute [2]_, a reconstruction: most quality less priced cost.

    With a budget and no capacity this is the Lagrangian optimum, up to about one query.

    Attributes
    ----------
    steps
        Prices, from none to all-deciding.

    References
    ----------
    .. [1] Somerstep et al. (2025), CARROT: a cost aware rate optimal router, arXiv 2502.03261.
    .. [2] Jitkrittum et al. (2025), Universal model routing for efficient LLM inference,
       arXiv 2502.08773.
    """

    steps: int = 81

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per price, from the dearest to the cheapest."""
        quality, cost = scene.told("quality"), scene.told("cost")
        prices = multipliers(cost, self.steps).tolist()
        return [scene.served(price * cost - quality) for price in prices] + [scene.served(cost)]
