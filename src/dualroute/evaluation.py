"""Routings held against what really happened, and against rivals at equal realised cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, at, exact_sum
from dualroute.curve import Hull
from dualroute.errors import ProblemError
from dualroute.outcomes import Outcomes

_CHUNK = 100
_LEVEL = 0.95
_RESAMPLES = 1000


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
class Interval:
    """A figure with its bootstrap percentile interval, queries resampled.

    Attributes
    ----------
    value
        On the batch as it is.
    low, high
        The interval.
    level
        Its nominal coverage.
    """

    value: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        """Four digits, with the interval in brackets."""
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


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


@dataclass(frozen=True, slots=True, eq=False)
class Tradeoff:
    """What a rule's routings at many settings cost and are worth, as one curve.

    Attributes
    ----------
    cost, quality
        Realised means per query of every routing, both ``(k,)``.
    hull
        Their upper concave non-decreasing hull.
    aiq
        Average improvement in quality between the single models: area under the hull from the
        cheapest to the dearest single model's mean cost, over that width.
    aiq_own
        The same over the rule's own range, from the first corner of its hull to the last:
        the definition of RouterBench (Hu et al. 2024, arXiv 2403.12031) with its cost limits at
        the curve's ends.
    """

    cost: Floats
    quality: Floats
    hull: Hull
    aiq: Interval
    aiq_own: Interval


@dataclass(frozen=True, slots=True)
class Recovered:
    """How much of the gap between a weak and a strong model a two-model rule recovers.

    The measures of RouteLLM (Ong et al. 2024, arXiv 2406.18665): the performance gap recovered
    (PGR) is ``(quality - weak) / (strong - weak)``.

    Attributes
    ----------
    apgr
        Its average over the share of strong calls, from none to all.
    cpt
        PGR asked for to the least share of strong calls that reaches it.
    """

    apgr: Interval
    cpt: dict[float, float]


def realised(observed: Outcomes, assignment: Ints) -> Realised:
    """Realised total cost and mean quality of a routing, shape ``(n,)``, each sum exact."""
    cost, quality = _taken(observed, assignment)
    return Realised(exact_sum(cost), exact_sum(quality) / observed.n_queries)


def mean_quality(
    observed: Outcomes,
    assignment: Ints,
    *,
    seed: int = 0,
    resamples: int = _RESAMPLES,
    level: float = _LEVEL,
) -> tuple[Interval, Interval]:
    """Realised mean quality and mean cost per query of a routing, with their intervals."""
    cost, quality = _taken(observed, assignment)
    both = np.stack([quality, cost], axis=1)
    trials = np.concatenate(list(_resampled(both, seed, resamples)))
    values = both.mean(axis=0)
    first, second = (_interval(float(values[k]), trials[:, k], level) for k in (0, 1))
    return first, second


def tradeoff(
    observed: Outcomes,
    routings: Sequence[Ints],
    *,
    seed: int = 0,
    resamples: int = _RESAMPLES,
    level: float = _LEVEL,
) -> Tradeoff:
    """Curve, hull and average improvement in quality of a rule's routings.

    Parameters
    ----------
    observed
        What really happened, ``n`` queries by ``m`` models.
    routings
        Of one rule at different settings, each of shape ``(n,)``.
    seed, resamples, level
        Of the bootstrap: queries are drawn anew with every routing's outcomes on them, and the
        single models' costs with them.

    Raises
    ------
    ProblemError
        If there is no routing.
    """
    if not routings:
        raise ProblemError("there is no routing to evaluate; give at least one")
    taken = [_taken(observed, one) for one in routings]
    shape = (observed.n_queries, observed.n_models)
    models = np.broadcast_to(observed.column("cost"), shape).astype(np.float64)
    k = len(taken)
    columns = np.concatenate(
        [np.stack([c for c, _ in taken], axis=1), np.stack([q for _, q in taken], axis=1), models],
        axis=1,
    )

    def figures(means: Floats) -> tuple[float, float]:
        hull = Hull.of(means[:k], means[k : 2 * k])
        singles = means[2 * k :]
        own = hull.mean(float(hull.cost[0]), float(hull.cost[-1]))
        return hull.mean(float(singles.min()), float(singles.max())), own

    means = columns.mean(axis=0)
    trials = np.array(
        [figures(line) for lines in _resampled(columns, seed, resamples) for line in lines]
    ).reshape(-1, 2)
    aiq, own = figures(means)
    return Tradeoff(
        cost=means[:k],
        quality=means[k : 2 * k],
        hull=Hull.of(means[:k], means[k : 2 * k]),
        aiq=_interval(aiq, trials[:, 0], level),
        aiq_own=_interval(own, trials[:, 1], level),
    )


def gap_recovered(
    observed: Outcomes,
    routings: Sequence[Ints],
    *,
    asked: Sequence[float] = (0.5, 0.8),
    seed: int = 0,
    resamples: int = _RESAMPLES,
    level: float = _LEVEL,
) -> Recovered:
    """Gap between two models that a rule recovers, by the share of calls to the stronger.

    Parameters
    ----------
    observed
        Of two models; the stronger is the one of more quality on average.
    routings
        Of one rule, from all-weak to all-strong; quality between two is interpolated.
    asked
        PGR to find the least share of strong calls for.
    seed, resamples, level
        Of the bootstrap; resamples in which both models are equally good are left out.

    Raises
    ------
    ProblemError
        If there are not two models, or if they are equally good on average.
    """
    if observed.n_models != 2:
        raise ProblemError(f"{observed.n_models} models; the gap recovered is between two")
    shape = (observed.n_queries, 2)
    quality = np.broadcast_to(observed.column("quality"), shape).astype(np.float64)
    means = quality.mean(axis=0)
    if means[0] == means[1]:
        raise ProblemError("both models are equally good on average; there is no gap to recover")
    weak, strong = int(means.argmin()), int(means.argmax())
    lines = np.arange(shape[0])
    shares = np.array([float((one == strong).mean()) for one in routings])
    order = np.argsort(shares, kind="stable")
    shares = np.concatenate([[0.0], shares[order], [1.0]])
    rows = [quality[:, weak], *(quality[lines, routings[k]] for k in order), quality[:, strong]]
    columns = np.stack(rows, axis=1)

    def recovered(at_share: Floats) -> Floats:
        gap = at_share[-1] - at_share[0]
        share: Floats = (at_share - at_share[0]) / (gap if gap != 0 else np.nan)
        return share

    def average(at_share: Floats) -> float:
        return float(np.trapezoid(recovered(at_share), shares))

    trials = np.array(
        [average(line) for lines_ in _resampled(columns, seed, resamples) for line in lines_]
    )
    trials = trials[np.isfinite(trials)]  # no gap, nothing to recover
    curve = recovered(columns.mean(axis=0))
    value = average(columns.mean(axis=0))
    return Recovered(
        apgr=_interval(value, trials if trials.size else np.array([value]), level),
        cpt={share: _first_share(shares, curve, share) for share in asked},
    )


def _first_share(shares: Floats, curve: Floats, asked: float) -> float:
    """Least share at which the interpolated curve reaches what is asked."""
    k = int(np.argmax(curve >= asked))  # the last point is 1
    if k == 0:
        return float(shares[0])
    rise = curve[k] - curve[k - 1]
    return float(shares[k - 1] + (shares[k] - shares[k - 1]) * (asked - curve[k - 1]) / rise)


def optimal_selections(observed: Outcomes, assignment: Ints) -> tuple[float, float]:
    """Shares of queries on a model of the greatest quality, and on the cheapest of those."""
    shape = (observed.n_queries, observed.n_models)
    quality = np.broadcast_to(observed.column("quality"), shape)
    cost = np.broadcast_to(observed.column("cost"), shape)
    best = quality == quality.max(axis=1, keepdims=True)
    least = np.where(best, cost, np.inf).min(axis=1)
    chosen = best[np.arange(shape[0]), assignment]
    paid = cost[np.arange(shape[0]), assignment]
    return float(chosen.mean()), float((chosen & (paid == least)).mean())


def at_equal_cost(
    observed: Outcomes,
    assignment: Ints,
    rivals: Sequence[Ints],
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = _LEVEL,
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
    n, k = costs.shape
    rival_quality, bracketed = _at_cost(costs.mean(axis=0)[None], qualities.mean(axis=0)[None])
    differences, inside = [], []
    for means in _resampled(np.concatenate([costs, qualities], axis=1), seed, resamples):
        rival, within = _at_cost(means[:, :k], means[:, k:])
        differences.append(means[:, k] - rival)
        inside.append(within)
    mean = exact_sum(quality) / n
    difference = mean - float(rival_quality[0])
    interval = _interval(difference, np.concatenate(differences), level)
    return EqualCost(
        cost=exact_sum(cost),
        quality=mean,
        rival_quality=float(rival_quality[0]),
        difference=difference,
        low=interval.low,
        high=interval.high,
        level=level,
        bracketed=bool(bracketed[0]),
        bracketed_resamples=float(np.concatenate(inside).mean()),
    )


def _resampled(columns: Floats, seed: int, resamples: int) -> Iterator[Floats]:
    """Means of columns ``(n, k)`` over queries drawn anew, some ``(s, k)`` at a time."""
    n = columns.shape[0]
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        counts = generator.multinomial(n, np.full(n, 1.0 / n), size=size)
        yield counts @ columns / n


def _interval(value: float, trials: Floats, level: float) -> Interval:
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(trials, [tail, 100.0 - tail])
    return Interval(value, float(low), float(high), level)


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
