"""How many replicas to run: capacity in whole units, over periods and scenarios, certified."""

import math
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.arrays import Bools, Floats, Ints
from dualroute.certificate import Certificate, certify
from dualroute.errors import OptionError, TableError
from dualroute.formulation import Capacity, Limit, Objective, Restriction, formulate
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem, Rows
from dualroute.rigour import cheapest_total, fractions, rounded_down
from dualroute.routing import Plan
from dualroute.solver import (
    Clock,
    Progress,
    Solution,
    SolveOptions,
    Solver,
    Status,
    Termination,
    for_bounds,
    for_many,
)
from dualroute.units import Answer, Cut, UnitPlan, UnitProblem, solve_units

GAP = 1e-3  # relative, unless asked otherwise
_FINER, _ROUGHLY = 0.1, 0.3  # of it: how far routings on whole counts, and on others, may be
_SAFE = 1e-12
_PATIENCE, _PATIENCE_PER_PAIR = 3.0, 3e-6  # seconds for one routing
_NEAR_FLOOR = 0.03  # of a floor: counts that might be too few for it
_REMEMBERED = 16  # routings of a room
_AT_ONCE = 4  # routings of one answer, where there are threads: the first that fails ends it


@dataclass(frozen=True, slots=True)
class Replicas:
    """Capacity of one model that is bought in whole units.

    Attributes
    ----------
    model
        Its name in the table.
    size
        What one replica takes in one period, in requests or in the unit of `column`.
    price
        Of one replica for one period, in the unit of the objective.
    most, least
        Replicas at most, and at least, in every period.
    column
        What a request takes of the capacity (tokens, GPU-seconds); counts requests when not
        given.
    gpus
        What one replica needs of a pool shared by all models.
    opening
        Paid once in every period in which any replica runs.
    switching
        Paid for every replica started or stopped between two periods.
    running
        Replicas that run before the first period; None if starting them costs nothing then.
    """

    model: str
    size: float
    price: float
    most: int
    least: int = 0
    column: str | None = None
    gpus: float = 0.0
    opening: float = 0.0
    switching: float = 0.0
    running: int | None = None

    def __post_init__(self) -> None:
        """Check the numbers."""
        if not (self.size > 0 and math.isfinite(self.size)):
            raise OptionError(
                f"replicas of {self.model!r}: size is {self.size:g}; give what one replica takes "
                "in a period, above 0"
            )
        for name in ("price", "gpus", "opening", "switching"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise OptionError(
                    f"replicas of {self.model!r}: {name} is {value:g}; give a number of at least 0"
                )
        counts = (self.least, self.most, 0 if self.running is None else self.running)
        if any(not isinstance(count, int) or count < 0 for count in counts):
            raise OptionError(
                f"replicas of {self.model!r}: least, most and running are {counts}; give whole "
                "numbers of at least 0"
            )
        if self.least > self.most:
            raise OptionError(
                f"replicas of {self.model!r}: at least {self.least} and at most {self.most}; no "
                "count is between"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What one period brings, in one scenario.

    Attributes
    ----------
    period
        Its name; periods follow each other as they first appear.
    outcomes
        Queries with predicted (or observed) outcomes.
    scenario
        Name of the scenario; periods of one name share their replicas in all scenarios.
    weight
        Queries that each row stands for: 100 for a sample of one in a hundred.
    """

    period: str
    outcomes: Outcomes
    scenario: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight."""
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise OptionError(
                f"period {self.period!r}: weight is {self.weight:g}; give the queries that a row "
                "stands for, above 0"
            )


def traffic_by(
    outcomes: Outcomes, period: str, scenario: str | None = None, *, weight: float = 1.0
) -> list[Traffic]:
    """Divide a log by the attributes that name period and scenario.

    Parameters
    ----------
    outcomes
        All queries.
    period, scenario
        Attributes, such as ``hour`` and ``day``; numbers are put in their order, other names as
        they first appear.
    weight
        As in `Traffic`.

    Raises
    ------
    TableError
        If an attribute is missing, or a period has no queries in some scenario.
    """
    labels = outcomes.attribute(period)
    named = np.full(outcomes.n_queries, "") if scenario is None else outcomes.attribute(scenario)
    periods, scenarios = _in_order(labels), _in_order(named)
    parts = []
    for which in scenarios:
        for one in periods:
            rows = np.flatnonzero((labels == one) & (named == which))
            if rows.size == 0:
                where = f" in {scenario} {which}" if scenario is not None else ""
                raise TableError(
                    f"{period} {one} has no queries{where}; leave it out, or give it traffic"
                )
            parts.append(Traffic(str(one), outcomes.take(rows), str(which), weight))
    return parts


@dataclass(frozen=True, slots=True)
class ReplicaFile:
    """What a file of replicas asks for: the arguments of `plan_replicas` that go with them."""

    replicas: tuple[Replicas, ...]
    gpus: float | None = None
    constant: bool = False
    probabilities: Mapping[str, float] | None = None


def read_replicas(path: str | Path) -> ReplicaFile:
    """Replicas from a TOML file: one ``[[replicas]]`` table per model.

    Beside these ``gpus``, ``constant`` and a table ``[probabilities]``, as in `plan_replicas`.

    Raises
    ------
    TableError
        Naming the file, and the entry and field that cannot be used.
    """
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror}); check the name") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{path}: not valid TOML ({error}); mend the line") from None
    entries = content.pop("replicas", None)
    if not isinstance(entries, list) or not entries:
        raise TableError(f"{path}: no [[replicas]]; write one such table per model")
    known = [one.name for one in fields(Replicas)]
    made = []
    for k, entry in enumerate(entries, start=1):
        strange = [name for name in entry if name not in known]
        missing = [name for name in ("model", "size", "price", "most") if name not in entry]
        if strange or missing:
            found = f"unknown field {strange[0]!r}" if strange else f"no field {missing[0]!r}"
            raise TableError(f"{path}, replicas {k}: {found}; the fields are {', '.join(known)}")
        try:
            made.append(Replicas(**entry))
        except (OptionError, TypeError, ValueError) as error:
            raise TableError(f"{path}, replicas {k}: {error}") from None
    strange = [name for name in content if name not in ("gpus", "constant", "probabilities")]
    if strange:
        raise TableError(
            f"{path}: unknown {strange[0]!r}; beside [[replicas]] there are gpus, constant and "
            "[probabilities]"
        )
    return ReplicaFile(tuple(made), **content)


def _in_order(labels: Any) -> list[Any]:
    distinct = list(dict.fromkeys(labels.tolist()))
    try:
        return sorted(distinct, key=float)
    except (TypeError, ValueError):
        return distinct


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
    plans
        By scenario and period: the routing at these counts, with its own certificate.
    objective
        Price of the replicas plus expected cost of the routings, in the objective's unit.
    replica_cost
        The first part: prices, opening and switching.
    certified_bound
        No counts and no routings cost less: proved.
    best_bound
        What the search claims, which may be more.
    gap
        ``(objective - certified_bound) / objective``; infinite without counts.
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
    best_bound: float
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
        return apart / abs(self.objective) if apart else 0.0

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
            "best_bound": _finite(self.best_bound),
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
                    "per_model": {line.model: line.queries for line in plan.per_model()},
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
        Of the routings; it has prices.
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
    rooms = [_Room.of(asked, one, minimize, limits) for one in traffic]
    groups = asked.groups()
    workers = max(1, options.threads)
    found: list[tuple[UnitPlan, _Routings]] = []
    shown = _Shown(options, started, len(groups))

    def solved(number: int, inside: ThreadPoolExecutor | None) -> tuple[UnitPlan, _Routings]:
        slots = groups[number]
        problem = asked.unit_problem(slots)
        mine = [room for room in rooms if room.slot in slots]
        routings = _Routings(problem, asked.replicas, mine, slots, chosen, options, clock, inside)
        cuts, center = routings.as_rented()
        share = workers / max(1, len(groups) - number)
        own = Clock(max(1e-3, clock.left * min(1.0, share)) if clock.left < math.inf else math.inf)
        plan = solve_units(
            problem,
            routings.answer,
            mip_rel_gap=options.mip_rel_gap,
            clock=own,
            cuts=cuts,
            center=center,
            tell=lambda phase, objective, bound: shown.tell(number, phase, objective, bound),
        )
        return plan, routings

    with ThreadPoolExecutor(workers) as pool:
        if len(groups) == 1:
            found = [solved(0, pool if workers > 1 else None)]
        elif workers == 1:
            found = [solved(number, None) for number in range(len(groups))]
        else:
            found = list(pool.map(lambda number: solved(number, None), range(len(groups))))
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
            if set(chances) != set(scenarios) or min(chances.values()) < 0 or not math.isclose(
                sum(chances.values()), 1.0, abs_tol=1e-9
            ):  # fmt: skip
                raise OptionError(
                    f"probabilities are {chances}; give one of at least 0 for each scenario "
                    f"({', '.join(map(repr, scenarios))}), adding up to 1"
                )
        if gpus is not None:
            least = sum(one.least * one.gpus for one in replicas)
            if not (gpus >= 0 and math.isfinite(gpus)):
                raise OptionError(f"gpus is {gpus:g}; give a number of at least 0")
            if least > gpus:
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
        found: list[tuple[UnitPlan, "_Routings"]],
        groups: list[tuple[int, ...]],
        rooms: list["_Room"],
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
            best_bound=sum(plan.claimed_bound for plan, _ in found),
            infeasible=any(plan.bound == math.inf for plan, _ in found),
            evaluations=sum(plan.evaluations for plan, _ in found),
            nodes=sum(plan.nodes for plan, _ in found),
            seconds=seconds,
            unit=rooms[0].problem.unit,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Room:
    """One period of one scenario: its routing problem, and where replicas enter its limits.

    `at` and `each` tell for every replica which entry of the limits it makes, and what one more
    adds to it; the last `families` families of limits are those of replicas.
    """

    traffic: Traffic
    slot: int
    share: float
    problem: RoutingProblem
    at: Ints
    each: Floats
    families: int

    @classmethod
    def of(
        cls,
        asked: _Asked,
        traffic: Traffic,
        minimize: Objective,
        limits: Sequence[Limit | Restriction],
    ) -> "_Room":
        """The period's problem, with a capacity for every model that is bought in units."""
        replicas = asked.replicas
        columns = list(dict.fromkeys(one.column for one in replicas))
        families = [
            Capacity({one.model: 1.0 for one in replicas if one.column == column}, column)
            for column in columns
        ]
        try:
            problem = formulate(traffic.outcomes, minimize=minimize, limits=[*limits, *families])
        except TableError as error:
            raise TableError(f"period {traffic.period!r}: {error}") from None
        start = problem.n_rows - len(replicas)
        order = [one for column in columns for one in replicas if one.column == column]
        return cls(
            traffic=traffic,
            slot=asked.slot(traffic.period),
            share=asked.probability[traffic.scenario] * traffic.weight,
            problem=problem,
            at=np.array([start + order.index(one) for one in replicas]),
            each=np.array([one.size for one in replicas]) / traffic.weight,
            families=len(columns),
        )

    def floors(self) -> list[Rows]:
        """Limits from below that all queries share."""
        own = self.problem.rows[: len(self.problem.rows) - self.families]
        return [rows for rows in own if rows.at_least and rows.n_pools == 1]

    def most_of(self, family: Rows, counts: Floats) -> RoutingProblem:
        """The most of a floor's column that these counts allow, other limits aside."""
        problem = self.at_counts(counts)
        shape = problem.objective.shape
        usage = np.broadcast_to(family.signed(family.usage), shape)
        if not np.isfinite(problem.objective.max()):
            usage = np.where(np.isfinite(problem.objective), usage, np.inf)
        rows = problem.rows[len(problem.rows) - self.families :]
        return RoutingProblem(usage, rows, problem.models, tolerance=0.0)

    @property
    def others(self) -> Bools:
        """Which limits no replica enters, ``(K,)``."""
        others = np.ones(self.problem.n_rows, bool)
        others[self.at] = False
        return others

    def as_rented(
        self, prices: Floats, solver: Solver, options: SolveOptions
    ) -> tuple[Solution, Floats]:
        """Prices of all limits where replicas are paid by use, ``(R,)`` each, and counts used."""
        problem = self.problem
        charges = np.zeros(problem.n_rows)
        charges[self.at] = prices / (self.each * self.share)
        objective = problem.objective.astype(np.float64)
        split = problem.split(charges)
        for rows, price in zip(problem.rows, split, strict=True):
            if price.any():
                objective += rows.charge(price)
        own = problem.rows[: len(problem.rows) - self.families]
        paid = RoutingProblem(objective, own, problem.models, tolerance=problem.tolerance)
        solution = solver.solve(paid, options)
        if solution.assignment is None or solution.prices is None:
            return replace(solution, prices=None), np.zeros(self.at.size)
        used = problem.use(solution.assignment)[self.at] / self.each
        whole = Prices(solution.prices.values + split[len(own) :])
        return replace(solution, prices=whole), used

    def at_counts(self, counts: Floats | Ints, *, widened: bool = True) -> RoutingProblem:
        """The routing problem with the capacities of these counts, ``(R,)``.

        Widened by the feasibility tolerance once and for all, so that solvers need not try
        twice where the limits as stated just cannot be kept.
        """
        limit = self.problem.limit
        limit[self.at] = self.each * counts
        stated = self.problem.with_limit(limit)
        if not widened:
            return stated
        wide = stated.with_limit(limit + 0.999 * stated.tolerance * np.abs(limit))
        return replace(wide, tolerance=0.0)


@dataclass(slots=True, eq=False)
class _Routings:
    """Routes every period of a group at given counts; keeps the routings of the best counts."""

    problem: UnitProblem
    replicas: tuple[Replicas, ...]
    rooms: list[_Room]
    slots: tuple[int, ...]
    solver: Solver
    options: SolveOptions
    clock: Clock
    pool: ThreadPoolExecutor | None
    solutions: list[Solution] = field(default_factory=list)
    _best: float = math.inf
    _order: list[int] = field(default_factory=list)
    _memory: list["_Memory"] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Where there are many queries, counts are most often too few."""
        sizes = [room.problem.n_queries * room.traffic.weight for room in self.rooms]
        self._order = np.argsort(sizes, kind="stable")[::-1].tolist()
        self._memory = [_Memory() for _ in self.rooms]

    def answer(self, counts: Floats) -> Answer:
        size = self.rooms[0].at.size
        by_slot = counts[: len(self.slots) * size].reshape(-1, size)
        routed: dict[int, _Routed] = {}
        step = 1 if self.pool is None else _AT_ONCE
        for start in range(0, len(self._order), step):
            some = self._order[start : start + step]
            tasks = [(k, self.rooms[k], by_slot[self.slots.index(self.rooms[k].slot)])
                     for k in some]  # fmt: skip
            run = map if self.pool is None else self.pool.map
            routed |= zip(some, run(lambda task: self._routed(*task), tasks), strict=True)
            unserved = [k for k in some if routed[k].lower == math.inf]
            if unserved:  # the others do not matter, and these are asked first from now on
                self._order = unserved + [k for k in self._order if k not in unserved]
                break
        size = len(self.rooms)
        upper, lower = np.full(size, math.inf), np.full(size, -math.inf)
        for k, one in routed.items():
            upper[k], lower[k] = one.upper, one.lower
        whole = counts.astype(np.int64)
        if (whole == counts).all() and self.problem.fits(whole):
            value = self.problem.fixed_cost(whole) + math.fsum(upper.tolist())
            if value < self._best:
                self._best = value
                self.solutions = [routed[k].solution for k in range(size)]
        cuts = [one.cut for one in routed.values() if one.cut is not None]
        return Answer(upper, lower, tuple(cuts))

    def plans(self, counts: Ints) -> dict[tuple[str, str], Plan]:
        """The routings of the best counts found, certified under the limits as stated."""
        held = {}
        for room, solution in zip(self.rooms, self.solutions, strict=True):
            problem = room.at_counts(counts[self._mine(room)], widened=False)
            certificate = certify(problem, solution)
            plan = Plan(room.traffic.outcomes, problem, solution, certificate, solution.solver)
            held[room.traffic.scenario, room.traffic.period] = plan
        return held

    def as_rented(self) -> tuple[tuple[Cut, ...], Floats]:
        """Planes and counts from routings that pay for what they use of every replica.

        With fractional replicas, and as many as are wanted, that is the optimum.
        """
        prices = np.array([one.price + one.opening / max(one.most, 1) for one in self.replicas])
        counts = np.zeros(self.problem.cost.size)
        counts[len(self.slots) * prices.size :] = self.problem.low[len(self.slots) * prices.size :]
        run = map if self.pool is None else self.pool.map
        options = self._options(_ROUGHLY)
        rented = list(run(lambda room: room.as_rented(prices, self.solver, options), self.rooms))
        cuts = []
        for number, (room, (solution, used)) in enumerate(zip(self.rooms, rented, strict=True)):
            mine = self._mine(room)
            counts[mine] = np.maximum(counts[mine], used)
            cut = self._plane(number, room, room.problem, solution)
            if cut is not None and solution.prices is not None:
                cuts.append(cut)
                self._memory[number].planes.append((cut, solution.prices))
        return tuple(cuts), counts

    def _options(self, part: float) -> SolveOptions:
        pairs = max(room.problem.objective.size for room in self.rooms)
        patience = (_PATIENCE if part == _FINER else _PATIENCE / 6) + _PATIENCE_PER_PAIR * pairs
        return replace(
            self.options,
            mip_rel_gap=part * self.options.mip_rel_gap,
            time_limit=max(min(self.clock.left, patience), 0.1),
            threads=1 if self.pool is not None else self.options.threads,
            progress=None,
            start=None,
            prices=None,
        )

    def _mine(self, room: _Room) -> slice:
        """Where the counts of a room's slot stand."""
        place = self.slots.index(room.slot)
        return slice(place * room.at.size, (place + 1) * room.at.size)

    def _routed(self, number: int, room: _Room, counts: Floats) -> "_Routed":
        problem = room.at_counts(counts)
        whole = bool((counts == np.rint(counts)).all())
        part = _FINER if whole else _ROUGHLY
        recalled = self._recalled(number, room, problem, counts, part * self.options.mip_rel_gap)
        if recalled is not None:
            return recalled
        short = self._short(number, room, counts)
        if short is not None:
            return _Routed(Solution(Status.INFEASIBLE, Termination.INFEASIBLE), math.inf, math.inf,
                           short)  # fmt: skip
        solver = self.solver if whole else for_bounds(self.solver)
        solution = solver.solve(problem, self._options(part))
        certificate = certify(problem, solution)
        lower = certificate.bound * room.share
        upper = (certificate.objective if whole else certificate.bound) * room.share
        cut = self._cut(number, room, problem, solution, certificate)
        if certificate.feasible:
            use = np.concatenate([np.empty(0), *certificate.use])[room.at]
            self._memory[number].routings.append(_Known(upper, use, solution))
            self._memory[number].routings.sort(key=lambda known: known.upper)
            del self._memory[number].routings[_REMEMBERED:]
        if cut is not None and cut.value >= 0 and solution.prices is not None:
            self._memory[number].planes.append((cut, solution.prices))
        return _Routed(
            solution=solution,
            upper=upper,
            lower=lower - _SAFE * abs(lower) if math.isfinite(lower) else lower,
            cut=cut,
        )

    def _short(self, number: int, room: _Room, counts: Floats) -> Cut | None:
        """Why these counts are too few to reach a floor, if they are: most of it is little work.

        That no routing exists is long to prove by prices that grow without end; how high a floor
        the capacities allow by themselves is a routing problem like others.
        """
        mine, planes = self._mine(room), self._memory[number].floors
        least = min((float(c.slope[mine] @ counts) - c.constant for c in planes), default=math.inf)
        if planes and least < 0:
            return min(planes, key=lambda c: float(c.slope[mine] @ counts) - c.constant)
        for family in room.floors():
            size = abs(float(family.limit[0])) * room.share
            if planes and least > _NEAR_FLOOR * size:
                continue
            problem = room.most_of(family, counts)
            solution = for_bounds(self.solver).solve(problem, self._options(_ROUGHLY))
            total = None if solution.prices is None else cheapest_total(problem, solution.prices)
            if solution.prices is None or total is None:
                continue
            slope = np.zeros(self.problem.cost.size)
            wider = 1 + room.problem.tolerance + _SAFE
            weight = solution.prices.vector[room.at - (room.problem.n_rows - problem.n_rows)]
            slope[mine] = weight * room.each * room.share * wider
            limit = float(family.limit[0])
            limit += room.problem.tolerance * abs(limit)
            needed = (total - Fraction(limit)) * Fraction(room.share)
            cut = Cut(-1, rounded_down(needed), slope)
            planes.append(cut)
            if float(slope[mine] @ counts) < cut.constant:
                return cut
        return None

    def _recalled(
        self, number: int, room: _Room, problem: RoutingProblem, counts: Floats, gap: float
    ) -> "_Routed | None":
        """A routing that is known, fits these counts, and is near enough to a known plane."""
        memory = self._memory[number]
        limit = problem.limit[room.at]
        fitting = (one for one in memory.routings if (one.use <= limit).all())
        best = next(fitting, None)
        if best is None or not memory.planes:
            return None
        mine = self._mine(room)
        bounds = [cut.constant - float(cut.slope[mine] @ counts) for cut, _ in memory.planes]
        lower, nearest = max(bounds), int(np.argmax(bounds))
        lower -= _SAFE * (abs(lower) + abs(memory.planes[nearest][0].constant))
        if best.upper - lower > gap * abs(best.upper):
            return None
        solution = replace(best.solution, prices=memory.planes[nearest][1], proof=None)
        return _Routed(solution, best.upper, lower, None)

    def _cut(
        self,
        number: int,
        room: _Room,
        problem: RoutingProblem,
        solution: Solution,
        certificate: Certificate,
    ) -> Cut | None:
        """What the prices (or the ray) of one routing say of all counts."""
        if certificate.infeasible:
            if solution.ray is None or not certificate.needed > certificate.held:
                return None
            slope = np.zeros(self.problem.cost.size)
            others = room.others
            ray = solution.ray.vector
            wider = 1 + room.problem.tolerance + _SAFE
            slope[self._mine(room)] = ray[room.at] * room.each * wider
            held = ray[others] * problem.limit[others]
            needed = certificate.needed - math.fsum(held.tolist())
            needed -= _SAFE * (abs(certificate.needed) + float(np.abs(held).sum()))
            return Cut(-1, needed, slope)
        return self._plane(number, room, problem, solution)

    def _plane(
        self, number: int, room: _Room, problem: RoutingProblem, solution: Solution
    ) -> Cut | None:
        """What the prices of one routing say of all counts."""
        if solution.prices is None:
            return None
        slope, others = np.zeros(self.problem.cost.size), room.others
        total = cheapest_total(problem, solution.prices)
        if total is None:
            return None
        prices = solution.prices.vector
        charged = sum(
            (p * b for p, b in zip(fractions(prices[others]), fractions(problem.limit[others]),
                                   strict=True)),
            Fraction(0),
        )  # fmt: skip
        wider = 1 + room.problem.tolerance + _SAFE
        slope[self._mine(room)] = prices[room.at] * room.each * room.share * wider
        return Cut(number, rounded_down((total - charged) * Fraction(room.share)), slope)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """A routing of a room: its value, and what it uses of every model's capacity."""

    upper: float
    use: Floats
    solution: Solution


@dataclass(slots=True, eq=False)
class _Memory:
    """What is known of one room.

    Routings, cheapest first; planes below its value, with their prices; and planes that tell
    which counts are too few for a floor.
    """

    routings: list[_Known] = field(default_factory=list)
    planes: list[tuple[Cut, Prices]] = field(default_factory=list)
    floors: list[Cut] = field(default_factory=list)


@dataclass(frozen=True, slots=True, eq=False)
class _Routed:
    solution: Solution
    upper: float
    lower: float
    cut: Cut | None


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
    total = math.fsum(bounds)
    return total if len(bounds) == 1 or not math.isfinite(total) else math.nextafter(
        total, -math.inf
    )  # fmt: skip


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
