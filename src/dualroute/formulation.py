"""Limits in the user's words, and the step from outcomes to a routing problem."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.errors import OptionError, ProblemError, TableError
from dualroute.outcomes import Outcomes
from dualroute.problem import FEASIBILITY_TOLERANCE, RoutingProblem, Rows

Amount: TypeAlias = float | Mapping[str, float]
Objective: TypeAlias = str | Mapping[str, float]


@runtime_checkable
class Limit(Protocol):
    """Something that couples queries: it becomes one family of rows."""

    def rows(self, outcomes: Outcomes) -> Rows:
        """The limit as rows over these outcomes."""
        ...


@runtime_checkable
class Restriction(Protocol):
    """Something that forbids single pairs."""

    def allowed(self, outcomes: Outcomes) -> Bools:
        """Grid of the pairs that may be routed."""
        ...


@dataclass(frozen=True, slots=True)
class Budget:
    """A column summed over the batch stays within a total.

    Attributes
    ----------
    total
        In the column's unit: one number, or one per group named by `by` (a group that is not
        named is unlimited).
    column
        What is summed; ``"cost"`` is the table's cost column.
    by
        Attribute that groups queries (tenant, hour); each group has its own budget.
    confidence
        Chance in ``[0.5, 1)`` with which the realised sum of a batch is to stay within the
        total, prediction error included; None for a limit on the predictions alone. It needs a
        record of predictions beside outcomes: `dualroute.route` makes one from the history,
        `dualroute.guarantee.tighten` takes any.
    """

    total: Amount
    column: str = "cost"
    by: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _numbers("Budget total", self.total, low=0.0)
        _name("Budget column", self.column)
        _name("Budget by", self.by)
        _confident("Budget", self.confidence, self.total, self.by)

    def scaled(self, ratio: float) -> "Budget":
        """The same limit for a batch of `ratio` times as many queries."""
        return replace(self, total=_scaled(self.total, ratio))

    def rows(self, outcomes: Outcomes) -> Rows:
        """One row per group."""
        _without_confidence("Budget", self.confidence)
        return _grouped("budget", self.total, None, self.column, self.by, outcomes)


@dataclass(frozen=True, slots=True)
class QualityFloor:
    """Quality over the batch reaches at least a mean, or a total.

    Attributes
    ----------
    mean, total
        Exactly one of them: a mean in ``[0, 1]`` over all queries of the batch (of each group,
        with `by`), or a total; one number, or one per group.
    column
        What is averaged; ``"quality"`` is the table's quality column.
    by
        Attribute that groups queries; each group has its own floor.
    confidence
        Chance in ``[0.5, 1)`` with which the realised mean (or total) of a batch is to reach the
        floor, prediction error included; as for `Budget`.
    """

    mean: Amount | None = None
    total: Amount | None = None
    column: str = "quality"
    by: str | None = None
    confidence: float | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _one_of("QualityFloor", self.mean, self.total)
        if self.mean is not None:
            _numbers("QualityFloor mean", self.mean, low=0.0, high=1.0)
        else:
            _numbers("QualityFloor total", self.total, low=0.0)
        _name("QualityFloor column", self.column)
        _name("QualityFloor by", self.by)
        amount = self.total if self.mean is None else self.mean
        _confident("QualityFloor", self.confidence, amount, self.by)

    def scaled(self, ratio: float) -> "QualityFloor":
        """The same limit for a batch of `ratio` times as many queries."""
        return replace(self, total=_scaled(self.total, ratio))

    def rows(self, outcomes: Outcomes) -> Rows:
        """One row per group, stored negated."""
        _without_confidence("QualityFloor", self.confidence)
        return _grouped(
            "quality_floor", self.total, self.mean, self.column, self.by, outcomes, at_least=True
        )


@dataclass(frozen=True, slots=True)
class MetricCap:
    """A column (latency, carbon) stays within a mean, or a total, over the batch.

    Attributes
    ----------
    column
        What is averaged or summed.
    mean, total
        Exactly one of them, in the column's unit: one number, or one per group.
    by
        Attribute that groups queries; each group has its own cap.
    """

    column: str
    mean: Amount | None = None
    total: Amount | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _one_of("MetricCap", self.mean, self.total)
        _numbers("MetricCap", self.total if self.mean is None else self.mean)
        _name("MetricCap column", self.column)
        _name("MetricCap by", self.by)

    def scaled(self, ratio: float) -> "MetricCap":
        """The same limit for a batch of `ratio` times as many queries."""
        return replace(self, total=_scaled(self.total, ratio))

    def rows(self, outcomes: Outcomes) -> Rows:
        """One row per group."""
        name = f"{self.column}_cap"
        return _grouped(name, self.total, self.mean, self.column, self.by, outcomes)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What each model can take: requests, or any column such as tokens or seconds.

    Attributes
    ----------
    limit
        One number for every model, or one per named model (a model that is not named is
        unlimited).
    column
        What a request takes of the capacity; counts requests when not given.
    by
        Attribute that groups queries; each model has this capacity in each group (per hour).
    """

    limit: Amount
    column: str | None = None
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _numbers("Capacity limit", self.limit, low=0.0)
        _name("Capacity column", self.column)
        _name("Capacity by", self.by)

    def scaled(self, ratio: float) -> "Capacity":
        """The same limit for a batch of `ratio` times as many queries."""
        return replace(self, limit=_scaled(self.limit, ratio))

    def rows(self, outcomes: Outcomes) -> Rows:
        """One row per model and group."""
        return _per_model("capacity", self.limit, None, self.column, self.by, outcomes)


@dataclass(frozen=True, slots=True)
class ShareCap:
    """No model (or none of those named) answers more than a share of the queries.

    Attributes
    ----------
    share
        In ``[0, 1]``: one number for every model, or one per named model.
    by
        Attribute that groups queries; the cap then holds within each group.
    """

    share: Amount
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _numbers("ShareCap share", self.share, low=0.0, high=1.0)
        _name("ShareCap by", self.by)

    def rows(self, outcomes: Outcomes) -> Rows:
        """One row per model and group."""
        return _per_model("share_cap", None, self.share, None, self.by, outcomes)


@dataclass(frozen=True, slots=True)
class MinShare:
    """Every model (or every one named) answers at least a share of the queries.

    Attributes
    ----------
    share
        In ``[0, 1]``: one number for every model, or one per named model.
    by
        Attribute that groups queries; the share is then owed within each group.
    """

    share: Amount
    by: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        _numbers("MinShare share", self.share, low=0.0, high=1.0)
        _name("MinShare by", self.by)

    def rows(self, outcomes: Outcomes) -> Rows:
        """One row per model and group, stored negated."""
        return _per_model("min_share", None, self.share, None, self.by, outcomes, at_least=True)


@dataclass(frozen=True, slots=True)
class ContextWindow:
    """A query longer than a model's context window does not go to that model.

    Attributes
    ----------
    tokens
        The window: one number, or one per named model (a model not named takes any length).
    column
        The length of a query for a model.
    """

    tokens: Amount
    column: str = "input_tokens"

    def __post_init__(self) -> None:
        """Check the numbers."""
        _numbers("ContextWindow tokens", self.tokens, low=0.0)
        _name("ContextWindow column", self.column)

    def allowed(self, outcomes: Outcomes) -> Bools:
        """Pairs whose length fits the window."""
        window = np.full((1, outcomes.n_models), np.inf)
        for j, tokens in _by_model(self.tokens, outcomes).items():
            window[0, j] = tokens
        fits: Bools = outcomes.column(self.column) <= window
        return fits


@dataclass(frozen=True, slots=True)
class AllowedModels:
    """A policy: queries of a group go to the models named for it, and to no other.

    Attributes
    ----------
    models
        Names of models; or, with `by`, group to names (a group not named may use all).
    by
        Attribute that groups queries, such as the tenant.
    """

    models: Sequence[str] | Mapping[str, Sequence[str]]
    by: str | None = None

    def __post_init__(self) -> None:
        """Check that groups and names go together."""
        _name("AllowedModels by", self.by)
        lists = list(self.models.values()) if isinstance(self.models, Mapping) else [self.models]
        if any(
            isinstance(names, str)
            or not isinstance(names, Sequence)
            or not all(isinstance(name, str) for name in names)
            for names in lists
        ):
            raise OptionError("AllowedModels takes lists of names; write ['small'], not 'small'")
        if isinstance(self.models, Mapping) != (self.by is not None):
            raise OptionError(
                "AllowedModels takes a list of models, or by= and one list per group of that name"
            )

    def allowed(self, outcomes: Outcomes) -> Bools:
        """Pairs the policy lets through."""
        if not isinstance(self.models, Mapping):
            return self._named(self.models, outcomes)[None, :]
        codes, labels, _ = _groups(outcomes, self.by)
        lines = np.ones((len(labels), outcomes.n_models), bool)
        for group, names in self.models.items():
            lines[_group_index(group, labels, self.by)] = self._named(names, outcomes)
        return lines[codes]

    @staticmethod
    def _named(names: Sequence[str], outcomes: Outcomes) -> Bools:
        named = np.zeros(outcomes.n_models, bool)
        named[[outcomes.model_index(name) for name in names]] = True
        return named


def formulate(
    outcomes: Outcomes,
    *,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    allowed: Bools | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
) -> RoutingProblem:
    """The routing problem of some outcomes under limits.

    Parameters
    ----------
    outcomes
        ``n`` queries by ``m`` models.
    minimize, maximize
        Exactly one of them: a column, or a weighted mix as a mapping of columns to weights.
    limits
        Any number of limits and restrictions, all of which hold at once.
    allowed
        Grid of the pairs that may be routed, beside the restrictions.
    tolerance
        Relative feasibility tolerance of every limit; 0 for exactness.

    Returns
    -------
    RoutingProblem
        In minimised form; shares the table's memory where it can.

    Raises
    ------
    TableError
        If a column, model or attribute named is not in the table.
    ProblemError
        If a query is left without an allowed model.
    OptionError
        If there is not exactly one objective.
    """
    if (minimize is None) == (maximize is None):
        raise OptionError("give exactly one of minimize= and maximize=")
    wanted = minimize if minimize is not None else maximize
    assert wanted is not None
    objective, unit = _mix(outcomes, wanted, negate=maximize is not None)
    for limit in limits:
        if not isinstance(limit, Limit | Restriction):
            raise OptionError(f"{limit!r} is no limit; give a Budget, a Capacity or another one")
    grids = [limit.allowed(outcomes) for limit in limits if isinstance(limit, Restriction)]
    if allowed is not None:
        grids.append(np.atleast_2d(np.asarray(allowed, bool)))
    for grid in grids:
        if grid.shape[0] not in (1, outcomes.n_queries) or grid.shape[1] not in (
            1,
            outcomes.n_models,
        ):
            raise ProblemError(
                f"a grid of allowed pairs has shape {grid.shape}, which does not fit"
            )
        objective = np.where(grid, objective, np.inf)
    families = [limit.rows(outcomes) for limit in limits if isinstance(limit, Limit)]
    return RoutingProblem(
        objective=objective,
        rows=_distinctly_named(families),
        models=outcomes.models,
        maximize=maximize is not None,
        unit=unit,
        tolerance=tolerance,
        terms=_terms(outcomes, wanted, negate=maximize is not None),
    )


def parse_objective(text: str) -> Objective:
    """An objective written out: ``"cost"``, or ``"cost_usd + 0.002*latency_s"``.

    Raises
    ------
    OptionError
        If the text is no such sum.
    """
    term = re.compile(r"\s*([+-]?)\s*(?:([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*\*\s*)?([^\s*+-][^\s*+]*)")
    weights: dict[str, float] = {}
    end = 0
    while end < len(text.rstrip()):
        found = term.match(text, end)
        if found is None or (end > 0 and not found[1]):
            raise OptionError(
                f"cannot read the objective {text!r}; write a column, or a sum like "
                "cost + 0.002*latency"
            )
        try:
            weight = float((found[1] or "+") + (found[2] or "1"))
        except ValueError:
            raise OptionError(f"cannot read {found[2]!r} in the objective {text!r}") from None
        weights[found[3]] = weights.get(found[3], 0.0) + weight
        end = found.end()
    if not weights:
        raise OptionError("the objective is empty; name a column, cost for example")
    return next(iter(weights)) if list(weights.values()) == [1.0] else weights


def _mix(outcomes: Outcomes, wanted: Objective, *, negate: bool) -> tuple[Floats, str]:
    weights = {wanted: 1.0} if isinstance(wanted, str) else dict(wanted)
    if not weights or not np.isfinite(list(weights.values())).all():
        raise OptionError(f"an objective needs columns with finite weights; found {weights}")
    shape = (outcomes.n_queries, outcomes.n_models)
    unit = " + ".join(
        outcomes.name_of(c) if w == 1 else f"{w:g}*{outcomes.name_of(c)}"
        for c, w in weights.items()
    ).replace("+ -", "- ")
    sign = -1.0 if negate else 1.0
    terms = [(outcomes.column(column), sign * weight) for column, weight in weights.items()]
    if len(terms) == 1 and abs(terms[0][1]) == 1.0:
        grid, weight = terms[0]
        return np.broadcast_to(grid if weight > 0 else -grid, shape), unit
    # Products in float64, whatever the columns are: rounding must stay far below any gap.
    with np.errstate(over="ignore", invalid="ignore"):
        total = sum(grid.astype(np.float64) * weight for grid, weight in terms)
    if not np.isfinite(total).all():
        raise OptionError(f"the objective {unit} leaves the range of numbers; use smaller weights")
    return np.broadcast_to(np.asarray(total), shape), unit


def _terms(outcomes: Outcomes, wanted: Objective, *, negate: bool) -> dict[str, float]:
    """Weight of every column in the minimised objective, by the table's own names."""
    terms: dict[str, float] = {}
    for column, weight in ({wanted: 1.0} if isinstance(wanted, str) else wanted).items():
        name = outcomes.name_of(column)
        terms[name] = terms.get(name, 0.0) + (-float(weight) if negate else float(weight))
    return terms


def _grouped(
    name: str,
    total: Amount | None,
    mean: Amount | None,
    column: str,
    by: str | None,
    outcomes: Outcomes,
    *,
    at_least: bool = False,
) -> Rows:
    """One row per group: a total as it is, or a mean times the group's queries."""
    usage = outcomes.column(column)
    amount = total if mean is None else mean
    codes, labels, sizes = _groups(outcomes, by)
    if isinstance(amount, Mapping):
        if not amount:
            raise OptionError(f"{name} names no group; give one number, or one per group")
        if by is None:
            raise OptionError(f"{name}: one number per group needs by=, the attribute that groups")
        pools = np.full(len(labels), -1, np.int32)
        for k, group in enumerate(amount):
            pools[_group_index(group, labels, by)] = k
        limit: Floats = np.array(list(amount.values()), np.float64)
        sizes = np.array([sizes[np.flatnonzero(pools == k)[0]] for k in range(limit.size)])
        labels = tuple(f"{by}={group}" for group in amount)
        codes = pools[codes]
    else:
        limit = np.full(len(labels), np.nan if amount is None else float(amount))
        labels = tuple(f"{by}={label}" for label in labels) if by else ()
    if mean is not None:
        limit = _times(limit, sizes)
    return Rows(
        name=name,
        usage=usage,
        limit=-limit if at_least else limit,
        pool=codes[:, None] if by else np.zeros((1, 1), np.int32),
        labels=labels,
        unit=outcomes.name_of(column),
        at_least=at_least,
        sign=-1.0 if at_least else 1.0,
        column=outcomes.name_of(column),
    )


def _per_model(
    name: str,
    amount: Amount | None,
    share: Amount | None,
    column: str | None,
    by: str | None,
    outcomes: Outcomes,
    *,
    at_least: bool = False,
) -> Rows:
    """One row per limited model and group: an amount, or a share of the group's queries."""
    per_model = _by_model(share if amount is None else amount, outcomes)
    usage = np.ones((1, 1)) if column is None else outcomes.column(column)
    columns = np.full((1, outcomes.n_models), -1, np.int32)
    columns[0, list(per_model)] = np.arange(len(per_model), dtype=np.int32)
    each = np.array(list(per_model.values()), np.float64)
    names = [outcomes.models[j] for j in per_model]
    codes, groups, sizes = _groups(outcomes, by)
    limit: Floats = np.tile(each, len(groups)).reshape(len(groups), -1)
    if share is not None:
        limit = _times(limit, np.broadcast_to(sizes[:, None], limit.shape))
    pool: Ints = columns
    if by is not None:
        pool = np.where(columns < 0, -1, codes[:, None] * np.int32(len(names)) + columns)
        names = [f"{model}, {by}={group}" for group in groups for model in names]
    return Rows(
        name=name,
        usage=usage,
        limit=(-limit if at_least else limit).ravel(),
        pool=pool,
        labels=tuple(names),
        unit="requests" if column is None else outcomes.name_of(column),
        at_least=at_least,
        sign=-1.0 if at_least else 1.0,
        column="" if column is None else outcomes.name_of(column),
    )


def _times(each: Floats, sizes: Floats) -> Floats:
    """Shares or means times sizes, read as the decimals they are written as: 0.29 of 100 is 29."""
    pairs = zip(each.ravel().tolist(), sizes.ravel().tolist(), strict=True)
    exact = [float(Fraction(repr(share)) * int(size)) for share, size in pairs]
    return np.array(exact).reshape(each.shape)


def _by_model(amount: Amount | None, outcomes: Outcomes) -> dict[int, float]:
    if isinstance(amount, Mapping):
        if not amount:
            raise OptionError("a limit per model names no model")
        return {outcomes.model_index(name): float(value) for name, value in amount.items()}
    assert amount is not None
    return dict.fromkeys(range(outcomes.n_models), float(amount))


def _groups(outcomes: Outcomes, by: str | None) -> tuple[Ints, tuple[str, ...], Floats]:
    """Group number of every query ``(n,)``, the groups' labels, and their sizes."""
    if by is None:
        return np.zeros(1, np.int32), ("",), np.array([float(outcomes.n_queries)])
    values, codes, sizes = np.unique(
        outcomes.attribute(by).astype(str), return_inverse=True, return_counts=True
    )
    return codes.astype(np.int32), tuple(values.tolist()), sizes.astype(np.float64)


def _group_index(group: str, labels: tuple[str, ...], by: str | None) -> int:
    if str(group) not in labels and isinstance(group, (int, float)):
        group = str(float(group))  # 3 names the group 3.0 of a column of floats
    if str(group) not in labels:
        few = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
        raise TableError(f"no query has {by} = {group!r}; the table has {few}")
    return labels.index(str(group))


def _distinctly_named(families: Sequence[Rows]) -> tuple[Rows, ...]:
    """Two limits of one kind are told apart in reports: ``capacity``, ``capacity_2``."""
    seen: dict[str, int] = {}
    named = []
    for rows in families:
        seen[rows.name] = seen.get(rows.name, 0) + 1
        count = seen[rows.name]
        named.append(rows if count == 1 else replace(rows, name=f"{rows.name}_{count}"))
    return tuple(named)


def _scaled(amount: Any, ratio: float) -> Any:
    """An amount, or one per group or model, times a ratio; None stays."""
    if isinstance(amount, Mapping):
        return {name: float(value) * ratio for name, value in amount.items()}
    return None if amount is None else float(amount) * ratio


def _confident(what: str, confidence: float | None, amount: Any, by: str | None) -> None:
    if confidence is None:
        return
    _numbers(f"{what} confidence", confidence, low=0.5, high=1.0)
    if confidence >= 1.0:
        raise OptionError(f"{what} confidence is 1; no chance is certain, give 0.95, say")
    if by is not None or isinstance(amount, Mapping):
        raise OptionError(f"{what} with a confidence is of the whole batch; leave by= out")


def _without_confidence(what: str, confidence: float | None) -> None:
    if confidence is not None:
        raise OptionError(
            f"a {what} with a confidence needs predictions beside outcomes to learn a margin "
            "from; use route(), or guarantee.tighten() with a record of your own"
        )


def _name(what: str, name: str | None) -> None:
    if name is not None and not isinstance(name, str):
        raise OptionError(f"{what} is {name!r}; give the name of a column, as text")


def _one_of(what: str, mean: Amount | None, total: Amount | None) -> None:
    if (mean is None) == (total is None):
        raise OptionError(f"{what} takes exactly one of mean= and total=")


def _numbers(what: str, amount: Amount | None, low: float = -np.inf, high: float = np.inf) -> None:
    values = amount.values() if isinstance(amount, Mapping) else [amount]
    for value in values:
        if not isinstance(value, (int, float, np.number)) or isinstance(value, bool):
            raise OptionError(f"{what} is {value!r}; give a number")
        if not low <= value <= high or abs(value) > sys.float_info.max:
            span = f"between {low:g} and {high:g}" if np.isfinite(high) else f"of at least {low:g}"
            span = span if np.isfinite(low) else "that is finite"
            raise OptionError(f"{what} is {float(str(value)):g}; give a number {span}")
