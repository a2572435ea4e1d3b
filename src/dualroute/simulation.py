"""A table replayed as a stream: what online rules are worth, and how often limits break."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dualroute.arrays import Floats
from dualroute.contenders import CONTENDERS, Contender, FixedLambda, named
from dualroute.errors import OptionError, PolicyError, TableError
from dualroute.evaluation import Interval
from dualroute.formulation import Limit, Objective, Restriction
from dualroute.outcomes import Outcomes
from dualroute.policy import Account, Policy
from dualroute.problem import RoutingProblem
from dualroute.replay import ORDERS, Outage, Replay, Run, arrival_of, bound_of, kinds_of
from dualroute.routing import Plan, solve
from dualroute.solver import SolveOptions

__all__ = ["CONTENDERS", "ORDERS", "Broken", "Outage", "Simulation", "StreamLine",
           "simulate_stream"]  # fmt: skip

_LEVEL = 0.95
_OPTIONS = SolveOptions(mip_rel_gap=1e-4, time_limit=30.0)


@dataclass(frozen=True, slots=True)
class Broken:
    """How often a limit was broken, and by how much.

    Attributes
    ----------
    name
        Of the family of limits; the worst of its pools counts.
    share
        Of the streams in which it was broken.
    mean, worst
        Excess over the limit, relative to it, in the streams that broke it; 0 if none did.
    """

    name: str
    share: float
    mean: float
    worst: float


@dataclass(frozen=True, slots=True, eq=False)
class StreamLine:
    """One rule under one order of arrival, over all seeds.

    Attributes
    ----------
    policy, order
        Which.
    cost
        Realised total; None without a column of that role.
    quality
        Realised mean; None without a column of that role.
    ratio
        Competitive ratio: the realised objective against the certified bound of all routings that
        knew the truth. At most 1 where all limits are kept; whichever sense the objective has.
    predicted_ratio
        The same in predictions: of the predicted objective against the bound for them.
    broken
        Every family of limits.
    refused
        Queries per stream that no model could take.
    stopped
        Share of the decisions that a hard stop changed.
    path
        Use of the tightest limit over the stream, as a share of it, at evenly spread moments.
    microseconds
        Median and 99th percentile of a decision with its update.
    """

    policy: str
    order: str
    cost: Interval | None
    quality: Interval | None
    ratio: Interval
    predicted_ratio: Interval
    broken: tuple[Broken, ...]
    refused: float
    stopped: float
    path: Floats
    microseconds: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """What `simulate_stream` found.

    Attributes
    ----------
    n_queries, n_models, seeds
        Sizes.
    lines
        One for every rule and order.
    optimum, predicted_optimum
        Certified bounds on the objective, in the user's sense, knowing the truth and knowing the
        predictions; NaN where the limits cannot be kept.
    offline_ratio, offline_broken
        Of the certified plan of the predictions of all queries together, on the truth.
    offline_cost, offline_quality
        What that plan realised.
    tightest
        The limit that paths show.
    outage
        The outage simulated.
    prices_from
        What the plan was made of that the prices are from.
    """

    n_queries: int
    n_models: int
    seeds: int
    lines: tuple[StreamLine, ...]
    optimum: float
    predicted_optimum: float
    offline_ratio: float
    offline_broken: tuple[Broken, ...]
    offline_cost: float | None
    offline_quality: float | None
    tightest: str
    outage: Outage | None
    prices_from: str

    def line(self, policy: str, order: str) -> StreamLine:
        """The line of a rule and an order.

        Raises
        ------
        OptionError
            If it was not simulated.
        """
        for line in self.lines:
            if (line.policy, line.order) == (policy, order):
                return line
        raise OptionError(f"{policy!r} under {order!r} was not simulated")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        found: dict[str, Any] = _plain(
            {
                "n_queries": self.n_queries,
                "n_models": self.n_models,
                "seeds": self.seeds,
                "optimum": self.optimum,
                "predicted_optimum": self.predicted_optimum,
                "offline": {
                    "ratio": self.offline_ratio,
                    "cost": self.offline_cost,
                    "quality": self.offline_quality,
                    "broken": [asdict(one) for one in self.offline_broken],
                },
                "tightest": self.tightest,
                "outage": None if self.outage is None else asdict(self.outage),
                "prices_from": self.prices_from,
                "lines": [
                    {
                        "policy": line.policy,
                        "order": line.order,
                        "cost": line.cost and asdict(line.cost),
                        "quality": line.quality and asdict(line.quality),
                        "ratio": asdict(line.ratio),
                        "predicted_ratio": asdict(line.predicted_ratio),
                        "broken": [asdict(one) for one in line.broken],
                        "refused": line.refused,
                        "stopped": line.stopped,
                        "tightest_path": line.path.tolist(),
                        "microseconds": list(line.microseconds),
                    }
                    for line in self.lines
                ],
            }
        )
        return found


def simulate_stream(
    predicted: Outcomes,
    observed: Outcomes,
    *,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    history: Outcomes | None = None,
    plan: Plan | None = None,
    policies: Sequence[str | Contender] | Mapping[str, Contender] | None = None,
    orders: Sequence[str] = ORDERS,
    seeds: int = 10,
    seed: int = 0,
    kind: str | None = None,
    outage: Outage | None = None,
    options: SolveOptions | None = None,
) -> Simulation:
    """Replay a table as a stream of queries, routed one by one by online rules.

    A rule sees a query's predictions when it arrives, and after its decision what the model chosen
    really did with it. Certified offline optima, on the truth and on the predictions, are what it
    is held against.

    Parameters
    ----------
    predicted, observed
        The same ``n`` queries and ``m`` models, as predicted and as they happened.
    minimize, maximize, limits
        As in `solve`; the limits are those of the whole stream.
    history
        Predicted outcomes of earlier queries (out of fold, say), from whose certified plan under
        the limits brought to its size the prices come.
    plan
        Instead of a history: a certified plan of earlier queries under limits of the same names.
        With neither, prices come from the stream's own predictions, which nobody has in practice.
    policies
        Names (``mirror``, ``queue``, ``fixed``, ``lambda``, ``linucb``, ``batches``) or objects,
        or objects by the name that reports give them; all of these if not given.
    orders
        Of arrival: ``"random"``; ``"by-difficulty"``, hardest first by the mean observed quality,
        ties at random; ``"bursts"``, runs of up to 50 queries of one kind.
    seeds, seed
        Streams per order, and the first seed.
    kind
        Attribute that tells kinds apart; by the model of most predicted quality if not given.
    outage
        A model that is down during part of every stream. The offline optima know of none.
    options
        For the certified plans.

    Returns
    -------
    Simulation
        Intervals are the central 95 % of the streams about their mean.

    Raises
    ------
    TableError
        If the two tables are of other queries or models.
    PolicyError
        If the limits cannot be kept online, or no plan can be made.
    OptionError
        If a policy or order is not known.
    """
    _checked(predicted, observed, orders, seeds, outage)
    aim: dict[str, Any] = {"minimize": minimize, "maximize": maximize}
    options = options or _OPTIONS
    ratio = 1.0 if history is None else history.n_queries / predicted.n_queries
    truth = solve(observed, **aim, limits=limits, options=options)
    told = solve(predicted, **aim, limits=limits, options=options)
    if plan is not None:
        source = "a plan of earlier queries"
    elif history is not None:
        source = f"a plan of {history.n_queries} earlier queries"
        sized = [_scaled(limit, ratio) for limit in limits]
        plan = solve(history, **aim, limits=sized, options=options)
    else:
        source, plan = "the stream's own predictions", told
    policy = _policy(plan, told.problem)
    allowed = None
    if policy.restricted or not np.isfinite(told.problem.objective.max()):
        allowed = np.isfinite(told.problem.objective)
        policy = replace(policy, restricted=True)
    contenders = named(tuple(CONTENDERS) if policies is None else policies)
    lambdas = policy
    if history is not None and any(isinstance(c, FixedLambda) for c in contenders.values()):
        lambdas = _without_capacities(history, aim, limits, ratio, policy, options)
    replay = Replay(predicted, observed, policy, truth, told, allowed, outage)
    kinds = kinds_of(predicted, kind)
    lines = []
    for order in orders:
        arrivals = [arrival_of(order, observed, kinds, seed + s) for s in range(seeds)]
        for name, contender in contenders.items():
            start = lambdas if isinstance(contender, FixedLambda) else policy
            runs = [
                replay.run(contender, start, arrival, seed + s)
                for s, arrival in enumerate(arrivals)
            ]
            lines.append(_line(replay, name, order, runs))
    offline = None if told.assignment is None else replay.figures(np.asarray(told.assignment))
    return Simulation(
        n_queries=predicted.n_queries,
        n_models=predicted.n_models,
        seeds=seeds,
        lines=tuple(lines),
        optimum=bound_of(truth),
        predicted_optimum=bound_of(told),
        offline_ratio=math.nan if offline is None else offline.ratio,
        offline_broken=() if offline is None else _broken(told.problem, [offline.excess]),
        offline_cost=None if offline is None else offline.cost,
        offline_quality=None if offline is None else offline.quality,
        tightest=replay.tightest_name,
        outage=outage,
        prices_from=source,
    )


def _line(replay: Replay, name: str, order: str, runs: Sequence[Run]) -> StreamLine:
    """All streams of one rule and order."""
    figures = [run.figures for run in runs]
    seconds = 1e6 * np.concatenate([run.seconds for run in runs])
    return StreamLine(
        policy=name,
        order=order,
        cost=_over([one.cost for one in figures]),
        quality=_over([one.quality for one in figures]),
        ratio=_interval([one.ratio for one in figures]),
        predicted_ratio=_interval([one.predicted_ratio for one in figures]),
        broken=_broken(replay.truth.problem, [one.excess for one in figures]),
        refused=float(np.mean([run.refused for run in runs])),
        stopped=float(np.mean([run.stopped for run in runs])) / replay.predicted.n_queries,
        path=np.mean([run.path for run in runs], axis=0),
        microseconds=(float(np.median(seconds)), float(np.percentile(seconds, 99))),
    )


def _checked(
    predicted: Outcomes,
    observed: Outcomes,
    orders: Sequence[str],
    seeds: int,
    outage: Outage | None,
) -> None:
    if predicted.models != observed.models:
        strange = sorted(set(predicted.models) ^ set(observed.models)) or ["their order"]
        raise TableError(
            f"predicted and observed are of different models ({', '.join(strange[:5])}); "
            "give both the same"
        )
    if predicted.n_queries != observed.n_queries:
        raise TableError(
            f"{predicted.n_queries} queries predicted and {observed.n_queries} observed; give the "
            "same to both"
        )
    unknown = [order for order in orders if order not in ORDERS]
    if unknown or not orders:
        found = repr(unknown[0]) if unknown else "none"
        raise OptionError(f"order of arrival: found {found}; choose among {', '.join(ORDERS)}")
    if seeds < 1:
        raise OptionError(f"seeds is {seeds}; give at least 1")
    if outage is not None:
        observed.model_index(outage.model)


def _policy(plan: Plan, problem: RoutingProblem) -> Policy:
    """The policy of a plan, with the limits of the stream's own problem."""
    policy = Policy.of(plan, horizon=problem.n_queries)
    asked = [(rows.name, rows.column, rows.labels) for rows in problem.rows]
    held = [(account.name, account.column, account.labels) for account in policy.accounts]
    if asked != held or policy.models != problem.models:
        raise PolicyError(
            f"the plan is of other models or limits ({', '.join(a.name for a in policy.accounts)}) "
            f"than the stream ({', '.join(rows.name for rows in problem.rows)})"
        )
    # As they are: a capacity brought there and back again may have lost one request to rounding.
    accounts = tuple(
        replace(account, limit=rows.limit)
        for account, rows in zip(policy.accounts, problem.rows, strict=True)
    )
    return replace(policy, accounts=accounts)


def _without_capacities(
    history: Outcomes,
    aim: Mapping[str, Any],
    limits: Sequence[Limit | Restriction],
    ratio: float,
    policy: Policy,
    options: SolveOptions,
) -> Policy:
    """The policy with the prices that its limits have where no capacity binds."""
    families = iter(policy.accounts)
    kept = [limit for limit in limits if not isinstance(limit, Limit) or not next(families).strict]
    plan = solve(history, **aim, limits=[_scaled(limit, ratio) for limit in kept], options=options)
    if plan.solution.prices is None:
        return policy
    prices = iter(plan.solution.prices.values)
    accounts: list[Account] = []
    for account in policy.accounts:
        price = np.zeros(account.limit.size) if account.strict else next(prices)
        accounts.append(replace(account, price=price))
    return replace(policy, accounts=tuple(accounts))


def _scaled(limit: Any, ratio: float) -> Any:
    """A limit for a batch of another size; a share or a restriction stays as it is."""
    return limit.scaled(ratio) if hasattr(limit, "scaled") else limit


def _broken(problem: RoutingProblem, excess: Sequence[Floats]) -> tuple[Broken, ...]:
    """How often and how far every family was broken in some streams."""
    found = []
    families = [problem.split(one) for one in excess]
    for k, rows in enumerate(problem.rows):
        worst = np.array([float(parts[k].max()) for parts in families])
        over = worst[worst > 0]
        found.append(
            Broken(
                rows.name,
                float((worst > 0).mean()),
                float(over.mean()) if over.size else 0.0,
                float(over.max(initial=0.0)),
            )
        )
    return tuple(found)


def _over(values: Sequence[float | None]) -> Interval | None:
    known = [value for value in values if value is not None]
    return _interval(known) if known else None


def _interval(values: Sequence[float]) -> Interval:
    """Mean over streams, with the range that holds the central 95 % of them."""
    tail = 50.0 * (1.0 - _LEVEL)
    low, high = np.percentile(values, [tail, 100.0 - tail])
    return Interval(float(np.mean(values)), float(low), float(high), _LEVEL)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
