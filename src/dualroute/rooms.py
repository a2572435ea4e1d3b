"""Routing problems whose capacities are made by replicas: solved at any counts, and bounded at all.

Prices found at some counts bound the cost at every other, by a plane; routings found at some
counts serve at every other that has room for them. Both are remembered, so that most counts are
answered without a solve.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from threading import Event

import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.certificate import Certificate, certify
from dualroute.errors import TableError
from dualroute.formulation import Capacity, Limit, Objective, Restriction, formulate
from dualroute.problem import Prices, RoutingProblem, Rows
from dualroute.replicas import Replicas, Traffic
from dualroute.rigour import cheapest_total, fractions, rounded_down
from dualroute.routing import Plan
from dualroute.solver import (
    Clock,
    Solution,
    SolveOptions,
    Solver,
    Status,
    Termination,
    for_bounds,
)
from dualroute.units import Answer, Cut, UnitProblem

_FINER, _ROUGHLY = 0.1, 0.3  # of it: how far routings on whole counts, and on others, may be
_SAFE = 1e-12
_PATIENCE, _PATIENCE_PER_PAIR = 3.0, 3e-6  # seconds for one routing
_NEAR_FLOOR = 0.03  # of a floor: counts that might be too few for it
_REMEMBERED = 16  # routings of a room
_AT_ONCE = 4  # routings of one answer, where there are threads: the first that fails ends it


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """One period of one scenario: its routing problem, and where replicas enter its limits.

    `exact` is the same problem without a tolerance, for limits that are widened by it already.
    `at` and `each` tell for every replica which entry of the limits it makes, and what one more
    adds to it; the last `families` families of limits are those of replicas.
    """

    traffic: Traffic
    slot: int
    share: float
    problem: RoutingProblem
    exact: RoutingProblem
    at: Ints
    each: Floats
    families: int

    @classmethod
    def of(
        cls,
        traffic: Traffic,
        replicas: Sequence[Replicas],
        slot: int,
        probability: float,
        minimize: Objective,
        limits: Sequence[Limit | Restriction],
    ) -> "Room":
        """The period's problem, with a capacity for every model that is bought in units."""
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
            slot=slot,
            share=probability * traffic.weight,
            problem=problem,
            exact=replace(problem, tolerance=0.0),
            at=np.array([start + order.index(one) for one in replicas]),
            each=np.array([one.size for one in replicas]) / traffic.weight,
            families=len(columns),
        )

    def floors(self) -> list[Rows]:
        """Limits from below that all queries share."""
        own = self.problem.rows[: len(self.problem.rows) - self.families]
        return [r for r in own if r.at_least and r.n_pools == 1 and r.pool.min() == 0]

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
        return self.exact.with_limit(limit + 0.999 * stated.tolerance * np.abs(limit))


@dataclass(slots=True, eq=False)
class Routings:
    """Routes every period of a group at given counts; keeps the routings of the best counts."""

    problem: UnitProblem
    replicas: tuple[Replicas, ...]
    rooms: list[Room]
    slots: tuple[int, ...]
    solver: Solver
    options: SolveOptions
    clock: Clock
    pool: ThreadPoolExecutor | None
    stop: Event = field(default_factory=Event)
    solutions: list[Solution] = field(default_factory=list)
    _best: float = math.inf
    _at: bytes = b""
    _order: list[int] = field(default_factory=list)
    _memory: list["_Memory"] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Where there are many queries, counts are most often too few."""
        sizes = [room.problem.n_queries * room.traffic.weight for room in self.rooms]
        self._order = np.argsort(sizes, kind="stable")[::-1].tolist()
        self._memory = [_Memory() for _ in self.rooms]

    def answer(self, counts: Floats) -> Answer:
        """What `solve_units` asks: values, bounds and planes at counts ``(d,)``."""
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
                self._best, self._at = value, whole.tobytes()
                self.solutions = [routed[k].solution for k in range(size)]
        cuts = [one.cut for one in routed.values() if one.cut is not None]
        return Answer(upper, lower, tuple(cuts))

    def plans(self, counts: Ints) -> dict[tuple[str, str], Plan]:
        """The routings of the best counts found, certified under the limits as stated."""
        if self._at != counts.tobytes():  # Ctrl-C came between an answer and its use
            self._best = math.inf
            self.stop.clear()
            self.answer(counts.astype(np.float64))
        held = {}
        for room, solution in zip(self.rooms, self.solutions, strict=True):
            problem = room.at_counts(counts[self._mine(room)], widened=False)
            certificate = certify(problem, solution)
            plan = Plan(room.traffic.outcomes, problem, solution, certificate, solution.solver)
            held[room.traffic.scenario, room.traffic.period] = plan
        return held

    def as_rented(self) -> tuple[tuple[Cut, ...], Floats]:
        """Planes and counts from routings that pay for what they use of every replica.

        With fractional replicas, as many as are wanted, and counts of each period's own, that is
        near the optimum.
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
            stated = room.at_counts(np.zeros(room.at.size))
            cheapest = cheapest_total(stated, Prices.of(stated, np.zeros(stated.n_rows)))
            if cheapest is not None:  # whatever the counts, and whatever a solver leaves
                least = rounded_down(cheapest * Fraction(room.share))
                cuts.append(Cut(number, least, np.zeros(self.problem.cost.size)))
            cut = self._plane(number, room, stated, solution)
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
            mip_abs_gap=0.0,
            time_limit=max(min(self.clock.left, patience), 0.1),
            threads=1 if self.pool is not None else self.options.threads,
            progress=None,
            start=None,
            prices=None,
        )

    def _solved(self, solver: Solver, problem: RoutingProblem, part: float) -> Solution:
        """A routing problem solved; Ctrl-C ends more than one of them."""
        if self.stop.is_set() and self.solutions:
            raise KeyboardInterrupt
        solution = solver.solve(problem, self._options(part))
        if solution.termination is Termination.INTERRUPTED:
            self.stop.set()
            raise KeyboardInterrupt
        return solution

    def _mine(self, room: Room) -> slice:
        """Where the counts of a room's slot stand."""
        place = self.slots.index(room.slot)
        return slice(place * room.at.size, (place + 1) * room.at.size)

    def _routed(self, number: int, room: Room, counts: Floats) -> "_Routed":
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
        solution = self._solved(solver, problem, part)
        certificate = certify(problem, solution)
        lower = certificate.bound * room.share
        value = certificate.objective if whole else certificate.bound
        upper = value * room.share if math.isfinite(value) else math.inf
        cut = self._cut(number, room, problem, solution, certificate)
        if certificate.feasible:
            use = np.concatenate([np.empty(0), *certificate.use])[room.at]
            self._memory[number].routings.append(
                _Known(certificate.objective * room.share, use, solution)
            )
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

    def _short(self, number: int, room: Room, counts: Floats) -> Cut | None:
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
            solution = self._solved(for_bounds(self.solver), problem, _ROUGHLY)
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
        self, number: int, room: Room, problem: RoutingProblem, counts: Floats, gap: float
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
        room: Room,
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
        self, number: int, room: Room, problem: RoutingProblem, solution: Solution
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
