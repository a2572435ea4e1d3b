"""How many replicas to run: capacity in whole units, over periods and scenarios, certified."""

import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from threading import Event
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats, Ints
from dualroute.certificate import PROVED_OPTIMAL
from dualroute.errors import OptionError
from dualroute.formulation import Limit, Objective, Restriction
from dualroute.planes import UnitProblem
from dualroute.replicas import ReplicaFile, Replicas, Traffic, read_replicas, traffic_by
from dualroute.rooms import Room, Routings, distinct
from dualroute.routing import Plan
from dualroute.solver import Clock, Progress, SolveOptions, Solver, for_many
from dualroute.units import UnitPlan, solve_units

__all__ = [
    "ReplicaFile",
    "ReplicaPlan",
    "Replicas",
    "Traffic",
    "plan_replicas",
    "read_replicas",
    "traffic_by",
]

GAP = 1e-3  # relative, unless asked otherwise
_LONGER = 2.0  # times its share of the time that a group may take: those after it learn from it
_ROUNDS = 3  # in which groups get what time is left, once all had their share
_TAUGHT = 60  # prices that one period hands on to the next


@dataclass(frozen=True, slots=True, eq=False)
class ReplicaPlan:
    """Replicas per period with the routings they serve, and what is proved.

    Attributes
    ----------
    replicas
        As asked, ``R``.
    periods, scenarios
        Names, ``T`` and ``S``.
    probabilities
        Of the scenarios, ``(S,)``.
    counts
        Replicas, ``(T, R)``; None if no counts have a routing in every period.
    weights
        By scenario and period: queries that each row stands for.
    plans
        By scenario and period: the routing at these counts, with its own certificate.
    objective
        Price of the replicas plus expected cost of the routings, in the objective's unit.
    replica_cost
        The first part: prices, opening and switching.
    certified_bound
        No counts and no routings cost less: proved.
    gap
        ``(objective - certified_bound) / abs(objective)``; infinite without counts.
    infeasible
        Whether it is proved that no counts within their limits serve all traffic.
    evaluations, nodes, seconds
        Counts tried, nodes of the proof's tree, wall time.
    unit
        Of the objective.
    """

    replicas: tuple[Replicas, ...]
    periods: tuple[str, ...]
    scenarios: tuple[str, ...]
    probabilities: tuple[float, ...]
    counts: Ints | None
    plans: Mapping[tuple[str, str], Plan]
    weights: Mapping[tuple[str, str], float]
    objective: float
    replica_cost: float
    certified_bound: float
    infeasible: bool
    evaluations: int
    nodes: int
    seconds: float
    unit: str

    @property
    def gap(self) -> float:
        """Relative distance of the plan from the proved bound."""
        if self.counts is None:
            return math.inf
        apart = max(0.0, self.objective - self.certified_bound)
        if not apart:
            return 0.0
        return apart / abs(self.objective) if self.objective else math.inf

    @property
    def status(self) -> str:
        """``optimal``, ``feasible``, ``infeasible`` or ``unknown``; what is proved."""
        if self.counts is None:
            return "infeasible" if self.infeasible else "unknown"
        return "optimal" if self.gap <= 1e-9 else "feasible"

    def scenario_cost(self) -> dict[str, float]:
        """Replicas and routings of every scenario, in the objective's unit."""
        total = dict.fromkeys(self.scenarios, self.replica_cost)
        for (scenario, period), plan in self.plans.items():
            total[scenario] += self.weights[scenario, period] * plan.objective
        return total

    @property
    def worst(self) -> float:
        """The dearest scenario's cost; NaN without counts."""
        return max(self.scenario_cost().values()) if self.plans else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        whole = [] if self.counts is None else self.counts.tolist()
        return {
            "status": self.status,
            "objective": _finite(self.objective),
            "replica_cost": _finite(self.replica_cost),
            "certified_bound": _finite(self.certified_bound),
            "gap": _finite(self.gap),
            "unit": self.unit,
            "models": [one.model for one in self.replicas],
            "replicas": [asdict(one) for one in self.replicas],
            "periods": [
                {"period": period, "counts": dict(zip(self._models, line, strict=True))}
                for period, line in zip(self.periods, whole, strict=False)
            ],
            "routings": [
                {
                    "scenario": scenario,
                    "period": period,
                    "queries": plan.problem.n_queries * self.weights[scenario, period],
                    "objective": self.weights[scenario, period] * plan.objective,
                    "gap": _finite(plan.certificate.mip_rel_gap),
                    "per_model": {
                        line.model: line.queries * self.weights[scenario, period]
                        for line in plan.per_model()
                    },
                }
                for (scenario, period), plan in self.plans.items()
            ],
            "scenarios": [
                {"scenario": name, "probability": p, "cost": self.scenario_cost()[name]}
                for name, p in zip(self.scenarios, self.probabilities, strict=True)
                if self.plans
            ],
            "expected": _finite(self.objective),
            "worst": _finite(self.worst),
            "evaluations": self.evaluations,
            "nodes": self.nodes,
            "seconds": self.seconds,
        }

    @property
    def _models(self) -> list[str]:
        return [one.model for one in self.replicas]


def plan_replicas(
    traffic: Sequence[Traffic],
    replicas: Sequence[Replicas],
    *,
    minimize: Objective = "cost",
    limits: Sequence[Limit | Restriction] = (),
    gpus: float | None = None,
    constant: bool = False,
    probabilities: Mapping[str, float] | None = None,
    solver: str | Solver = "lagrangian",
    options: SolveOptions | None = None,
) -> ReplicaPlan:
    r"""Choose replicas for every period, and route every period's traffic on them.

    .. math::

        \min_y \sum_t \Big( price^T y_t + opening^T [y_t > 0]
        + switching^T |y_t - y_{t-1}| \Big) + \sum_s \pi_s \sum_t V_{st}(y_t)

    over whole counts, where :math:`V_{st}` is the optimum of routing period ``t`` of scenario
    ``s`` under the limits and the capacities that ``y_t`` replicas make. Certified like a
    routing: prices of every period's limits bound its optimum for any number of replicas, and a
    tree over the counts proves the rest (`dualroute.units`).

    Parameters
    ----------
    traffic
        Every period of every scenario.
    replicas
        One entry per model that is bought in units; other models are as the limits have them.
    minimize
        A cost: replicas are priced in its unit.
    limits
        Of every period by itself, as in `dualroute.solve`.
    gpus
        Pool that all replicas of a period share; unlimited if not given.
    constant
        Whether all periods have the same counts.
    probabilities
        Of the scenarios, adding up to 1; equal if not given.
    solver
        Of the routings; without prices of its own, nothing but the cheapest pairs bounds a plan.
    options
        ``mip_rel_gap`` is of the whole objective (0.001 if no options are given); time limit,
        threads and progress as in `solve`.

    Raises
    ------
    OptionError
        If the numbers cannot be used, or periods and scenarios do not fit each other.
    TableError
        If a model or column is not in a table.
    """
    options = options or SolveOptions(mip_rel_gap=GAP)
    started = time.perf_counter()
    clock = Clock(options.time_limit)
    asked = _Asked.of(traffic, replicas, probabilities, gpus, constant=constant)
    chosen = for_many(registry.create("solvers", solver) if isinstance(solver, str) else solver)
    rooms = [
        Room.of(
            one,
            asked.replicas,
            asked.slot(one.period),
            asked.probability[one.scenario],
            minimize,
            limits,
        )
        for one in traffic
    ]
    groups = asked.groups()
    workers = max(1, options.threads)
    shown = _Shown(options, started, len(groups))

    stop = Event()
    each = options if len(groups) == 1 else replace(options, threads=1)
    taught: dict[Any, list[Floats]] = {}

    def solved(number: int, share: float, inside: ThreadPoolExecutor | None = None) -> _Group:
        slots = groups[number]
        problem = asked.unit_problem(slots)
        mine = [room for room in rooms if room.slot in slots]
        own = Clock(max(1e-3, clock.left * min(1.0, share)) if clock.left < math.inf else math.inf)
        stopped = stop.is_set()
        if stopped:  # by Ctrl-C: counts and routings still, as where the time is up
            own = Clock(1e-3)
        routings = Routings(
            problem, asked.replicas, mine, slots, chosen, each, own, inside,
            Event() if stopped else stop,
        )  # fmt: skip
        kinds = {room.kind for room in mine}
        kind = kinds.pop() if len(kinds) == 1 else None
        try:
            learned = routings.learn(taught.get(kind, []))
            cuts, center = routings.as_rented()
            cuts += learned
        except KeyboardInterrupt:
            stop.set()
            cuts, center = (), None
        plan = solve_units(
            problem,
            routings,
            mip_rel_gap=options.mip_rel_gap,
            clock=own,
            cuts=cuts,
            center=center,
            tell=lambda phase, objective, bound: shown.tell(number, phase, objective, bound),
        )
        if plan.interrupted:
            stop.set()
            if plan.counts is None and not stopped:
                return solved(number, share, inside)
        if kind is not None:  # hours of a day are alike: what was learned of one serves the next
            taught[kind] = distinct([*routings.prices, *taught.get(kind, [])])[:_TAUGHT]
        return _Group(plan, routings)

    with ThreadPoolExecutor(workers) as pool:

        def each_of(numbers: Sequence[int], longer: float) -> list[_Group]:
            """Groups in turn; one may take so many times its part of the time that is left."""
            shares = [longer * workers / (len(numbers) - k) for k in range(len(numbers))]
            if len(groups) == 1:
                return [solved(0, 1.0, pool if workers > 1 else None)]
            if workers == 1:
                return [solved(n, share) for n, share in zip(numbers, shares, strict=True)]
            tasks = [pool.submit(solved, *one) for one in zip(numbers, shares, strict=True)]
            while True:
                try:
                    return [task.result() for task in tasks]
                except KeyboardInterrupt:  # what runs ends with the best it has
                    stop.set()

        found = each_of(range(len(groups)), _LONGER)
        limited = len(groups) > 1 and clock.left < math.inf
        for _ in range(1, _ROUNDS if limited else 1):
            # Time of its own may have ended the search of a group, while others left theirs unused.
            left = [n for n, group in enumerate(found) if not group.closed(options.mip_rel_gap)]
            if not left or clock.expired or stop.is_set():
                break
            left.sort(key=lambda n: found[n].gap, reverse=True)
            try:
                more = each_of(left, 1.0)
            except KeyboardInterrupt:  # outside of any search: what was found stands
                break
            again = [found[n].with_what(group) for n, group in zip(left, more, strict=True)]
            helped = any(one.gap < found[n].gap for n, one in zip(left, again, strict=True))
            for n, one in zip(left, again, strict=True):
                found[n] = one
            if not helped:
                break
        # Inside: counts that Ctrl-C came too soon for are routed once more.
        return asked.plan(found, groups, rooms, time.perf_counter() - started)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """What was found for slots whose counts have to do with each other."""

    plan: UnitPlan
    routings: Routings

    @property
    def gap(self) -> float:
        """Objective less bound; infinite without counts, 0 where it is proved there are none."""
        return 0.0 if self.plan.bound == math.inf else self.plan.objective - self.plan.bound

    def closed(self, mip_rel_gap: float) -> bool:
        """Whether the gap asked for is reached, or it is proved that there are no counts."""
        objective, asked = self.plan.objective, max(mip_rel_gap, PROVED_OPTIMAL)
        near = math.isfinite(objective) and self.gap <= asked * abs(objective)
        return near or self.gap == 0

    def with_what(self, other: "_Group") -> "_Group":
        """The better counts of the two, and the better bound."""
        one, two = self.plan, other.plan
        best = self if one.objective <= two.objective and one.counts is not None else other
        plan = replace(
            best.plan,
            bound=min(max(one.bound, two.bound), best.plan.objective),
            evaluations=one.evaluations + two.evaluations,
            nodes=one.nodes + two.nodes,
            interrupted=one.interrupted or two.interrupted,
        )
        return _Group(plan, best.routings)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What is planned, checked: slots are periods, or one for all of them."""

    traffic: tuple[Traffic, ...]
    replicas: tuple[Replicas, ...]
    periods: tuple[str, ...]
    scenarios: tuple[str, ...]
    probability: Mapping[str, float]
    gpus: float | None
    constant: bool

    @classmethod
    def of(
        cls,
        traffic: Sequence[Traffic],
        replicas: Sequence[Replicas],
        probabilities: Mapping[str, float] | None,
        gpus: float | None,
        *,
        constant: bool,
    ) -> "_Asked":
        if not traffic or not replicas:
            raise OptionError("give at least one period of traffic, and replicas of one model")
        models = [one.model for one in replicas]
        if len(set(models)) < len(models):
            twice = next(name for name in models if models.count(name) > 1)
            raise OptionError(f"replicas of {twice!r} are given twice; give one entry per model")
        periods = tuple(dict.fromkeys(one.period for one in traffic))
        scenarios = tuple(dict.fromkeys(one.scenario for one in traffic))
        pairs = [(one.scenario, one.period) for one in traffic]
        for scenario in scenarios:
            for period in periods:
                if pairs.count((scenario, period)) != 1:
                    raise OptionError(
                        f"period {period!r} of scenario {scenario!r} is given "
                        f"{pairs.count((scenario, period))} times; give each once"
                    )
        chances = dict.fromkeys(scenarios, 1.0 / len(scenarios))
        if probabilities is not None:
            chances = {name: float(value) for name, value in probabilities.items()}
            if set(chances) != set(scenarios) or min(chances.values()) <= 0 or not math.isclose(
                sum(chances.values()), 1.0, abs_tol=1e-9
            ):  # fmt: skip
                raise OptionError(
                    f"probabilities are {chances}; give one above 0 for each scenario "
                    f"({', '.join(map(repr, scenarios))}), adding up to 1"
                )
        if gpus is not None:
            least = sum(one.least * one.gpus for one in replicas)
            if not (gpus >= 0 and math.isfinite(gpus)):
                raise OptionError(f"gpus is {gpus:g}; give a number of at least 0")
            if least > gpus * (1 + 1e-12):
                raise OptionError(
                    f"the least replicas need {least:g} GPUs and there are {gpus:g}; lower least, "
                    "or give more"
                )
            if not any(one.gpus for one in replicas):
                raise OptionError("a pool of GPUs is given, and no replica needs any; give gpus=")
        return cls(tuple(traffic), tuple(replicas), periods, scenarios, chances, gpus, constant)

    def slot(self, period: str) -> int:
        return 0 if self.constant else self.periods.index(period)

    def groups(self) -> list[tuple[int, ...]]:
        """Slots whose counts have to do with each other."""
        slots = range(1 if self.constant else len(self.periods))
        if any(one.switching for one in self.replicas):
            return [tuple(slots)]
        return [(slot,) for slot in slots]

    def unit_problem(self, slots: tuple[int, ...]) -> UnitProblem:
        replicas, size = self.replicas, len(self.replicas)
        times = len(self.periods) if self.constant else 1
        each = {
            name: np.array([getattr(one, name) for one in replicas], np.float64)
            for name in ("price", "opening", "gpus", "least", "most")
        }
        low, high = (np.tile(each[name], len(slots)) for name in ("least", "most"))
        lines = 0 if self.gpus is None else len(slots)
        pool: Floats = np.kron(np.eye(len(slots)), each["gpus"][None, :])[:lines]
        if self.gpus is not None:  # no more than the pool would hold alone
            fits = np.floor(self.gpus / np.where(each["gpus"] > 0, each["gpus"], 1.0) + 1e-9)
            alone = np.where(each["gpus"] > 0, np.maximum(fits, each["least"]), each["most"])
            high = np.minimum(high, np.tile(alone, len(slots)))
        # What ran before is a count like others that cannot be changed.
        before = [r for r, one in enumerate(replicas) if one.switching and one.running is not None]
        known = np.array([replicas[r].running for r in before], np.float64)
        end = size * len(slots)
        switches = [
            (t * size + r, (t - 1) * size + r, one.switching)
            for t in range(1, len(slots))
            for r, one in enumerate(replicas)
            if one.switching
        ] + [(r, end + k, replicas[r].switching) for k, r in enumerate(before)]
        none = np.zeros(len(before))
        return UnitProblem(
            cost=np.concatenate([times * np.tile(each["price"], len(slots)), none]),
            opening=np.concatenate([times * np.tile(each["opening"], len(slots)), none]),
            low=np.concatenate([low, known]).astype(np.int64),
            high=np.concatenate([high, known]).astype(np.int64),
            pool=np.concatenate([pool, np.zeros((lines, len(before)))], axis=1),
            held=np.full(lines, 0.0 if self.gpus is None else self.gpus),
            switches=tuple(switches),
            n_values=len(self.scenarios) * len(slots) * times,
        )

    def plan(
        self,
        found: list[_Group],
        groups: list[tuple[int, ...]],
        rooms: list[Room],
        seconds: float,
    ) -> ReplicaPlan:
        slots = 1 if self.constant else len(self.periods)
        counts: Ints | None = np.zeros((slots, len(self.replicas)), np.int64)
        plans: dict[tuple[str, str], Plan] = {}
        for one, group in zip(found, groups, strict=True):
            if one.plan.counts is None or counts is None:
                counts = None
                continue
            mine = one.plan.counts[: len(group) * len(self.replicas)]
            counts[list(group)] = mine.reshape(len(group), -1)
            plans |= one.routings.plans(one.plan.counts)
        if counts is not None:
            counts = np.broadcast_to(counts, (len(self.periods), len(self.replicas))).copy()
        paid = (
            math.nan
            if counts is None
            else math.fsum(
                one.routings.problem.fixed_cost(one.plan.counts)
                for one in found
                if one.plan.counts is not None
            )
        )
        order = [(one.scenario, one.period) for one in self.traffic]
        return ReplicaPlan(
            replicas=self.replicas,
            periods=self.periods,
            scenarios=self.scenarios,
            probabilities=tuple(self.probability[name] for name in self.scenarios),
            counts=counts,
            plans={} if counts is None else {key: plans[key] for key in order},
            weights={(one.scenario, one.period): one.weight for one in self.traffic},
            objective=math.fsum(one.plan.objective for one in found),
            replica_cost=paid,
            certified_bound=_sum_down([one.plan.bound for one in found]),
            infeasible=any(one.plan.bound == math.inf for one in found),
            evaluations=sum(one.plan.evaluations for one in found),
            nodes=sum(one.plan.nodes for one in found),
            seconds=seconds,
            unit=rooms[0].problem.unit,
        )


@dataclass(slots=True)
class _Shown:
    """Progress over all groups, as one line of objective and bound."""

    options: SolveOptions
    started: float
    groups: int
    values: dict[int, tuple[float, float]] = field(default_factory=dict)

    def tell(self, number: int, phase: str, objective: float, bound: float) -> None:
        if self.options.progress is None:
            return
        self.values[number] = objective, bound
        missing = len(self.values) < self.groups
        self.options.progress(
            Progress(
                phase=f"{phase} ({len(self.values)} of {self.groups})",
                objective=math.inf if missing else sum(v for v, _ in self.values.values()),
                best_bound=-math.inf if missing else sum(b for _, b in self.values.values()),
                seconds=time.perf_counter() - self.started,
            )
        )


def _sum_down(bounds: list[float]) -> float:
    """A sum of bounds that rounding does not lift."""
    for infinite in (math.inf, -math.inf):  # one period that nothing serves is enough
        if infinite in bounds:
            return infinite
    total = math.fsum(bounds)
    return total if len(bounds) == 1 or not math.isfinite(total) else math.nextafter(
        total, -math.inf
    )  # fmt: skip


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
