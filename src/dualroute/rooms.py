"""Routing problems whose capacities are made by replicas: bounded at any counts, routed at some.

The relaxation of a room remembers what it learned (`dualroute.relaxation`), so that most counts
are answered by little or no work, in floating point; the planes that leave this module are
proved. Routings are made only for counts that deserve them.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from operator import itemgetter
from threading import Event
from typing import TypeVar

import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.certificate import certify
from dualroute.errors import TableError
from dualroute.formulation import Capacity, Limit, Objective, Restriction, formulate
from dualroute.planes import Cut, UnitProblem
from dualroute.problem import Prices, RoutingProblem
from dualroute.relaxation import Relaxation
from dualroute.replicas import Replicas, Traffic
from dualroute.rigour import cheapest_total, fractions, rounded_down
from dualroute.routing import Plan
from dualroute.solver import Clock, Solution, SolveOptions, Solver, Status, Termination
from dualroute.units import Answer

_FINER = 0.1  # of the gap asked for: how far routings may be from their optimum
_ROUGHLY = 1e-3  # of a room's cost: how well it is known where replicas are rented
_SAFE = 1e-12
_LEARNING = 0.7  # of the time is left for other things than prices from elsewhere
_PATIENCE, _PATIENCE_PER_PAIR = 3.0, 3e-6  # seconds for one routing
_PATIENT, _LONGEST = 0.2, 60.0  # of the time, and seconds, where the proof hangs on it
_FIRST = 2.0  # seconds at least, where nothing is routed so far
_AT_ONCE = 4  # rooms of one answer, where there are threads: the first that fails ends it

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Room:
    """One period of one scenario: its routing problem, and where replicas enter its limits.

    `exact` is the same problem without a tolerance, for limits that are widened by it already.
    `at` and `each` tell for every replica which entry of the limits it makes, and what one more
    adds to it.
    """

    traffic: Traffic
    slot: int
    share: float
    problem: RoutingProblem
    exact: RoutingProblem
    at: Ints
    each: Floats

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
        )

    @property
    def kind(self) -> tuple[tuple[str, tuple[str, ...], int], ...]:
        """What its limits are; prices of one room are prices of another of the same kind."""
        return tuple((rows.name, rows.labels, rows.n_pools) for rows in self.problem.rows)

    @property
    def others(self) -> Bools:
        """Which limits no replica enters, ``(K,)``."""
        others = np.ones(self.problem.n_rows, bool)
        others[self.at] = False
        return others

    def limit(self, counts: Floats | Ints, *, widened: bool = True) -> Floats:
        """The limits with the capacities of these counts ``(R,)``, shape ``(K,)``.

        Widened by the feasibility tolerance once and for all, so that solvers need not try
        twice where the limits as stated just cannot be kept.
        """
        limit = self.problem.limit
        limit[self.at] = self.each * counts
        return limit + 0.999 * self.problem.tolerance * np.abs(limit) if widened else limit

    def at_counts(self, counts: Floats | Ints, *, widened: bool = True) -> RoutingProblem:
        """The routing problem under these limits."""
        problem = self.exact if widened else self.problem
        return problem.with_limit(self.limit(counts, widened=widened))


@dataclass(slots=True, eq=False)
class Routings:
    """Bounds and routes every period of a group at given counts; keeps the best counts' routings.

    Parameters
    ----------
    problem
        Over the counts of the group's slots.
    replicas, rooms, slots
        What stands behind them.
    solver, options, clock
        Of the routings.
    pool
        Threads for rooms, if there are any.
    stop
        Set once Ctrl-C was seen.
    """

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
    _known: list["_Bounds"] = field(default_factory=list)
    _asked: list[tuple[float, list[Floats]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Where there are many queries, counts are most often too few."""
        sizes = [room.problem.n_queries * room.traffic.weight for room in self.rooms]
        self._order = np.argsort(sizes, kind="stable")[::-1].tolist()
        self._known = [
            _Bounds(number, room, self._mine(room), self.problem.cost.size)
            for number, room in enumerate(self.rooms)
        ]

    def bound(self, counts: Floats, accuracy: float) -> Answer:
        """What `solve_units` asks first: the relaxation at counts ``(d,)``, within an accuracy."""
        each = accuracy / len(self.rooms)
        answer = self._answer(lambda k: self._known[k].at(counts, each, self.clock))
        value = float(self.problem.cost @ counts) + math.fsum(answer.upper.tolist())
        self._asked.append((value, [known.vector for known in self._known]))
        return answer

    @property
    def prices(self) -> list[Floats]:
        """Prices that were best at the cheapest counts asked for, each ``(K,)``."""
        best = sorted(self._asked, key=itemgetter(0))
        return distinct(vector for _, some in best for vector in some)

    def learn(self, prices: Sequence[Floats]) -> tuple[Cut, ...]:
        """Planes of prices that were good in periods with the same limits."""
        found = self._each(
            range(len(self.rooms)), lambda k: list(self._known[k].learn(prices, self.clock))
        )
        return tuple(cut for cuts in found for cut in cuts)

    def refusal(self, counts: Floats) -> tuple[Cut, ...]:
        """Why counts ``(d,)`` are too few for some room, where that is found."""
        found = self._each(
            range(len(self.rooms)), lambda k: self._known[k].too_few(counts, self.clock)
        )
        return tuple(cut for cut in found if cut is not None)

    def route(self, counts: Ints, *, patient: bool = False) -> Answer:
        """What it asks of whole counts ``(d,)`` that are worth it: routings, certified."""
        routed: dict[int, Solution] = {}

        def one(k: int) -> _One:
            found, routed[k] = self._routed(k, counts, patient)
            return found

        answer = self._answer(one)
        value = self.problem.fixed_cost(counts) + math.fsum(answer.upper.tolist())
        if value < self._best and self.problem.fits(counts):
            self._best, self._at = value, counts.tobytes()
            self.solutions = [routed[k] for k in range(len(self.rooms))]
        return answer

    def plans(self, counts: Ints) -> dict[tuple[str, str], Plan]:
        """The routings of the best counts found, certified under the limits as stated."""
        if self._at != counts.tobytes():  # Ctrl-C came between an answer and its use
            self._best = math.inf
            self.stop.clear()
            self.route(counts)
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
        rented = self._each(
            range(len(self.rooms)), lambda k: self._known[k].rent(prices, self.clock)
        )
        cuts: list[Cut] = []
        for room, (planes, used) in zip(self.rooms, rented, strict=True):
            mine = self._mine(room)
            counts[mine] = np.maximum(counts[mine], used)
            cuts += planes
        return tuple(cuts), counts

    def _each(self, some: Sequence[int], one: Callable[[int], T]) -> list[T]:
        def unless_stopped(k: int) -> T:
            if self.stop.is_set():
                raise KeyboardInterrupt
            return one(k)

        run = map if self.pool is None else self.pool.map
        return list(run(unless_stopped, some))

    def _answer(self, one: Callable[[int], "_One"]) -> Answer:
        """Of every room, until one cannot be served."""
        size = len(self.rooms)
        upper, lower = np.full(size, math.inf), np.full(size, -math.inf)
        cuts: list[Cut] = []
        step = 1 if self.pool is None else _AT_ONCE
        for start in range(0, size, step):
            some = self._order[start : start + step]
            for k, found in zip(some, self._each(some, one), strict=True):
                upper[k], lower[k] = found.upper, found.lower
                cuts += found.cuts
            unserved = [k for k in some if lower[k] == math.inf]
            if unserved:  # the others do not matter, and these are asked first from now on
                self._order = unserved + [k for k in self._order if k not in unserved]
                break
        return Answer(upper, lower, tuple(cuts))

    def _options(self, prices: Prices, patient: bool) -> SolveOptions:
        pairs = max(room.problem.objective.size for room in self.rooms)
        patience = _PATIENCE + _PATIENCE_PER_PAIR * pairs
        if patient:
            patience = max(patience, min(_PATIENT * self.clock.left, _LONGEST))
        return replace(
            self.options,
            mip_rel_gap=_FINER * self.options.mip_rel_gap,
            mip_abs_gap=0.0,
            # Something is found at least, however late.
            time_limit=max(min(self.clock.left, patience), 0.1 if self.solutions else _FIRST),
            threads=1 if self.pool is not None else self.options.threads,
            progress=None,
            start=None,
            prices=prices,
        )

    def _mine(self, room: Room) -> slice:
        """Where the counts of a room's slot stand."""
        place = self.slots.index(room.slot)
        return slice(place * room.at.size, (place + 1) * room.at.size)

    def _routed(self, number: int, counts: Ints, patient: bool) -> tuple["_One", Solution]:
        """A room routed at whole counts, and what is proved of that."""
        room, known = self.rooms[number], self._known[number]
        cut = known.too_few(counts.astype(np.float64), self.clock)
        if cut is not None:
            nothing = Solution(Status.INFEASIBLE, Termination.INFEASIBLE)
            return _One(math.inf, math.inf, (cut,)), nothing
        problem = room.at_counts(counts[self._mine(room)])
        solution = self.solver.solve(problem, self._options(known.prices(counts), patient))
        if solution.termination is Termination.INTERRUPTED:
            self.stop.set()
            raise KeyboardInterrupt
        certificate = certify(problem, solution)
        value, lower = certificate.objective * room.share, certificate.bound * room.share
        cut = known.learned(solution)
        return _One(
            value if certificate.feasible else math.inf,
            lower - _SAFE * abs(lower) if math.isfinite(lower) else lower,
            () if cut is None else (cut,),
        ), solution


def distinct(vectors: Iterable[Floats]) -> list[Floats]:
    """Each once, in their order."""
    return list({vector.tobytes(): vector for vector in vectors}.values())


@dataclass(frozen=True, slots=True, eq=False)
class _One:
    """What one room says of some counts, as in `Answer`."""

    upper: float
    lower: float
    cuts: tuple[Cut, ...]


@dataclass(slots=True, eq=False)
class _Bounds:
    """The relaxation of one room over all counts ``(d,)``, of which some are its own.

    Values are those of the room times its share of the whole.
    """

    number: int
    room: Room
    mine: slice
    size: int
    relaxation: Relaxation = field(init=False)
    vector: Floats = field(init=False)  # the prices of the last answer
    _proved: dict[bytes, Cut | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is known yet."""
        self.relaxation = Relaxation(self.room.exact)
        self.vector = np.zeros(self.room.problem.n_rows)

    def at(self, counts: Floats, accuracy: float, clock: Clock) -> _One:
        """Value of the relaxation, steeply charged where limits cannot be kept, and its plane."""
        room, relaxation = self.room, self.relaxation
        limit = room.limit(counts[self.mine])
        found = relaxation.at(limit, accuracy / room.share, clock, relaxation.steep())
        cut, self.vector = self._plane(found.prices), found.prices
        if cut is None:
            return _One(found.upper * room.share, -math.inf, ())
        lower = cut.constant - float(cut.slope @ counts)
        return _One(
            found.upper * room.share, lower - _SAFE * (abs(lower) + abs(cut.constant)), (cut,)
        )

    def too_few(self, counts: Floats, clock: Clock) -> Cut | None:
        """Why there is no routing at these counts, if it is found that there is none."""
        room, relaxation = self.room, self.relaxation
        limit = room.limit(counts[self.mine])
        accuracy = _ROUGHLY * relaxation.size
        if not relaxation.at(limit, accuracy, clock, relaxation.steep()).exceeding:
            return None
        ray = relaxation.at(limit, accuracy, clock).ray
        cut = None if ray is None else self._needed(ray)
        return cut if cut is not None and float(cut.slope @ counts) < cut.constant else None

    def prices(self, counts: Ints) -> Prices:
        """The best known at whole counts."""
        _, vector = self.relaxation.best(self.room.limit(counts[self.mine]))
        return Prices.of(self.room.exact, vector)

    def learned(self, solution: Solution) -> Cut | None:
        """What a solver's prices, or its ray, prove of all counts."""
        if solution.status is Status.INFEASIBLE and solution.ray is not None:
            return self._needed(solution.ray.vector)
        if solution.prices is None:
            return None
        return next(self.learn([solution.prices.vector], Clock(math.inf)), None)

    def learn(self, prices: Sequence[Floats], clock: Clock) -> Iterator[Cut]:
        """Planes of prices from elsewhere, each ``(K,)``, for a part of the time at most."""
        enough = _LEARNING * clock.left
        for vector in prices:
            if clock.left < enough:
                return
            self.relaxation.look(vector)
            cut = self._plane(vector)
            if cut is not None:
                yield cut

    def rent(self, prices: Floats, clock: Clock) -> tuple[list[Cut], Floats]:
        """Planes, and counts used ``(R,)``, where replicas are paid by use at ``(R,)``."""
        room, rent = self.room, np.full(self.room.problem.n_rows, math.inf)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            rent[room.at] = np.where(prices > 0, prices / (room.each * room.share), 0.0)
        limit, nothing = room.limit(np.zeros(room.at.size)), np.zeros(rent.size)
        self.relaxation.look(nothing)  # bounds whatever the counts, and whatever comes after
        found = self.relaxation.at(limit, _ROUGHLY * self.relaxation.size, clock, rent)
        cuts = [self._plane(vector) for vector in (nothing, found.prices)]
        return [cut for cut in cuts if cut is not None], found.use[room.at] / room.each

    def _plane(self, vector: Floats) -> Cut | None:
        """What prices ``(K,)`` prove of all counts; None where numbers are too large."""
        key = vector.tobytes()
        if key not in self._proved:
            room = self.room
            total = cheapest_total(room.exact, Prices.of(room.exact, vector))
            self._proved[key] = (
                None
                if total is None
                else self._cut(
                    self.number,
                    (total - self._held(vector)) * Fraction(room.share),
                    vector * room.share,
                )
            )
        return self._proved[key]

    def _needed(self, ray: Floats) -> Cut | None:
        """What weights ``(K,)`` prove of counts that are too few."""
        keeping = self.room.exact.without_objective()
        total = cheapest_total(keeping, Prices.of(keeping, ray))
        return None if total is None else self._cut(-1, total - self._held(ray), ray)

    def _held(self, vector: Floats) -> Fraction:
        """What limits that no replica enters come to at prices ``(K,)``."""
        room = self.room
        limit, others = room.limit(np.zeros(room.at.size)), room.others
        pairs = zip(fractions(vector[others]), fractions(limit[others]), strict=True)
        return sum((price * held for price, held in pairs), Fraction(0))

    def _cut(self, value: int, constant: Fraction, vector: Floats) -> Cut:
        room, slope = self.room, np.zeros(self.size)
        slope[self.mine] = vector[room.at] * room.each * (1 + room.problem.tolerance + _SAFE)
        return Cut(value, rounded_down(constant), slope)
