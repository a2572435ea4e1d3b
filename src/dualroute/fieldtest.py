"""A predictor and routing rules held against observed outcomes, from texts to certificates."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats, Ints
from dualroute.calibration import Calibration
from dualroute.curve import Hull, lambda_routings
from dualroute.errors import MissingDependencyError, RoutingError, TableError
from dualroute.evaluation import (
    EqualCost,
    Interval,
    Recovered,
    Tradeoff,
    at_equal_cost,
    gap_recovered,
    optimal_selections,
    realised,
    tradeoff,
)
from dualroute.formulation import Budget, Capacity, Limit, Objective, Restriction
from dualroute.outcomes import Outcomes
from dualroute.predictor import Predictor
from dualroute.routing import solve, verify
from dualroute.rule import Rule, Scene, means, whole
from dualroute.solver import SolveOptions

_REFERENCE = "certified"
_LEVELS = (0.5, 0.8, 0.95)  # of the reference's span of quality: where rules are compared
_VERIFY_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class ForecastLine:
    """How well one column was predicted.

    Attributes
    ----------
    column
        Its name.
    calibration
        Of the quality; None for other columns.
    explained
        Share of the variance about each model's mean that is explained.
    bias
        Mean prediction over mean outcome, less 1.
    """

    column: str
    calibration: Calibration | None
    explained: float
    bias: float


@dataclass(frozen=True, slots=True, eq=False)
class RuleLine:
    """One rule, judged on what was observed.

    Attributes
    ----------
    rule
        Its name.
    curve
        Costs, qualities, hull and AIQ of its routings.
    against
        Its routing nearest in cost to each of three of the certified plan's, against certified
        plans of the same realised cost: below 0 the rule is worse.
    gap
        Of the middle of those routings on the predictions: quality per query that the certified
        plan of the same predicted cost has more, at most; NaN if not bounded.
    best, cheapest_best
        Shares of queries of that routing on a best model, and on the cheapest best one.
    seconds
        That the rule took for all its routings.
    problem
        Why there is no figure; empty otherwise.
    """

    rule: str
    curve: Tradeoff | None
    against: tuple[EqualCost, ...]
    gap: float
    best: float
    cheapest_best: float
    seconds: float
    problem: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class RegretSplit:
    """Where quality (or cost) is lost between knowing everything and the plan.

    Every value is of the objective on the truth, per query, in the user's sense.

    Attributes
    ----------
    unlimited
        Of the best model for every query, without any limit.
    truth
        Certified optimum on the truth under the limits; NaN if none was found.
    plan
        Of the plan made on predictions.
    predicted
        What the plan promised on the predictions.
    solver_gap
        The certified gap of the plan on the predictions, per query: what the solver may have
        lost there, at most.
    truth_gap
        The certified gap of the optimum on the truth, per query.
    kept
        Name of every limit, and whether the plan keeps it on the truth.
    """

    unlimited: float
    truth: float
    plan: float
    predicted: float
    solver_gap: float
    truth_gap: float
    kept: dict[str, bool]


@dataclass(frozen=True, slots=True, eq=False)
class FieldTest:
    """What `field_test` found.

    Attributes
    ----------
    n_history, n_queries, n_models
        Sizes.
    predictor
        Its name.
    fit_seconds, predict_seconds
        Its times.
    forecast
        How well every predicted column was.
    singles
        Model to mean cost per query and mean quality on the batch.
    singles_aiq, predicted_aiq, oracle_aiq
        Average improvement in quality of the single models' hull, of the lambda rule on the
        predictions, and of that on the truth: without any limit.
    recovered
        The gap recovered; None unless there are two models.
    capacity
        Requests each model takes, infinite without a limit.
    rules
        Every rule asked for.
    costs
        Costs per query at which rules are compared.
    split
        Where the objective is lost under the limits given; None without.
    report
        What the predictor says of itself; None if nothing.
    prices
        The price list that costs come from, with its date; empty if they come from the log.
    """

    n_history: int
    n_queries: int
    n_models: int
    predictor: str
    fit_seconds: float
    predict_seconds: float
    forecast: tuple[ForecastLine, ...]
    singles: dict[str, tuple[float, float]]
    singles_aiq: float
    predicted_aiq: Interval
    predicted_curve: Tradeoff
    oracle_aiq: float
    recovered: Recovered | None
    capacity: Floats
    rules: tuple[RuleLine, ...]
    costs: tuple[float, ...]
    split: RegretSplit | None
    report: dict[str, Any] | None
    prices: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        return {
            "n_history": self.n_history,
            "n_queries": self.n_queries,
            "n_models": self.n_models,
            "predictor": self.predictor,
            "fit_seconds": self.fit_seconds,
            "predict_seconds": self.predict_seconds,
            "forecast": [
                {
                    "column": line.column,
                    "explained": line.explained,
                    "bias": _finite(line.bias),
                    "calibration": line.calibration and line.calibration.to_dict(),
                }
                for line in self.forecast
            ],
            "singles": {k: {"cost": c, "quality": q} for k, (c, q) in self.singles.items()},
            "aiq": {
                "singles": self.singles_aiq,
                "predicted": asdict(self.predicted_aiq),
                "predicted_own_range": asdict(self.predicted_curve.aiq_own),
                "oracle": self.oracle_aiq,
            },
            "recovered": self.recovered
            and {
                "apgr": asdict(self.recovered.apgr),
                "cpt": {str(k): v for k, v in self.recovered.cpt.items()},
            },
            "capacity": [_finite(float(c)) for c in self.capacity],
            "compared_at_cost": list(self.costs),
            "rules": [_rule_values(line) for line in self.rules],
            "regret": self.split and {k: _finite(v) for k, v in asdict(self.split).items()},
            "report": self.report,
            "prices": self.prices or None,
        }


def field_test(
    texts: Sequence[str],
    observed: Outcomes,
    history_texts: Sequence[str],
    history: Outcomes,
    *,
    predictor: str | Predictor = "hybrid",
    name: str = "",
    rules: Sequence[str | Rule] | None = None,
    capacity: float | None = None,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    options: SolveOptions | None = None,
    seed: int = 0,
    resamples: int = 1000,
    tell: Callable[[str], None] = lambda _: None,
) -> FieldTest:
    """Learn from a history, route a later batch by many rules, and judge all on what happened.

    Parameters
    ----------
    texts, observed
        The batch of ``n`` queries, and what every model did with it: nothing but the judge, the
        oracle and rules that learn while they route see it.
    history_texts, history
        Earlier queries and their outcomes, with the same models and at least the same columns
        of cost and quality.
    predictor
        A registered name, or an object with ``fit`` and ``predict``.
    name
        What to call the predictor; by its class or registered name if not given.
    rules
        Names of rules or objects; all registered ones if not given, none if empty.
    capacity
        Requests each model takes, in even shares of the batch: 1.5 allows each one and a half
        times ``n / m``, rounded up.
    minimize, maximize, limits
        An objective and limits, to split the regret for; as in `solve`.
    options
        For the plans of the split.
    seed, resamples
        Of rules, arrival and bootstrap.
    tell
        Called with a line before each step.

    Raises
    ------
    TableError
        If the two tables disagree on models or columns, or texts and outcomes in number.
    """
    _same_kind(observed, history)
    if len(texts) != observed.n_queries:
        raise TableError(
            f"{len(texts)} texts for {observed.n_queries} queries with outcomes; give one each"
        )
    options = options or SolveOptions(mip_rel_gap=1e-6)
    if not name:
        name = predictor if isinstance(predictor, str) else type(predictor).__name__.lower()
    tell(f"learning from {len(history_texts)} queries ({name})")
    started = time.perf_counter()
    learner = registry.create("predictors", predictor) if isinstance(predictor, str) else predictor
    fitted = learner.fit(history_texts, history)
    learned = time.perf_counter()
    predicted = fitted.predict(texts)
    finished = time.perf_counter()

    tell("judging the predictions")
    cost, quality = means(observed, "cost"), means(observed, "quality")
    low, high = float(cost.min()), float(cost.max())
    routed = lambda_routings(predicted)
    curve = tradeoff(observed, routed, seed=seed, resamples=resamples)
    ideal = [realised(observed, one) for one in lambda_routings(observed)]
    n, m = observed.n_queries, observed.n_models
    best = Hull.of(np.array([one.cost / n for one in ideal]), np.array([o.quality for o in ideal]))
    room = np.full(m, math.inf if capacity is None else math.ceil(capacity * n / m))
    scene = Scene(history_texts, history, texts, predicted, observed, room, seed)
    lines, costs = _judged(scene, rules, resamples, tell)
    report = getattr(fitted, "report", None)
    return FieldTest(
        n_history=len(history_texts),
        n_queries=n,
        n_models=m,
        predictor=name,
        fit_seconds=learned - started,
        predict_seconds=finished - learned,
        forecast=_forecast(observed, predicted),
        singles={
            model: (float(cost[j]), float(quality[j])) for j, model in enumerate(observed.models)
        },
        singles_aiq=Hull.of(cost, quality).mean(low, high),
        predicted_aiq=curve.aiq,
        predicted_curve=curve,
        oracle_aiq=best.mean(low, high),
        recovered=_recovered(scene, resamples) if m == 2 and quality[0] != quality[1] else None,
        capacity=room,
        rules=lines,
        costs=costs,
        split=(
            _split(scene, minimize, maximize, limits, options, tell)
            if minimize is not None or maximize is not None
            else None
        ),
        report=None if report is None else report.to_dict(),
        prices=getattr(fitted, "priced_by", ""),
    )


def _same_kind(observed: Outcomes, history: Outcomes) -> None:
    if observed.models != history.models:
        strange = set(observed.models) ^ set(history.models)
        raise TableError(
            f"batch and history are of different models ({', '.join(sorted(strange)) or 'order'}); "
            "give both the same"
        )
    for role in ("cost", "quality"):
        observed.column(role)
        history.column(role)


def _forecast(observed: Outcomes, predicted: Outcomes) -> tuple[ForecastLine, ...]:
    lines = []
    for column in observed.columns:
        if column not in predicted.columns or observed.columns[column].shape[0] == 1:
            continue
        told, seen = whole(predicted, column), whole(observed, column)
        judged = Calibration.of(told, seen)
        lines.append(
            ForecastLine(
                column=column,
                calibration=judged if column == observed.quality else None,
                explained=judged.explained,
                bias=told.mean() / seen.mean() - 1.0 if seen.mean() else math.nan,
            )
        )
    return tuple(lines)


def _recovered(scene: Scene, resamples: int) -> Recovered:
    rule = registry.create("rules", "threshold")
    routings = rule.routings(scene)
    return gap_recovered(scene.truth, routings, seed=scene.seed, resamples=resamples)


def _judged(
    scene: Scene,
    rules: Sequence[str | Rule] | None,
    resamples: int,
    tell: Callable[[str], None],
) -> tuple[tuple[RuleLine, ...], tuple[float, ...]]:
    """Every rule, and the three costs at which they are compared with the certified plan."""
    asked: Sequence[str | Rule] = registry.names("rules") if rules is None else rules
    if not asked:
        return (), ()
    tell(f"routing by the rule {_REFERENCE}")
    started = time.perf_counter()
    reference = registry.create("rules", _REFERENCE).routings(scene)
    took = time.perf_counter() - started
    curve = tradeoff(scene.truth, reference, seed=scene.seed, resamples=resamples)
    hull = curve.hull
    heights = hull.quality[0] + np.array(_LEVELS) * (hull.quality[-1] - hull.quality[0])
    costs = tuple(float(np.interp(height, hull.quality, hull.cost)) for height in heights)
    lines = []
    for rule in asked:
        name = rule if isinstance(rule, str) else type(rule).__name__.lower()
        if name == _REFERENCE:
            lines.append(_line(scene, name, reference, reference, costs, took, resamples, curve))
            continue
        tell(f"routing by the rule {name}")
        started = time.perf_counter()
        try:
            made = registry.create("rules", rule) if isinstance(rule, str) else rule
            routings = made.routings(scene)
        except MissingDependencyError as error:
            nothing = (math.nan,) * 3
            lines.append(RuleLine(name, None, (), *nothing, 0.0, str(error)))
            continue
        seconds = time.perf_counter() - started
        lines.append(_line(scene, name, routings, reference, costs, seconds, resamples))
    return tuple(lines), costs


def _line(
    scene: Scene,
    name: str,
    routings: Sequence[Ints],
    reference: Sequence[Ints],
    costs: tuple[float, ...],
    seconds: float,
    resamples: int,
    curve: Tradeoff | None = None,
) -> RuleLine:
    curve = curve or tradeoff(scene.truth, routings, seed=scene.seed, resamples=resamples)
    nearest = [int(np.abs(curve.cost - cost).argmin()) for cost in costs]
    against = tuple(
        at_equal_cost(scene.truth, routings[k], reference, seed=scene.seed, resamples=resamples)
        for k in nearest
    )
    middle = routings[nearest[1]]
    best, cheapest = optimal_selections(scene.truth, middle)
    return RuleLine(name, curve, against, _gap(scene, middle), best, cheapest, seconds)


def _gap(scene: Scene, routing: Ints) -> float:
    """Predicted quality per query that a routing of the same predicted cost has more, at most."""
    limits: list[Limit | Restriction] = [
        Budget(float(scene.told("cost")[np.arange(scene.n), routing].sum()) * (1 + 1e-9))
    ]
    if scene.crowded:
        room = dict(zip(scene.predicted.models, scene.capacity.tolist(), strict=True))
        limits.append(Capacity(room))
    options = SolveOptions(time_limit=_VERIFY_SECONDS, mip_rel_gap=1e-6)
    judged = verify(scene.predicted, routing, maximize="quality", limits=limits, options=options)
    gap = judged.certificate.gap / scene.n
    return gap if math.isfinite(gap) else math.nan


def _split(
    scene: Scene,
    minimize: Objective | None,
    maximize: Objective | None,
    limits: Sequence[Limit | Restriction],
    options: SolveOptions,
    tell: Callable[[str], None],
) -> RegretSplit:
    tell("splitting the regret")
    aim: dict[str, Any] = {"minimize": minimize, "maximize": maximize}
    plan = solve(scene.predicted, **aim, limits=limits, options=options)
    ideal = solve(scene.truth, **aim, limits=limits, options=options)
    free = solve(scene.truth, **aim, options=options)
    if plan.assignment is None:
        raise RoutingError(f"no plan on the predictions: {plan.certificate.verdict}")
    judged = verify(scene.truth, plan.assignment, **aim, limits=limits, options=options)
    n = scene.n
    value = judged.problem.reported(judged.certificate.value) / n
    kept: dict[str, bool] = {}
    for line in judged.limits():
        kept[line.name] = kept.get(line.name, True) and bool(line.kept)
    return RegretSplit(
        unlimited=free.objective / n,
        truth=ideal.objective / n,
        plan=value,
        predicted=plan.objective / n,
        solver_gap=plan.certificate.gap / n,
        truth_gap=ideal.certificate.gap / n,
        kept=kept,
    )


def _rule_values(line: RuleLine) -> dict[str, Any]:
    curve = line.curve
    return {
        "rule": line.rule,
        "problem": line.problem or None,
        "seconds": line.seconds,
        "aiq": curve and asdict(curve.aiq),
        "aiq_own_range": curve and asdict(curve.aiq_own),
        "points": curve
        and [list(p) for p in zip(curve.cost.tolist(), curve.quality.tolist(), strict=True)],
        "hull": curve
        and [
            list(p) for p in zip(curve.hull.cost.tolist(), curve.hull.quality.tolist(), strict=True)
        ],
        "against_certified_at_equal_cost": [asdict(one) for one in line.against],
        "certified_gap_per_query": _finite(line.gap),
        "best_selected": _finite(line.best),
        "cheapest_best_selected": _finite(line.cheapest_best),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
