"""A learning automaton: chances of the models, moved by reward."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Ints
from dualroute.rule import Scene
from dualroute.rules.bandits import WEIGHTS, Room, Stream


@dataclass(frozen=True, slots=True)
class Automaton:
    """PickLLM [1]_ by a learning automaton (linear reward-inaction [2]_), a reconstruction.

    A model is drawn by the chances held; a reward moves all chances toward it. Rewards are
    brought to ``[0, 1]`` by their least and greatest over the history.

    Attributes
    ----------
    rate
        How far a full reward moves the chances.
    weights
        Of cost against quality, in the dearest model's mean cost.

    References
    ----------
    .. [1] Sikeridis et al. (2024), PickLLM, arXiv 2412.12170.
    .. [2] Narendra and Thathachar (1974), Learning automata: a survey, IEEE Transactions on
       Systems, Man, and Cybernetics SMC-4(4).
    """

    rate: float = 0.02
    weights: tuple[float, ...] = WEIGHTS

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per weight of cost, from the dearest to the cheapest."""
        return [self._learned(scene, Stream.of(scene, weight)) for weight in self.weights]

    def _learned(self, scene: Scene, stream: Stream) -> Ints:
        draw = np.random.default_rng(scene.seed)
        low, high = float(stream.history.min()), float(stream.history.max())
        chance = np.full(scene.m, 1.0 / scene.m)

        def learn(model: int, reward: float) -> None:
            unit = min(1.0, max(0.0, (reward - low) / (high - low))) if high > low else 0.0
            chance[:] *= 1.0 - self.rate * unit
            chance[model] += self.rate * unit

        for _, rewards in stream.earlier():
            model = int(draw.choice(scene.m, p=chance / chance.sum()))
            learn(model, float(rewards[model]))
        room, routed = Room.of(scene), np.empty(scene.n, np.intp)
        for i in scene.arrival.tolist():
            # The greatest of chances over exponential draws: a draw by the chances.
            routed[i] = room.best(chance / draw.exponential(size=scene.m))
            learn(int(routed[i]), float(stream.batch[i, routed[i]]))
        return routed
