"""A routing held against what really happened, and against rivals at equal realised cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Floats, Ints, at, exact_sum
from dualroute.errors import ProblemError
from dualroute.outcomes import Outcomes

_CHUNK = 100


@dataclass(frozen=True, slots=True)
class Realised:
    """What a routing cost and was worth on observed outcomes.

    Attributes
    ----------
    cost
        Total over the batch, in the cost column's unit.
    quality
        Mean over the batch.
    """

    cost: float
    quality: float


@dataclass(frozen=True, slots=True)
class EqualCost:
    """A routing against a rival rule that spends the same, on observed outcomes.

    Attributes
    ----------
    cost
        Total realised cost at which both are compared.
    quality, rival_quality
        Mean realised quality of each.
    difference
        Their difference; above 0 the routing is better.
    low, high
        Bootstrap percentile interval of the difference.
    level
        Nominal coverage of the interval.
    bracketed
        Whether rivals were found on both sides of the cost. Otherwise the nearest rival stands
        in, and costs are not equal.
    """

    cost: float
    quality: float
    rival_quality: float
    difference: float
    low: float
    high: float
    level: float
    bracketed: bool


def realised(observed: Outcomes, assignment: Ints) -> Realised:
    """Realised total cost and mean quality of a routing, shape ``(n,)``, each sum exact."""
    cost, quality = _taken(observed, assignment)
    return Realised(exact_sum(cost), exact_sum(quality) / observed.n_queries)


def at_equal_cost(
    observed: Outcomes,
    assignment: Ints,
    rivals: Sequence[Ints],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> EqualCost:
    """Compare a routing with a rival rule at the routing's own realised cost.

    The two rivals whose realised costs bracket the routing's are mixed so that cost agrees
    exactly; quality mixes in the same proportion, as if each query drew one of the two rules.
    Queries are resampled in pairs, and the mixture is made anew in every resample, so that the
    interval is of the difference at equal cost.

    Parameters
    ----------
    observed
        What really happened, ``n`` queries by ``m`` models.
    assignment
        The routing, shape ``(n,)``.
    rivals
        Routings of one rule at different settings, each of shape ``(n,)``.
    resamples, level
        Of the bootstrap.

    Raises
    ------
    ProblemError
        If there is no rival.
    """
    if not rivals:
        raise ProblemError("there is no rival to compare with; give at least one routing")
    cost, quality = _taken(observed, assignment)
    ours = exact_sum(cost)
    spent = [(exact_sum(_taken(observed, rival)[0]), k) for k, rival in enumerate(rivals)]
    below = max((s for s in spent if s[0] <= ours), default=None)
    above = min((s for s in spent if s[0] >= ours), default=None)
    bracketed = below is not None and above is not None
    first, second = (below or above, above or below)
    assert first is not None
    assert second is not None
    low_cost, low_quality = _taken(observed, rivals[first[1]])
    high_cost, high_quality = _taken(observed, rivals[second[1]])
    columns = np.stack([cost, quality, low_cost, low_quality, high_cost, high_quality], axis=1)
    whole = columns.mean(axis=0, keepdims=True)
    rival_quality = float(_mixed(whole)[0])
    generator = np.random.default_rng(seed)
    n = observed.n_queries
    differences = []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        counts = generator.multinomial(n, np.full(n, 1.0 / n), size=size)
        sample = counts @ columns / n
        differences.append(sample[:, 1] - _mixed(sample))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(np.concatenate(differences), [tail, 100.0 - tail])
    mean = exact_sum(quality) / n
    return EqualCost(
        cost=ours,
        quality=mean,
        rival_quality=rival_quality,
        difference=mean - rival_quality,
        low=float(low),
        high=float(high),
        level=level,
        bracketed=bracketed,
    )


def _taken(observed: Outcomes, assignment: Ints) -> tuple[Floats, Floats]:
    """Cost and quality of each query on its model, float64, both ``(n,)``."""
    if assignment.shape != (observed.n_queries,):
        raise ProblemError(
            f"the routing has shape {assignment.shape}; there are {observed.n_queries} queries"
        )
    cost = at(observed.column("cost"), assignment).astype(np.float64)
    quality = at(observed.column("quality"), assignment).astype(np.float64)
    return cost, quality


def _mixed(sample: Floats) -> Floats:
    """Quality of the mixture of the two rivals that costs what the routing costs, ``(s,)``."""
    ours, low, high = sample[:, 0], sample[:, 2], sample[:, 4]
    width = high - low
    safe = np.where(width > 0, width, 1.0)
    share = np.where(width > 0, np.clip((ours - low) / safe, 0.0, 1.0), 0.0)
    mixed: Floats = (1.0 - share) * sample[:, 3] + share * sample[:, 5]
    return mixed
