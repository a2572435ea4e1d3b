"""A model drawn at random for every query."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Ints
from dualroute.rule import Scene


@dataclass(frozen=True, slots=True)
class Chance:
    """Every model with the same chance, whatever the query: nobody should do worse."""

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """One routing."""
        return [scene.served(np.random.default_rng(scene.seed).random((scene.n, scene.m)))]
