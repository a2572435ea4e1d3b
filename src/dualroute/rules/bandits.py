"""What the rules that learn from their own choices share: a stream of rewards."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.rule import Scene, means, whole

WEIGHTS = (0.0, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 5.0)  # of cost, against quality


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """The history in random order, then the batch in its order of arrival.

    Attributes
    ----------
    history, batch
        Rewards of every pair, ``(n, m)``: quality less the weighted cost, which is measured in
        the dearest model's mean. A rule reads those of the models it chose.
    order
        Of the history.
    """

    history: Floats
    batch: Floats
    order: Ints

    @classmethod
    def of(cls, scene: Scene, weight: float) -> "Stream":
        """The stream of a scene at one weight of cost."""
        dearest = float(means(scene.history, "cost").max()) or 1.0
        rewards = [
            whole(one, "quality") - weight / dearest * whole(one, "cost")
            for one in (scene.history, scene.truth)
        ]
        order = np.random.default_rng(scene.seed).permutation(scene.history.n_queries)
        return cls(rewards[0], rewards[1], order)

    def earlier(self) -> Iterator[tuple[int, Floats]]:
        """Queries of the history, with the rewards of which one may be read."""
        for i in self.order.tolist():
            yield i, self.history[i]


@dataclass(slots=True)
class Room:
    """What the models still take of a batch."""

    left: Floats

    @classmethod
    def of(cls, scene: Scene) -> "Room":
        """All of it."""
        return cls(np.floor(scene.capacity))

    def best(self, scores: Floats) -> int:
        """The model of greatest score that has room; it has one place less then."""
        model = int(np.where(self.left >= 1, scores, -np.inf).argmax())
        self.left[model] -= 1
        return model
