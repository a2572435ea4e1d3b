"""The contract of a routing rule: what it may know, and the routings it makes of that."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.errors import ProblemError
from dualroute.outcomes import Outcomes


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A batch to route, with everything a rule may look at.

    Attributes
    ----------
    history_texts, history
        Earlier queries, and what every model did with them.
    texts, predicted
        The batch of ``n`` queries, and what a predictor expects of ``m`` models.
    truth
        What every model will do with the batch. The oracle alone reads it whole; a rule that
        learns while it routes may read the outcome of the model it has just chosen.
    capacity
        Requests each model takes, ``(m,)``; infinite where there is no limit.
    seed
        Of the order of arrival, and of rules that draw.
    """

    history_texts: Sequence[str]
    history: Outcomes
    texts: Sequence[str]
    predicted: Outcomes
    truth: Outcomes
    capacity: Floats
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that everything is about the same models and queries, and that there is room."""
        if not self.history.models == self.predicted.models == self.truth.models:
            raise ProblemError("history, predictions and truth are of different models")
        if not self.predicted.n_queries == self.truth.n_queries == len(self.texts):
            raise ProblemError(
                f"{len(self.texts)} texts, {self.predicted.n_queries} predictions and "
                f"{self.truth.n_queries} outcomes; give one each for every query"
            )
        if self.capacity.sum() < self.n:
            raise ProblemError(
                f"the models take {self.capacity.sum():g} requests together, and there are "
                f"{self.n}; widen a capacity"
            )

    @property
    def n(self) -> int:
        """Number of queries in the batch."""
        return self.predicted.n_queries

    @property
    def m(self) -> int:
        """Number of models."""
        return self.predicted.n_models

    @property
    def crowded(self) -> bool:
        """Whether any model could be full."""
        return bool((self.capacity < self.n).any())

    @property
    def arrival(self) -> Ints:
        """The queries in their order of arrival, ``(n,)``: drawn with the seed."""
        return np.random.default_rng(self.seed).permutation(self.n)

    def told(self, column: str) -> Floats:
        """A predicted column, by name or role, whole: ``(n, m)`` in float64."""
        return whole(self.predicted, column)

    def served(self, scores: Floats) -> Ints:
        """Serve first come, first served: each query its model of least score that has room.

        Parameters
        ----------
        scores
            ``(n, m)``; finite. Ties go to the earlier model.

        Returns
        -------
        integer array
            Model per query, ``(n,)``.
        """
        routed: Ints = scores.argmin(axis=1)
        if not self.crowded or (np.bincount(routed, minlength=self.m) <= self.capacity).all():
            return routed
        room = np.floor(self.capacity)
        for i in self.arrival.tolist():
            if room[routed[i]] < 1:
                routed[i] = np.where(room >= 1, scores[i], np.inf).argmin()
            room[routed[i]] -= 1
        return routed


@runtime_checkable
class Rule(Protocol):
    """Routes a batch at every one of its settings; registered, it joins every comparison."""

    def routings(self, scene: Scene) -> Sequence[Ints]:
        """Routings of the batch, at least one, each ``(n,)`` and within the capacities.

        A rule with a trade-off of quality and cost gives one for every setting of it.
        """
        ...


def whole(outcomes: Outcomes, column: str) -> Floats:
    """A column by name or role as a full grid ``(n, m)``, float64."""
    shape = (outcomes.n_queries, outcomes.n_models)
    return np.broadcast_to(outcomes.column(column), shape).astype(np.float64)


def means(outcomes: Outcomes, column: str) -> Floats:
    """Mean of every model, ``(m,)``."""
    mean: Floats = whole(outcomes, column).mean(axis=0)
    return mean


def chosen(rules: Sequence[Any]) -> tuple[Rule, ...]:
    """Rules from names and objects.

    Raises
    ------
    OptionError
        If a name is not registered.
    """
    from dualroute import registry

    return tuple(registry.create("rules", r) if isinstance(r, str) else r for r in rules)
