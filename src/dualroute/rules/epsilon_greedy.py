"""A bandit without context: mostly the model that paid best so far."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.rule import Scene
from dualroute.rules.bandits import WEIGHTS, Room, Stream


@dataclass(frozen=True, slots=True)
class EpsilonGreedy:
    """PickLLM [1]_ by stateless value learning, a reconstruction: it looks at no query.

    It learns from the outcome of the model it chose alone, through the history and the batch.

    Attributes
    ----------
    epsilon
        Share of the queries that go to a model drawn at random.
    weights
        Of cost against quality, in the dearest model's mean cost.

    References
    ----------
    .. [1] Sikeridis et al. (2024), PickLLM: context-aware RL-assisted large language model
       routing, arXiv 2412.12170.
    """

    epsilon: float = 0.1
    weights: tuple[float, ...] = WEIGHTS

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per weight of cost, from the dearest to the cheapest."""
        return [self._learned(scene, Stream.of(scene, weight)) for weight in self.weights]

    def _learned(self, scene: Scene, stream: Stream) -> Ints:
        draw = np.random.default_rng(scene.seed)
        count, value = np.zeros(scene.m), np.full(scene.m, np.inf)  # what was not tried is tried

        def learn(model: int, reward: float) -> None:
            count[model] += 1
            before = 0.0 if count[model] == 1 else value[model]
            value[model] = before + (reward - before) / count[model]

        def scores() -> Floats:
            return draw.random(scene.m) if draw.random() < self.epsilon else value

        for _, rewards in stream.earlier():
            model = int(scores().argmax())
            learn(model, float(rewards[model]))
        room, routed = Room.of(scene), np.empty(scene.n, np.intp)
        for i in scene.arrival.tolist():
            routed[i] = room.best(scores())
            learn(int(routed[i]), float(stream.batch[i, routed[i]]))
        return routed
