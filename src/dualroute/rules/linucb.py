"""A linear bandit on the embedding of the query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.embedding import TfidfEmbedding
from dualroute.rule import Scene
from dualroute.rules.bandits import WEIGHTS, Room, Stream


@dataclass(frozen=True, slots=True)
class LinUcb:
    """MetaLLM [1]_, a reconstruction: LinUCB [2]_ with one linear model of the reward per model.

    It learns from the outcome of the model it chose alone: through the history once, then on
    through the batch as it arrives.

    Attributes
    ----------
    exploration
        Standard deviations added to the expected reward.
    dimensions
        Of the embedding.
    weights
        Of cost against quality, in the dearest model's mean cost.

    References
    ----------
    .. [1] Nguyen et al. (2024), MetaLLM: a high-performant and cost-efficient dynamic framework
       for wrapping LLMs, arXiv 2407.10834.
    .. [2] Li et al. (2010), A contextual-bandit approach to personalized news article
       recommendation, WWW 2010, doi:10.1145/1772690.1772758.
    """

    exploration: float = 0.3
    dimensions: int = 24
    weights: tuple[float, ...] = WEIGHTS

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per weight of cost, from the dearest to the cheapest."""
        embedding = TfidfEmbedding(dimensions=self.dimensions).fit(scene.history_texts)
        seen, asked = (
            np.concatenate([embedding.transform(texts), np.ones((len(texts), 1))], axis=1)
            for texts in (scene.history_texts, scene.texts)
        )
        return [
            self._learned(scene, Stream.of(scene, weight), seen, asked) for weight in self.weights
        ]

    def _learned(self, scene: Scene, stream: Stream, seen: Floats, asked: Floats) -> Ints:
        d = seen.shape[1]
        inverse = np.tile(np.eye(d), (scene.m, 1, 1))
        response, expected = np.zeros((scene.m, d)), np.zeros((scene.m, d))

        def scores(x: Floats) -> Floats:
            width: Floats = np.sqrt(np.maximum((inverse @ x) @ x, 0.0))
            return expected @ x + self.exploration * width

        def learn(model: int, x: Floats, reward: float) -> None:
            along = inverse[model] @ x
            inverse[model] -= np.outer(along, along) / (1.0 + x @ along)
            response[model] += reward * x
            expected[model] = inverse[model] @ response[model]

        for i, rewards in stream.earlier():
            model = int(scores(seen[i]).argmax())
            learn(model, seen[i], float(rewards[model]))
        room, routed = Room.of(scene), np.empty(scene.n, np.intp)
        for i in scene.arrival.tolist():
            routed[i] = room.best(scores(asked[i]))
            learn(int(routed[i]), asked[i], float(stream.batch[i, routed[i]]))
        return routed
