"""A table replayed as a stream: what online rules are worth, and how often limits break."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, entries, pool_sums
from dualroute.errors import OptionError, PolicyError, TableError
from dualroute.evaluation import Interval
from dualroute.figures import empty_figure, write_figure
from dualroute.formulation import Limit, Objective, Restriction
from dualroute.outcomes import Outcomes
from dualroute.policy import Account, Decision, Policy, Stream
from dualroute.problem import RoutingProblem
from dualroute.routing import Plan, solve
from dualroute.rule import whole
from dualroute.solver import SolveOptions

if TYPE_CHECKING:
    from rich.console import RenderableType

ORDERS = ("random", "by-difficulty", "bursts")
_LEVEL = 0.95
_RUN = 50  # queries of one kind in a row, at most
_POINTS = 51  # of a path over the stream
_OPTIONS = SolveOptions(mip_rel_gap=1e-4, time_limit=30.0)


@runtime_checkable
class Router(Protocol):
    """A rule at work on one stream: `Stream`, or what does the same."""

    def route(self, told: Floats, *, allowed: Bools | None = None) -> Decision:
        """Where a query goes that is told by ``(c, m)`` predictions, as `Policy.columns` orders.

        Raises
        ------
        PolicyError
            If no model can take it.
        """
        ...

    def observe(self, decision: Decision, seen: Mapping[str, float]) -> None:
        """What the query really took of the model chosen, by column."""
        ...

    def down(self, model: str) -> None:
        """A model is out."""
        ...

    def up(self, model: str) -> None:
        """It is back."""
        ...


@runtime_checkable
class Contender(Protocol):
    """A rule that is yet to meet a stream. What it may know is the policy of a plan before it."""

    def start(self, policy: Policy, seed: int) -> Router:
        """The rule at work, at the beginning of the stream."""
        ...


@dataclass(frozen=True, slots=True)
class Mirror:
    """Dual mirror descent from the plan's prices: the policy of this package.

    Attributes
    ----------
    step, reserve
        As in `Policy`; None keeps the policy's own.
    """

    step: float | None = None
    reserve: bool | None = None

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream of the policy."""
        step = policy.step if self.step is None else self.step
        reserve = policy.reserve if self.reserve is None else self.reserve
        return replace(policy, update="mirror", step=step, reserve=reserve).start()


@dataclass(frozen=True, slots=True)
class VirtualQueue:
    """MESS+ [1]_, a reconstruction: a virtual queue per limit prices it, from zero on.

    The drift-plus-penalty rule of Lyapunov optimization, here with every limit in a queue and
    with the hard stops at capacities and spent budgets; it knows no plan and holds nothing back.

    Attributes
    ----------
    step
        One over the weight ``V`` of the objective.

    References
    ----------
    .. [1] Woisetschläger et al. (2025), MESS+: dynamically learned inference-time LLM routing in
       model zoos with service level guarantees, arXiv 2505.19947.
    """

    step: float = 1.0

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream with queues for prices."""
        empty = tuple(replace(a, price=np.zeros(a.limit.size)) for a in policy.accounts)
        return replace(
            policy, accounts=empty, update="queue", step=self.step, reserve=False
        ).start()


@dataclass(frozen=True, slots=True)
class FixedPrices:
    """PORT [1]_, a reconstruction: dual prices learned once before the stream, never updated.

    References
    ----------
    .. [1] Wu & Silwal (2025), Efficient training-free online routing for high-volume multi-LLM
       serving, arXiv 2509.02718.
    """

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream at the plan's prices."""
        return replace(policy, update="fixed", reserve=False).start()


@dataclass(frozen=True, slots=True)
class FixedLambda:
    """The lambda rule as a stream, a reconstruction: capacities have no price, they only spill.

    The limits on the whole stream keep the prices of a plan without the capacities where the
    simulation has made one, and of the plan otherwise.
    """

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream at fixed prices, none of them on a capacity."""
        accounts = tuple(
            replace(account, price=np.zeros(account.limit.size)) if account.strict else account
            for account in policy.accounts
        )
        return replace(policy, accounts=accounts, update="fixed", reserve=False).start()


@dataclass(frozen=True, slots=True)
class LinUcb:
    """MetaLLM [1]_ as a stream, a reconstruction: LinUCB on the predictions of each model.

    One linear model per language model, of what a query is worth there at the plan's prices, in a
    constant and the columns the policy reads, each over its mean so far; it learns from the
    outcome of the model chosen alone.

    Attributes
    ----------
    exploration
        Standard deviations added to the expected worth, in units of its spread.

    References
    ----------
    .. [1] Nguyen et al. (2024), MetaLLM, arXiv 2407.10834.
    """

    exploration: float = 0.3

    def start(self, policy: Policy, seed: int) -> "_Bandit":
        """A bandit with nothing learned."""
        return _Bandit(policy, self.exploration)


@dataclass(slots=True, eq=False)
class _Bandit:
    """LinUCB's choice, with the hard stops of a stream."""

    policy: Policy
    exploration: float
    _stream: Stream = field(init=False)
    _inverse: Floats = field(init=False)  # (m, d, d)
    _response: Floats = field(init=False)  # (m, d)
    _scale: Floats = field(init=False)  # (c, 1)
    _met: int = field(default=0, init=False)
    _rows: Ints = field(init=False)
    _features: Floats = field(init=False)

    def __post_init__(self) -> None:
        """A stream whose only term is the bandit's own score, at no prices."""
        policy, c = self.policy, len(self.policy.columns)
        free = tuple(replace(a, price=np.zeros(a.limit.size)) for a in policy.accounts)
        inner = replace(policy, terms={_SCORE: 1.0}, accounts=free, update="fixed", reserve=False)
        self._stream = inner.start()
        index = {name: row for row, name in enumerate(policy.columns)}
        self._rows = np.array([index[name] for name in inner.columns if name != _SCORE], np.intp)
        self._inverse = np.tile(np.eye(c + 1), (policy.n_models, 1, 1))
        self._response = np.zeros((policy.n_models, c + 1))
        self._scale = np.zeros((c, 1))

    def route(self, told: Floats, *, allowed: Bools | None = None) -> Decision:
        """The model of most optimistic worth among those that can take the query."""
        self._met += 1
        self._scale += (np.abs(told).mean(axis=1, keepdims=True) - self._scale) / self._met
        x = np.ones((told.shape[1], len(told) + 1))
        x[:, 1:] = (told / np.where(self._scale > 0, self._scale, 1.0)).T
        along = np.einsum("jde,je->jd", self._inverse, x)
        width = np.sqrt(np.maximum((along * x).sum(axis=1), 0.0))
        worth = (along * self._response).sum(axis=1)
        self._features = x
        score = -(worth + self.exploration * width)
        return self._stream.route(
            np.concatenate([score[None, :], told[self._rows]]), allowed=allowed
        )

    def observe(self, decision: Decision, seen: Mapping[str, float]) -> None:
        """Learn what the query was worth at the plan's prices, in units of one query's choice."""
        self._stream.observe(decision, seen)
        policy, j = self.policy, decision.model
        paid = sum(weight * seen[name] for name, weight in policy.terms.items())
        for account in policy.accounts:
            pool = int(account.pool[j])
            if pool >= 0:
                use = account.sign * (seen[account.column] if account.column else 1.0)
                paid += float(account.price[pool]) * use
        x = self._features[j]
        along = self._inverse[j] @ x
        self._inverse[j] -= np.outer(along, along) / (1.0 + x @ along)
        self._response[j] -= paid * x

    def down(self, model: str) -> None:
        """A model is out."""
        self._stream.down(model)

    def up(self, model: str) -> None:
        """It is back."""
        self._stream.up(model)


@dataclass(frozen=True, slots=True)
class Batches:
    """OmniRouter [1]_ on a stream, a reconstruction: some queries at a time, by the optimizer.

    Each batch waits until it is full, and is solved under what is left of the capacities, and
    its share of what is left of the other limits.

    Attributes
    ----------
    size
        Queries of a batch.
    concurrent
        Requests each model takes of one batch, in even shares of it; None for any number.

    References
    ----------
    .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576.
    """

    size: int = 50
    concurrent: float | None = None

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream whose batches are optimized."""
        return replace(policy, update="fixed").start()


CONTENDERS: dict[str, type[Any]] = {
    "mirror": Mirror,
    "queue": VirtualQueue,
    "fixed": FixedPrices,
    "lambda": FixedLambda,
    "linucb": LinUcb,
    "batches": Batches,
}
_SCORE = "optimistic worth"


@dataclass(frozen=True, slots=True)
class Outage:
    """A model is down during part of the stream.

    Attributes
    ----------
    model
        Its name.
    start, stop
        From which share of the stream to which: 0.4 to 0.6 is a fifth of it, in the middle.
    """

    model: str
    start: float = 0.4
    stop: float = 0.6

    def __post_init__(self) -> None:
        """Check the shares."""
        if not 0 <= self.start < self.stop <= 1:
            raise OptionError(
                f"the outage is from {self.start} to {self.stop}; give shares of the stream, "
                "0 <= start < stop <= 1"
            )


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
    contenders = _contenders(tuple(CONTENDERS) if policies is None else policies)
    lambdas = policy
    if history is not None and any(isinstance(c, FixedLambda) for c in contenders.values()):
        lambdas = _without_capacities(history, aim, limits, ratio, policy, options)
    replay = _Replay(predicted, observed, policy, truth, told, allowed, outage)
    kinds = _kinds(predicted, kind)
    lines = []
    for order in orders:
        arrivals = [_arrival(order, observed, kinds, seed + s) for s in range(seeds)]
        for name, contender in contenders.items():
            start = lambdas if isinstance(contender, FixedLambda) else policy
            runs = [
                replay.run(contender, start, arrival, seed + s)
                for s, arrival in enumerate(arrivals)
            ]
            lines.append(replay.line(name, order, runs))
    offline = None if told.assignment is None else replay.figures(np.asarray(told.assignment))
    return Simulation(
        n_queries=predicted.n_queries,
        n_models=predicted.n_models,
        seeds=seeds,
        lines=tuple(lines),
        optimum=_bound(truth),
        predicted_optimum=_bound(told),
        offline_ratio=math.nan if offline is None else offline.ratio,
        offline_broken=() if offline is None else _broken(told.problem, [offline.excess]),
        offline_cost=None if offline is None else offline.cost,
        offline_quality=None if offline is None else offline.quality,
        tightest=replay.tightest_name,
        outage=outage,
        prices_from=source,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Figures:
    """What one routing was worth."""

    cost: float | None
    quality: float | None
    ratio: float
    predicted_ratio: float
    excess: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One stream routed."""

    figures: _Figures
    refused: int
    stopped: int
    path: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True, eq=False)
class _Replay:
    """What all runs of a simulation share."""

    predicted: Outcomes
    observed: Outcomes
    policy: Policy
    truth: Plan
    told: Plan
    allowed: Bools | None
    outage: Outage | None
    _told: Floats = field(init=False)  # (n, c, m), in the policy's order
    _seen: dict[str, Floats] = field(init=False)
    tightest: int = field(init=False)

    def __post_init__(self) -> None:
        """Lay the columns out by query."""
        columns = self.policy.columns
        put = object.__setattr__
        put(self, "_told", np.stack([whole(self.predicted, name) for name in columns], axis=1))
        put(self, "_seen", {name: whole(self.observed, name) for name in columns})
        put(self, "tightest", _tightest(self.told))

    @property
    def tightest_name(self) -> str:
        """Of the limit that paths show; empty without limits."""
        titles = [a.title(r) for a in self.policy.accounts for r in range(a.limit.size)]
        return titles[self.tightest] if titles else ""

    def run(self, contender: Contender, policy: Policy, arrival: Ints, seed: int) -> _Run:
        """One stream, from its first query to its last."""
        router = contender.start(policy, seed)
        n = arrival.size
        routed = np.full(n, -1, np.intp)
        seconds, stopped = np.zeros(n), 0
        size = contender.size if isinstance(contender, Batches) else 1
        gone, back = _moments(self.outage, n)
        for first in range(0, n, size):
            queries = arrival[first : first + size]
            if self.outage is not None and first <= gone < first + size:
                router.down(self.outage.model)
            if self.outage is not None and first <= back < first + size:
                router.up(self.outage.model)
            begun = time.perf_counter()
            if isinstance(contender, Batches):
                assert isinstance(router, Stream)
                decisions = self._batch(router, contender, queries)
            else:
                decisions = [self._one(router, int(queries[0]))]
            took = time.perf_counter() - begun
            for i, decision in zip(queries.tolist(), decisions, strict=True):
                if decision is None:
                    continue
                routed[i] = decision.model
                stopped += decision.stopped
                seen = {name: float(grid[i, decision.model]) for name, grid in self._seen.items()}
                begun = time.perf_counter()
                router.observe(decision, seen)
                seconds[i] = took / len(decisions) + time.perf_counter() - begun
        return _Run(
            self.figures(routed), int((routed < 0).sum()), stopped, self._path(arrival, routed),
            seconds,
        )  # fmt: skip

    def _one(self, router: Router, i: int) -> Decision | None:
        try:
            if self.allowed is not None:
                return router.route(self._told[i], allowed=self.allowed[i])
            return router.route(self._told[i])
        except PolicyError:
            return None

    def _batch(self, stream: Stream, contender: Batches, queries: Ints) -> list[Decision | None]:
        table = self.predicted.take(queries)
        allowed = None if self.allowed is None else self.allowed[queries]
        most = None
        if contender.concurrent is not None:
            most = math.ceil(contender.concurrent * queries.size / self.policy.n_models)
        try:
            decisions = stream.optimize_batch(table, concurrent=most, allowed=allowed)
        except PolicyError:
            return [self._one(stream, i) for i in queries.tolist()]
        return list(decisions)

    def figures(self, routed: Ints) -> _Figures:
        """Judge a routing on the truth; -1 stands for a query that was refused."""
        queries = np.flatnonzero(routed >= 0)
        models = routed[queries]

        def total(outcomes: Outcomes, role: str) -> float | None:
            name = getattr(outcomes, role)
            if name not in outcomes.columns:
                return None
            return float(entries(whole(outcomes, name), queries, models).sum())

        quality = total(self.observed, "quality")
        return _Figures(
            cost=total(self.observed, "cost"),
            quality=None if quality is None else quality / max(routed.size, 1),
            ratio=_ratio(self.truth, queries, models),
            predicted_ratio=_ratio(self.told, queries, models),
            excess=_excess(self.truth.problem, queries, models),
        )

    def _path(self, arrival: Ints, routed: Ints) -> Floats:
        """Use of the tightest limit as the stream goes on, as a share of it, ``(_POINTS,)``."""
        k = self.tightest
        if not self.policy.accounts:
            return np.zeros(_POINTS)
        for rows in self.truth.problem.rows:
            if k < rows.n_pools:
                break
            k -= rows.n_pools
        order = arrival[routed[arrival] >= 0]
        models = routed[order]
        taken = np.where(entries(rows.pool, order, models) == k, rows.taken(order, models), 0.0)
        used = np.zeros(arrival.size)
        used[np.flatnonzero(routed[arrival] >= 0)] = taken
        total = np.concatenate([[0.0], np.cumsum(used)]) / (float(rows.limit[k]) or 1.0)
        moments = np.linspace(0, arrival.size, _POINTS).astype(np.intp)
        path: Floats = total[moments]
        return path

    def line(self, name: str, order: str, runs: Sequence[_Run]) -> StreamLine:
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
            broken=_broken(self.truth.problem, [one.excess for one in figures]),
            refused=float(np.mean([run.refused for run in runs])),
            stopped=float(np.mean([run.stopped for run in runs])) / self.predicted.n_queries,
            path=np.mean([run.path for run in runs], axis=0),
            microseconds=(float(np.median(seconds)), float(np.percentile(seconds, 99))),
        )


def simulation_report(result: Simulation) -> "RenderableType":
    """What a simulation found, for people: one table for every order of arrival."""
    from rich.console import Group
    from rich.text import Text

    from dualroute.report import plain, ruled_table, short

    over = max((one.worst for one in result.offline_broken), default=0.0)
    head = (
        f"{result.n_queries} queries, {result.n_models} models, {result.seeds} streams per order; "
        f"prices from {plain(result.prices_from)}. The plan of all queries together reaches "
        f"{100 * result.offline_ratio:.2f} % of the certified optimum on the truth"
        + (f", and breaks a limit by {100 * over:.2f} %." if over > 0 else ".")
    )
    if result.outage is not None:
        gone = result.outage
        head += f" {plain(gone.model)} is out from {gone.start:.0%} to {gone.stop:.0%}."
    parts: list[RenderableType] = [Text(head)]
    headings = ("% of optimum", "95 % of streams", "cost", "quality", "refused", "us", "broken")
    for order in dict.fromkeys(line.order for line in result.lines):
        table = ruled_table(f"Arrival: {order}", ("rule",), headings)
        for line in sorted(
            (one for one in result.lines if one.order == order), key=lambda one: -one.ratio.value
        ):
            broken = [
                f"{plain(one.name)} {one.share:.0%}, by {100 * one.mean:.2f} %"
                for one in line.broken
                if one.share > 0
            ]
            table.add_row(
                plain(line.policy),
                f"{100 * line.ratio.value:.2f}",
                f"{100 * line.ratio.low:.2f} to {100 * line.ratio.high:.2f}",
                "-" if line.cost is None else short(line.cost.value),
                "-" if line.quality is None else f"{line.quality.value:.4f}",
                f"{line.refused:.1f}",
                f"{line.microseconds[0]:.0f}",
                "; ".join(broken) or "-",
            )
        table.caption = "broken: limits exceeded, in how many of the streams, and by how much there"
        table.caption_justify = "left"
        parts.append(table)
    return Group(*parts)


def plot_simulation(result: Simulation, path: str | Path) -> None:
    """Draw realised cost against quality, and the use of the tightest limit over the stream.

    Parameters
    ----------
    path
        ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    OptionError, MissingDependencyError
        If the name ends otherwise, or matplotlib is absent.
    """
    figure = empty_figure(path, 11.5, 5.2)
    left, right = figure.subplots(1, 2)
    policies = list(dict.fromkeys(line.policy for line in result.lines))
    orders = list(dict.fromkeys(line.order for line in result.lines))
    colour = {name: f"C{k % 10}" for k, name in enumerate(policies)}
    marker = dict(zip(orders, "os^vD*" * len(orders), strict=False))
    stroke = dict(zip(orders, ("-", "--", ":", "-.") * len(orders), strict=False))
    for line in result.lines:
        words = f"{line.policy}, {line.order}"
        if line.cost is not None and line.quality is not None:
            left.errorbar(
                line.cost.value,
                line.quality.value,
                xerr=[[line.cost.value - line.cost.low], [line.cost.high - line.cost.value]],
                yerr=[
                    [line.quality.value - line.quality.low],
                    [line.quality.high - line.quality.value],
                ],
                color=colour[line.policy],
                marker=marker[line.order],
                markersize=6,
                linewidth=0.8,
                linestyle="",
                label=words,
            )
        moments = np.linspace(0, 100, line.path.size)
        right.plot(
            moments,
            100 * line.path,
            color=colour[line.policy],
            linestyle=stroke[line.order],
            linewidth=1.2,
        )
    if result.offline_cost is not None and result.offline_quality is not None:
        left.scatter(
            [result.offline_cost],
            [result.offline_quality],
            color="black",
            marker="*",
            s=90,
            zorder=3,
            label="plan of all queries",
        )
    right.axhline(100, color="0.6", linewidth=1)
    if result.outage is not None:
        right.axvspan(100 * result.outage.start, 100 * result.outage.stop, color="0.9")
    left.set(xlabel="realised total cost", ylabel="realised mean quality")
    right.set(xlabel="% of the stream", ylabel=f"% of {result.tightest or 'no limit'} used")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if left.get_legend_handles_labels()[0]:
        left.legend(fontsize=7, ncols=2)
    figure.suptitle(
        f"{result.n_queries} queries, {result.n_models} models, {result.seeds} streams per order",
        fontsize=11,
    )
    write_figure(figure, path)


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


def _contenders(
    wanted: Sequence[str | Contender] | Mapping[str, Contender],
) -> dict[str, Contender]:
    """Rules by what reports call them; two of one class are told apart by a number."""
    if isinstance(wanted, Mapping):
        return dict(wanted)
    named: dict[str, Contender] = {}
    for one in wanted:
        if isinstance(one, str) and one not in CONTENDERS:
            raise OptionError(f"no policy {one!r}; choose among {', '.join(CONTENDERS)}")
        name = one if isinstance(one, str) else type(one).__name__.lower()
        same = sum(other.partition("_")[0] == name for other in named)
        made = CONTENDERS[one]() if isinstance(one, str) else one
        named[f"{name}_{same + 1}" if same else name] = made
    return named


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


def _kinds(predicted: Outcomes, kind: str | None) -> Ints:
    """A number for every query's kind, ``(n,)``."""
    if kind is not None:
        return np.unique(predicted.attribute(kind).astype(str), return_inverse=True)[1]
    best: Ints = whole(predicted, predicted.quality).argmax(axis=1)
    return best


def _arrival(order: str, observed: Outcomes, kinds: Ints, seed: int) -> Ints:
    """The queries as they arrive, ``(n,)``."""
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(observed.n_queries)
    if order == "random":
        return shuffled
    if order == "by-difficulty":
        difficulty = whole(observed, observed.quality).mean(axis=1)
        return shuffled[np.argsort(difficulty[shuffled], kind="stable")]
    runs = []
    for number in np.unique(kinds).tolist():
        one = shuffled[kinds[shuffled] == number]
        runs += [one[start : start + _RUN] for start in range(0, one.size, _RUN)]
    return np.concatenate([runs[k] for k in draw.permutation(len(runs)).tolist()])


def _moments(outage: Outage | None, n: int) -> tuple[int, int]:
    """Places in the stream where the model goes and comes back; beyond it for never."""
    if outage is None:
        return n, n
    return int(outage.start * n), int(outage.stop * n)


def _bound(plan: Plan) -> float:
    """What no routing beats, in the user's sense; NaN where none keeps the limits."""
    return plan.certified_bound if plan.certificate.feasible else math.nan


def _ratio(plan: Plan, queries: Ints, models: Ints) -> float:
    """Value of a routing against a plan's certified bound, such that less is worse."""
    problem, bound = plan.problem, _bound(plan)
    total = float(entries(problem.objective, queries, models).astype(np.float64).sum())
    value = problem.reported(total)
    above, below = (value, bound) if problem.maximize else (bound, value)
    return above / below if below > 0 and math.isfinite(above) else math.nan


def _excess(problem: RoutingProblem, queries: Ints, models: Ints) -> Floats:
    """Use beyond every limit, relative to it, ``(K,)``; at most 0 where it is kept."""
    parts = [np.empty(0)]
    for rows in problem.rows:
        pool = entries(rows.pool, queries, models)
        use = pool_sums(rows.taken(queries, models), pool, rows.n_pools)
        beyond = use - rows.limit
        beyond[beyond <= problem.tolerance * np.abs(rows.limit)] = 0.0
        parts.append(beyond / np.where(rows.limit == 0, 1.0, np.abs(rows.limit)))
    return np.concatenate(parts)


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


def _tightest(plan: Plan) -> int:
    """The row worth most at the plan's prices; of those worth nothing, the fullest."""
    problem = plan.problem
    if not problem.rows or plan.assignment is None:
        return 0
    limit = problem.limit
    fill = problem.use(plan.assignment) / np.where(limit == 0, 1.0, np.abs(limit))
    prices = plan.solution.prices
    worth = np.zeros(limit.size) if prices is None else prices.vector * np.abs(limit)
    return int((worth if worth.max() > 0 else fill).argmax())


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
