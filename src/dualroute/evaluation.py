"""A routing held against what really happened, and against rivals at equal realised cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, at, exact_sum
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
    bracketed_resamples
        Share of the resamples of which that is true.
    """

    cost: float
    quality: float
    rival_quality: float
    difference: float
    low: float
    high: float
    level: float
    bracketed: bool
    bracketed_resamples: float


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
    Queries are resampled in pairs, and the two rivals and their mixture are chosen anew in every
    resample, so that the interval is of the difference at equal cost.

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
    taken = [_taken(observed, rival) for rival in rivals]
    costs = np.stack([cost, *(c for c, _ in taken)], axis=1)
    qualities = np.stack([quality, *(q for _, q in taken)], axis=1)
    n = observed.n_queries
    rival_quality, bracketed = _at_cost(costs.mean(axis=0)[None], qualities.mean(axis=0)[None])
    generator = np.random.default_rng(seed)
    differences, inside = [], []
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        counts = generator.multinomial(n, np.full(n, 1.0 / n), size=size)
        means = counts @ qualities / n
        rival, within = _at_cost(counts @ costs / n, means)
        differences.append(means[:, 0] - rival)
        inside.append(within)
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(np.concatenate(differences), [tail, 100.0 - tail])
    mean = exact_sum(quality) / n
    return EqualCost(
        cost=exact_sum(cost),
        quality=mean,
        rival_quality=float(rival_quality[0]),
        difference=mean - float(rival_quality[0]),
        low=float(low),
        high=float(high),
        level=level,
        bracketed=bool(bracketed[0]),
        bracketed_resamples=float(np.concatenate(inside).mean()),
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


def _at_cost(costs: Floats, qualities: Floats) -> tuple[Floats, Bools]:
    """Quality of the rivals' mixture at the cost of column 0, and whether they bracket it.

    Both arrays are ``(s, 1 + rivals)``, one line per sample; both answers ``(s,)``.
    """
    ours, costs, qualities = costs[:, :1], costs[:, 1:], qualities[:, 1:]
    below = np.where(costs <= ours, costs, -np.inf)
    above = np.where(costs >= ours, costs, np.inf)
    first, second = below.argmax(axis=1), above.argmin(axis=1)
    has_below, has_above = np.isfinite(below).any(axis=1), np.isfinite(above).any(axis=1)
    first, second = np.where(has_below, first, second), np.where(has_above, second, first)
    lines = np.arange(costs.shape[0])
    low, width = costs[lines, first], costs[lines, second] - costs[lines, first]
    share = np.where(width > 0, (ours[:, 0] - low) / np.where(width > 0, width, 1.0), 0.0)
    share = np.where(has_below & has_above, share, 0.0)
    mixed: Floats = (1.0 - share) * qualities[lines, first] + share * qualities[lines, second]
    bracketed: Bools = np.logical_and(has_below, has_above)
    return mixed, bracketed
