"""Light regressors for every model, and a penalty on models that fill up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.curve import multipliers
from dualroute.embedding import TfidfEmbedding
from dualroute.predictors.regression import Regression
from dualroute.rule import Scene, whole


@dataclass(frozen=True, slots=True)
class Crowding:
    """MixLLM [1]_, a reconstruction: light regressors per model, and a penalty on crowded ones.

    Quality and cost are predicted by a random forest of each model's own; the score falls as a
    model fills, by the penalty times the exponential of its fill over one.

    Attributes
    ----------
    penalty
        In units of quality, of a model that is full.
    trees
        Of every forest.
    steps
        Prices of cost, from none to all-deciding.

    References
    ----------
    .. [1] Wang et al. (2025), MixLLM: dynamic routing in mixed large language models,
       arXiv 2502.18482.
    """

    penalty: float = 0.1
    trees: int = 20
    steps: int = 21

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing per price, from the dearest to the cheapest."""
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(
            self.trees, min_samples_leaf=5, max_features="sqrt", random_state=scene.seed
        )
        embedding = TfidfEmbedding(dimensions=32)
        told = Regression(estimator=forest, embedding=embedding).fit(
            scene.history_texts, scene.history
        )
        predicted = told.predict(scene.texts)
        quality, cost = whole(predicted, "quality"), whole(predicted, "cost")
        return [
            self._stream(scene, quality - price * cost)
            for price in multipliers(cost, self.steps).tolist()
        ]

    def _stream(self, scene: Scene, worth: Floats) -> Ints:
        routed: Ints = worth.argmax(axis=1)
        if not scene.crowded:
            return routed
        load = np.zeros(scene.m)
        capacity = np.floor(scene.capacity)
        for i in scene.arrival.tolist():
            fill = load / capacity
            score = np.where(fill < 1, worth[i] - self.penalty * np.exp(fill - 1.0), -np.inf)
            routed[i] = score.argmax()
            load[routed[i]] += 1
        return routed
