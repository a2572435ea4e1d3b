"""Two models and a threshold on how likely the query is to need the stronger."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Ints
from dualroute.rule import Scene, means


@dataclass(frozen=True, slots=True)
class Threshold:
    """Hybrid LLM [1]_ and RouteLLM [2]_, a reconstruction: the strong model above a threshold.

    The two models are the cheapest and the best on average; the score is the predicted gain in
    quality. Where one is full the other serves, and then the best of the rest.

    Attributes
    ----------
    steps
        Thresholds, at equal shares of queries.

    References
    ----------
    .. [1] Ding et al. (2024), Hybrid LLM: cost-efficient and quality-aware query routing,
       arXiv 2404.14618.
    .. [2] Ong et al. (2024), RouteLLM: learning to route LLMs with preference data,
       arXiv 2406.18665.
    """

    steps: int = 41

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per threshold, from all-weak to all-strong."""
        quality = means(scene.history, "quality")
        weak, strong = int(means(scene.history, "cost").argmin()), int(quality.argmax())
        told = scene.told("quality")
        gain = told[:, strong] - told[:, weak]
        rank = 2.0 + np.argsort(np.argsort(-quality))
        order = np.argsort(np.argsort(-gain, kind="stable"), kind="stable")
        routed = []
        for share in np.linspace(0, 1, self.steps):
            scores = np.tile(rank, (scene.n, 1))
            goes_up = order < share * scene.n
            scores[:, weak], scores[:, strong] = goes_up, ~goes_up
            routed.append(scene.served(scores))
        return routed
