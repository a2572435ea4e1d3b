"""The optimum of somebody who knows every answer beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass

from dualroute.arrays import Ints
from dualroute.rule import Scene
from dualroute.rules.certified import optima


@dataclass(frozen=True, slots=True)
class Oracle:
    """The certified optimum on the truth: no rule can do better at the same cost.

    Attributes
    ----------
    steps, gap, seconds
        As in the certified plan.
    """

    steps: int = 32
    gap: float = 1e-6
    seconds: float = 10.0

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per budget, from the cheapest to the dearest."""
        return optima(scene, scene.truth, self.steps, self.gap, self.seconds)
