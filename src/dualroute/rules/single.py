"""Every query to one model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Ints
from dualroute.rule import Scene, means


@dataclass(frozen=True, slots=True)
class Single:
    """One model for all queries; where it is full, the next better on average."""

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per model."""
        rank = np.argsort(np.argsort(-means(scene.history, "quality"))).astype(np.float64)
        everyone = np.broadcast_to(rank, (scene.n, scene.m))
        first = -1.0 - np.eye(scene.m)
        return [scene.served(np.where(first[j] < -1, -1.0, everyone)) for j in range(scene.m)]
