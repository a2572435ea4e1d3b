"""One stream replayed: how queries arrive, an outage, and what a routing really was worth."""

import math
import time
from dataclasses import dataclass, field

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, entries, pool_sums
from dualroute.contenders import Batches, Contender, Router
from dualroute.errors import OptionError, PolicyError
from dualroute.outcomes import Outcomes
from dualroute.policy import Policy
from dualroute.problem import RoutingProblem
from dualroute.routing import Plan
from dualroute.rule import whole
from dualroute.stream import Decision, Stream

ORDERS = ("random", "by-difficulty", "bursts")
_RUN = 50  # queries of one kind in a row, at most
_POINTS = 51  # of a path over the stream


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


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What one routing was worth."""

    cost: float | None
    quality: float | None
    ratio: float
    predicted_ratio: float
    excess: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One stream routed."""

    figures: Figures
    refused: int
    stopped: int
    path: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Replay:
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

    def run(self, contender: Contender, policy: Policy, arrival: Ints, seed: int) -> Run:
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
        return Run(
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

    def figures(self, routed: Ints) -> Figures:
        """Judge a routing on the truth; -1 stands for a query that was refused."""
        queries = np.flatnonzero(routed >= 0)
        models = routed[queries]

        def total(outcomes: Outcomes, role: str) -> float | None:
            name = getattr(outcomes, role)
            if name not in outcomes.columns:
                return None
            return float(entries(whole(outcomes, name), queries, models).sum())

        quality = total(self.observed, "quality")
        return Figures(
            cost=total(self.observed, "cost"),
            quality=None if quality is None else quality / max(routed.size, 1),
            ratio=_ratio(self.truth, routed),
            predicted_ratio=_ratio(self.told, routed),
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


def kinds_of(predicted: Outcomes, kind: str | None) -> Ints:
    """A number for every query's kind, ``(n,)``."""
    if kind is not None:
        return np.unique(predicted.attribute(kind).astype(str), return_inverse=True)[1]
    best: Ints = whole(predicted, predicted.quality).argmax(axis=1)
    return best


def arrival_of(order: str, observed: Outcomes, kinds: Ints, seed: int) -> Ints:
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
    return round(outage.start * n), round(outage.stop * n)


def bound_of(plan: Plan) -> float:
    """What no routing beats, in the user's sense; NaN where none keeps the limits."""
    return plan.certified_bound if plan.certificate.feasible else math.nan


def _ratio(plan: Plan, routed: Ints) -> float:
    """Value of a routing against a plan's certified bound, such that less is worse.

    A query that was refused counts as worth nothing, or as its worst pair where that is less: of
    a cost, refusing must not be the best that a rule can do.
    """
    problem, bound = plan.problem, bound_of(plan)
    queries = np.flatnonzero(routed >= 0)
    total = float(entries(problem.objective, queries, routed[queries]).astype(np.float64).sum())
    if queries.size < routed.size:
        finite = np.where(np.isfinite(problem.objective), problem.objective, 0.0)
        worst = np.broadcast_to(finite.max(axis=1, initial=0.0), routed.shape)
        total += float(worst[routed < 0].sum(dtype=np.float64))
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
