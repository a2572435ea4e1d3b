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
    found: list[tuple[UnitPlan, Routings]] = []
    shown = _Shown(options, started, len(groups))

    stop = Event()
    each = options if len(groups) == 1 else replace(options, threads=1)
    taught: dict[Any, list[Floats]] = {}

    def solved(number: int, inside: ThreadPoolExecutor | None) -> tuple[UnitPlan, Routings]:
        slots = groups[number]
        problem = asked.unit_problem(slots)
        mine = [room for room in rooms if room.slot in slots]
        share = _LONGER * workers / max(1, len(groups) - number)
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
                return solved(number, inside)
        if kind is not None:  # hours of a day are alike: what was learned of one serves the next
            taught[kind] = distinct([*routings.prices, *taught.get(kind, [])])[:_TAUGHT]
        return plan, routings

    with ThreadPoolExecutor(workers) as pool:
        if len(groups) == 1:
            found = [solved(0, pool if workers > 1 else None)]
        elif workers == 1:
            found = [solved(number, None) for number in range(len(groups))]
        else:
            tasks = [pool.submit(solved, number, None) for number in range(len(groups))]
            while True:
                try:
                    found = [task.result() for task in tasks]
                    break
                except KeyboardInterrupt:  # what runs ends with the best it has
                    stop.set()
        # Inside: counts that Ctrl-C came too soon for are routed once more.
        return asked.plan(found, groups, rooms, time.perf_counter() - started)


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
        found: list[tuple[UnitPlan, Routings]],
        groups: list[tuple[int, ...]],
        rooms: list[Room],
        seconds: float,
    ) -> ReplicaPlan:
        slots = 1 if self.constant else len(self.periods)
        counts: Ints | None = np.zeros((slots, len(self.replicas)), np.int64)
        plans: dict[tuple[str, str], Plan] = {}
        for (plan, routings), group in zip(found, groups, strict=True):
            if plan.counts is None or counts is None:
                counts = None
                continue
            mine = plan.counts[: len(group) * len(self.replicas)]
            counts[list(group)] = mine.reshape(len(group), -1)
            plans |= routings.plans(plan.counts)
        if counts is not None:
            counts = np.broadcast_to(counts, (len(self.periods), len(self.replicas))).copy()
        paid = (
            math.nan
            if counts is None
            else math.fsum(
                routings.problem.fixed_cost(plan.counts)
                for plan, routings in found
                if plan.counts is not None
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
            objective=math.fsum(plan.objective for plan, _ in found),
            replica_cost=paid,
            certified_bound=_sum_down([plan.bound for plan, _ in found]),
            infeasible=any(plan.bound == math.inf for plan, _ in found),
            evaluations=sum(plan.evaluations for plan, _ in found),
            nodes=sum(plan.nodes for plan, _ in found),
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
