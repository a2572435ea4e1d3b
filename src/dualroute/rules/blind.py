"""The best mixture of models that looks at no query: the zero router."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Ints
from dualroute.curve import Hull
from dualroute.rule import Scene, means


@dataclass(frozen=True, slots=True)
class Blind:
    """The zero router of RouterBench [1]_: models drawn at random, in the best proportions.

    The proportions are those of neighbouring corners of the hull of the models' mean costs and
    qualities over the history: no rule without a look at the query does better.

    Attributes
    ----------
    steps
        Mixtures between two corners.

    References
    ----------
    .. [1] Hu et al. (2024), RouterBench, arXiv 2403.12031.
    """

    steps: int = 5

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per mixture, from the cheapest to the dearest."""
        cost, quality = means(scene.history, "cost"), means(scene.history, "quality")
        hull = Hull.of(cost, quality)
        corners = [
            int(np.flatnonzero((cost == x) & (quality == y))[0])
            for x, y in zip(hull.cost, hull.quality, strict=True)
        ]
        draw = np.random.default_rng(scene.seed).random(scene.n)
        rank = np.argsort(np.argsort(-quality)).astype(np.float64)
        routed = []
        for low, high in zip(corners, corners[1:] or corners, strict=False):
            for share in np.linspace(0, 1, self.steps, endpoint=False):
                scores = np.tile(rank, (scene.n, 1))
                scores[np.arange(scene.n), np.where(draw < share, high, low)] = -1.0
                routed.append(scene.served(scores))
        scores = np.tile(rank, (scene.n, 1))
        scores[:, corners[-1]] = -1.0
        return [*routed, scene.served(scores)]
