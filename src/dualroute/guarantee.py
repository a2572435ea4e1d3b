"""Margins that make a floor or a budget hold in the world, not on the predictions alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats, Ints, at
from dualroute.errors import OptionError, ProblemError
from dualroute.formulation import Budget, Limit, Objective, QualityFloor, Restriction, formulate
from dualroute.outcomes import Outcomes
from dualroute.solver import SolveOptions, Solver, for_many

Method: TypeAlias = Literal["normal", "bernstein"]

_ROUNDS = 8
_SETTLED = 0.02  # of a margin: nearer than its own uncertainty
_SECONDS = 60.0  # a backstop: the gap ends it, so that margins do not depend on the machine
_GAP = 1e-4  # and one query's share: a margin needs no proof


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Predictions beside outcomes of the same queries, which the predictions had not seen.

    Attributes
    ----------
    predicted, observed
        Both of ``n`` queries and the same models.
    """

    predicted: Outcomes
    observed: Outcomes

    def __post_init__(self) -> None:
        """Check that both are of the same queries and models."""
        told, seen = self.predicted, self.observed
        if told.models != seen.models or told.n_queries != seen.n_queries:
            raise ProblemError(
                f"the record has predictions of {told.n_queries} queries and outcomes of "
                f"{seen.n_queries}, or other models; give both of the same"
            )
        if seen.n_queries < 2:
            raise ProblemError("a record of one query tells no margin; give more")


@dataclass(frozen=True, slots=True)
class Margin:
    """How much tighter a limit is on the predictions, so that it holds on the outcomes.

    Attributes
    ----------
    limit
        ``quality_floor`` or ``budget``.
    asked
        Of the outcomes, per query, in the column's unit.
    predicted
        What the predictions are held to instead, per query.
    bias
        How far a routing of the record overestimated itself, per query: the predictions' own
        error with the selection of overestimated pairs in it. Where it underestimated itself
        this is negative, and not taken as credit.
    chance
        Allowed for the luck of the batch and of the record, per query.
    confidence
        As asked.
    n_record, n_queries
        Queries of the record, and of the batch.
    """

    limit: str
    asked: float
    predicted: float
    bias: float
    chance: float
    confidence: float
    n_record: int
    n_queries: int

    @property
    def words(self) -> str:
        """One line for a reader."""
        holds = "reach" if self.limit == "quality_floor" else "keep"
        return (
            f"To {holds} {self.asked:.6g} a query in {100 * self.confidence:g} % of batches, the "
            f"predictions are held to {self.predicted:.6g}: {max(self.bias, 0.0):+.2g} for what "
            f"routings of {self.n_record} known queries promised too much, {self.chance:.2g} for "
            "chance."
        )


def needs_record(limits: Sequence[Limit | Restriction]) -> bool:
    """Whether any limit comes with a confidence."""
    return any(getattr(limit, "confidence", None) is not None for limit in limits)


def tighten(
    limits: Sequence[Limit | Restriction],
    record: Record,
    n_queries: int,
    *,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    solver: str | Solver = "lagrangian",
    method: Method = "normal",
    seed: int = 0,
) -> tuple[tuple[Limit | Restriction, ...], tuple[Margin, ...]]:
    r"""Limits on predictions under which those asked for hold on the outcomes.

    A routing picks the pairs that are overestimated, so that residuals of single predictions
    understate what it promises too much. The margin is therefore learned from routings: the
    record is routed under the same limits, brought to its size and tightened, and with the mean
    :math:`r` and the standard deviation :math:`s` of promise less outcome over the routed pairs
    the margin is :math:`\max(r, 0) + q\, s \sqrt{1/n + 1/n_r}`; the second term is for the luck
    of a batch of ``n`` queries and of the record of :math:`n_r`. As the routing depends on the
    margin, this is repeated until it settles. It is the calibration of a decision rather than of
    predictions, in the manner of conformal risk control [1]_.

    What happened to single queries is skewed, costs above all: a record that lacks the rare dear
    ones has too low a mean and too small a deviation at once. So ``q`` is the normal quantile
    :math:`z` with the first term of its expansion [2]_ in the skewness :math:`g` of the sample,
    which for this difference of two means over the deviation of one is, with
    :math:`v = 1/n + 1/n_r`,

    .. math:: q = z + \frac{g}{\sqrt v} \left(\frac{1}{2 n_r}
              + \Bigl(\frac{1}{n} + \frac{2}{n_r}\Bigr) \frac{z^2 - 1}{6}\right),

    where that is more than ``z``. A negative ``r`` is no credit: predictors of the record were
    learned from a part of the history, and what they say too much of everything shrinks as they
    learn more. ``"bernstein"`` has the empirical Bernstein bound [3]_ in the place of the
    expansion, over the span that the record shows: for small samples, and asks for much more.

    Both rest on batch and record being drawn from the same queries: no margin covers a change of
    traffic.

    Parameters
    ----------
    limits
        Of the batch; those with a confidence are tightened, the others come back as they are.
    record
        Predictions beside outcomes.
    n_queries
        Of the batch, ``n``.
    minimize, maximize, solver
        As in `dualroute.solve`; the record is routed as the batch will be.
    method
        ``"normal"`` or ``"bernstein"``.
    seed
        Of the solver.

    Returns
    -------
    tuple
        The limits, and one `Margin` for each that was tightened. Where the record has no
        routing within the tightened limits, the margins are those of the last that had one.

    Raises
    ------
    ProblemError
        If no routing of the record is found within the limits as asked: there is nothing to
        learn a margin from.

    References
    ----------
    .. [1] Angelopoulos et al. (2024), Conformal risk control, ICLR 2024, arXiv 2208.02814.
    .. [2] Hall (1992), The bootstrap and Edgeworth expansion, Springer, section 2.4.
    .. [3] Maurer and Pontil (2009), Empirical Bernstein bounds and sample variance penalization,
       arXiv 0907.3740.
    """
    if method not in ("normal", "bernstein"):
        raise OptionError(f"method is {method!r}; give 'normal' or 'bernstein'")
    promised = [i for i, limit in enumerate(limits) if getattr(limit, "confidence", None)]
    if not promised:
        return tuple(limits), ()
    for i in promised:
        if not isinstance(limits[i], QualityFloor | Budget):
            raise OptionError("only QualityFloor and Budget take a confidence")
    n_record = record.observed.n_queries
    ratio = n_record / n_queries
    chosen = for_many(registry.create("solvers", solver) if isinstance(solver, str) else solver)
    gap = _GAP + 1.0 / n_record
    options = SolveOptions(time_limit=_SECONDS, mip_rel_gap=gap, seed=seed)
    margin = np.zeros(len(promised))
    parts = np.zeros((len(promised), 2))
    for round_ in range(_ROUNDS):
        tightened = _with_margins(limits, promised, margin, n_queries)
        problem = formulate(
            record.predicted,
            minimize=minimize,
            maximize=maximize,
            limits=[_resized(limit, ratio) for limit in tightened],
        )
        routed = chosen.solve(problem, options).assignment
        if routed is None:
            if round_ == 0:
                raise ProblemError(
                    f"no routing of the {n_record} known queries was found within the limits as "
                    "asked, so that no margin can be learned; loosen a limit, or leave the "
                    "confidence out"
                )
            break
        for k, i in enumerate(promised):
            parts[k] = _parts(limits[i], record, routed, n_queries, method)
        wanted = np.maximum(parts, 0.0).sum(axis=1)
        settled = np.abs(wanted - margin) <= _SETTLED * np.maximum(wanted, 1e-300)
        margin = wanted
        if settled.all():
            break
    tightened = _with_margins(limits, promised, margin, n_queries)
    margins = []
    for k, i in enumerate(promised):
        limit: Any = limits[i]
        asked, held = (_per_query(one, n_queries) for one in (limit, tightened[i]))
        margins.append(
            Margin(
                limit="budget" if isinstance(limit, Budget) else "quality_floor",
                asked=asked,
                predicted=held,
                bias=float(parts[k, 0]),
                chance=float(parts[k, 1]),
                confidence=limit.confidence,
                n_record=n_record,
                n_queries=n_queries,
            )
        )
    return tuple(tightened), tuple(margins)


def _parts(
    limit: Any, record: Record, routed: Ints, n_queries: int, method: Method
) -> tuple[float, float]:
    """Bias and allowance for chance of a limit's margin, per query."""
    promise, outcome = (
        at(_whole(one, limit.column), routed).astype(np.float64)
        for one in (record.predicted, record.observed)
    )
    excess = promise - outcome if isinstance(limit, QualityFloor) else outcome - promise
    bias, sd, n_record = float(excess.mean()), float(excess.std(ddof=1)), excess.size
    if method == "normal":
        wide = sd * math.sqrt(1 / n_queries + 1 / n_record)
        return bias, _quantile(limit.confidence, excess, n_queries) * wide
    # Half of the error probability for the record, half for the batch.
    log = math.log(4.0 / (1.0 - limit.confidence))
    span = float(excess.max() - excess.min())
    terms = [
        sd * math.sqrt(2 * log / size) + 7 * span * log / (3 * max(size - 1, 1))
        for size in (n_queries, n_record)
    ]
    return bias, sum(terms)


def _quantile(confidence: float, excess: Floats, n_queries: int) -> float:
    """Standard errors to allow for, of the difference of a batch's mean and the record's."""
    from scipy.stats import norm

    z, n_record, sd = float(norm.ppf(confidence)), excess.size, float(excess.std())
    if sd == 0:
        return z
    skewness = float((((excess - excess.mean()) / sd) ** 3).mean())
    tail = (1 / n_queries + 2 / n_record) * (z**2 - 1) / 6
    lean = (1 / (2 * n_record) + tail) / math.sqrt(1 / n_queries + 1 / n_record)
    return z + max(skewness * lean, 0.0)


def _with_margins(
    limits: Sequence[Limit | Restriction], promised: list[int], margin: Floats, n: int
) -> list[Limit | Restriction]:
    held = list(limits)
    for i, extra in zip(promised, margin.tolist(), strict=True):
        limit: Any = limits[i]
        if isinstance(limits[i], Budget):
            total = max(0.0, float(limit.total) - n * extra)
            held[i] = replace(limit, total=total, confidence=None)
        elif limit.mean is not None:
            held[i] = replace(limit, mean=min(1.0, limit.mean + extra), confidence=None)
        else:
            held[i] = replace(limit, total=limit.total + n * extra, confidence=None)
    return held


def _per_query(limit: Any, n: int) -> float:
    mean = getattr(limit, "mean", None)
    return float(limit.total / n if mean is None else mean)


def _resized(limit: Any, ratio: float) -> Any:
    """A limit of the batch as one of the record: totals grow with the number of queries."""
    return limit.scaled(ratio) if hasattr(limit, "scaled") else limit


def _whole(outcomes: Outcomes, column: str) -> Floats:
    shape = (outcomes.n_queries, outcomes.n_models)
    return np.broadcast_to(outcomes.column(column), shape)
