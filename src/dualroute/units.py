r"""Capacity in whole units: an integer program over unit counts, by cuts and a proved tree.

.. math::

    \min_{y \in \mathbb{Z}^d} \; c^T y + \sum_k open_k [y_k > 0]
        + \sum_p switch_p |y_{a_p} - y_{b_p}| + \sum_u V_u(y)
    \quad\text{s.t.}\quad low \le y \le high, \; G y \le g

``V_u`` is the optimum of a routing problem whose capacities grow with ``y``; it never grows with
``y``. Prices of that problem bound it from below by a plane in ``y``, whatever ``y`` is: a cut of
Benders [1]_. A branch and bound over boxes of counts works on the linear programs over the cuts;
the whole counts it comes upon are asked for values and further cuts, and those that promise enough
are routed. Its bounds are recomputed from the duals of the linear programs and hold whatever
rounding did [2]_.

References
----------
.. [1] Benders (1962), Partitioning procedures for solving mixed-variables programming problems,
   Numerische Mathematik 4.
.. [2] Neumaier and Shcherbina (2004), Safe bounds in linear and mixed-integer linear programming,
   Mathematical Programming 99.
.. [3] Linderoth and Wright (2003), Decomposition algorithms for stochastic programming on a
   computational grid, Computational Optimization and Applications 24,
   doi:10.1023/A:1021858008222.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import highspy
import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.certificate import PROVED_OPTIMAL
from dualroute.highs import QuietHighs
from dualroute.solver import Clock

_EPSILON = 2.0**-52
_SCALE = 1e3  # of the objective in HiGHS, whose tolerances are absolute
_ROUNDS = 60  # of fractional counts, before whole ones are asked for
_NEAR = 0.3  # of the gap asked: nearer to their bound, fractional counts are good enough
_ACCURACY = 0.1  # of the gap asked: of relaxed values, where it matters
_ROUGH, _ROUGHER = 0.01, 0.3  # of the objective; of what is open: of relaxed values before
_NEARLY = 0.5  # of the gap asked: relaxed counts so near to the bound are routed
_LATE = 2  # counts that may be routed after the time, where none were before
_DIVE_EVERY, _DIVED = 10, 2.0  # boxes; times the gap asked: what is looked at may promise
_WHOLE = 1e-6
_CANDIDATES, _LITTLE = 4, 1e-9  # counts that a box may be divided at; of a bound, as if gained
_RADIUS = 1.0  # units: how far from the best fractional counts the planes are trusted at first
_PROMISING = 0.5  # of what is near enough: a region that promises less is left
_NEARBY, _BETWEEN = 1.0, 0.3  # units from the relaxation; part of the way to others
_LOOSELY = 3.0  # times the gap asked: how well values there are known
_KEPT = 0.1  # of what was promised: with more the best fractional counts move
_INFINITY = highspy.kHighsInf


@dataclass(frozen=True, slots=True, eq=False)
class UnitProblem:
    """What unit counts cost, and the limits they keep by themselves.

    Attributes
    ----------
    cost, opening
        Of every unit, and once where a count is above 0, both ``(d,)`` and at least 0.
    low, high
        Whole numbers, ``(d,)``.
    pool, held
        Non-negative rows ``(r, d)`` and what each may come to, ``(r,)``.
    switches
        Pairs of counts and what each unit of their difference costs.
    n_values
        Number of routing problems, ``u``.
    """

    cost: Floats
    opening: Floats
    low: Ints
    high: Ints
    pool: Floats
    held: Floats
    switches: tuple[tuple[int, int, float], ...]
    n_values: int

    def fixed_cost(self, counts: Ints) -> float:
        """What whole counts cost without any routing."""
        apart = [cost * abs(int(counts[a]) - int(counts[b])) for a, b, cost in self.switches]
        return math.fsum(
            [*(self.cost * counts).tolist(), *self.opening[counts > 0].tolist(), *apart]
        )

    def fits(self, counts: Ints) -> bool:
        """Whether whole counts keep the limits among themselves."""
        within = self.pool @ counts <= self.held * (1 + 1e-12)
        return bool(within.all()) and bool(((counts >= self.low) & (counts <= self.high)).all())


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """A plane below one value, ``V_u(y) >= constant - slope . y`` for every count.

    With `value` -1 it says that no routing exists unless ``slope . y >= constant``.

    Attributes
    ----------
    value
        Number of the routing problem.
    constant
        Rounded down.
    slope
        Non-negative, ``(d,)``.
    """

    value: int
    constant: float
    slope: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the routing problems say of some counts.

    Attributes
    ----------
    upper, lower
        Of every routing problem, ``(u,)``: the value of its relaxation or of a routing, infinite
        without one, and a proved bound at these counts, infinite where it is proved that there
        is no routing. Where that is so of one, others may be left unsolved, as infinite and
        minus infinite.
    cuts
        Planes that hold for all counts.
    """

    upper: Floats
    lower: Floats
    cuts: tuple[Cut, ...]

    @property
    def unknown(self) -> bool:
        """Whether some problem has no routing, and no proof that there is none."""
        return not self.refused and not bool(np.isfinite(self.upper).all())

    @property
    def refused(self) -> bool:
        """Whether it is proved that these counts are too few."""
        return bool((self.lower == math.inf).any())


class Values(Protocol):
    """The routing problems behind the counts."""

    def bound(self, counts: Floats, accuracy: float) -> Answer:
        """Relaxations at counts ``(d,)``, whole or not; their sum within an accuracy."""
        ...

    def refusal(self, counts: Floats) -> tuple[Cut, ...]:
        """What proves that counts ``(d,)`` are too few, if anything does."""
        ...

    def route(self, counts: Ints, *, patient: bool = False) -> Answer:
        """Routings at whole counts ``(d,)``, in as much time as it takes if `patient`."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class UnitPlan:
    """The best whole counts found, and what is proved.

    Attributes
    ----------
    counts
        ``(d,)``; None if no counts have a routing of every problem.
    objective, bound
        Of these counts, infinite without, and proved of all counts; infinite where it is proved
        that there are none.
    evaluations, nodes
        Counts whose routing problems were solved, and nodes of the tree.
    interrupted
        Whether Ctrl-C ended the search.
    """

    counts: Ints | None
    objective: float
    bound: float
    evaluations: int
    nodes: int
    interrupted: bool = False


Tell = Callable[[str, float, float], None]


def solve_units(
    problem: UnitProblem,
    values: Values,
    *,
    mip_rel_gap: float,
    clock: Clock,
    cuts: Sequence[Cut] = (),
    center: Floats | None = None,
    tell: Tell = lambda phase, objective, bound: None,
) -> UnitPlan:
    """Find counts within a relative gap of the best, or what the time allows.

    Parameters
    ----------
    problem
        What is asked.
    values
        Bounds the routing problems at any counts, and solves them at whole ones.
    mip_rel_gap
        Of the whole objective.
    clock
        When to stop.
    cuts
        Planes known before.
    center
        Counts near the optimum that serve all problems, fractional, ``(d,)``.
    tell
        Called with a phase, the best objective and bound.
    """
    start = problem.high.astype(np.float64) if center is None else center
    start = np.clip(start, problem.low, problem.high)
    return _Search(problem, values, mip_rel_gap, clock, tuple(cuts), start, tell).run()


@dataclass(slots=True)
class _Search:
    problem: UnitProblem
    values: Values
    mip_rel_gap: float
    clock: Clock
    cuts: tuple[Cut, ...]
    center: Floats
    tell: Tell
    objective: float = math.inf
    counts: Ints | None = None
    bound: float = -math.inf
    evaluations: int = 0
    nodes: int = 0
    interrupted: bool = False
    _seen: dict[bytes, float] = field(default_factory=dict)  # whole counts: relaxed value
    _open: dict[bytes, Ints] = field(default_factory=dict)  # those of them not routed so far
    _routed: dict[bytes, Answer] = field(default_factory=dict)
    _routing: float = 0.0  # seconds that the last routings took
    _size: float = 0.0  # of the objective
    _master: "_Master" = field(init=False)

    def run(self) -> UnitPlan:
        problem = self.problem
        try:
            high = problem.high.astype(np.float64)
            if self.values.refusal(high):  # more capacity never hurts: no counts will do
                self.bound = math.inf
                return self._found()
            most = self._ask(high, math.inf)
            known = np.where(np.isfinite(most.upper), most.upper, most.lower)
            self._size = float(np.abs(known[np.isfinite(known)]).sum())
            self._size += problem.fixed_cost(np.minimum(problem.high, np.ceil(self.center)))
            self._master = _Master(problem, most)
            self._master.add(self.cuts)
            rounded = np.ceil(self.center - _WHOLE).astype(np.int64)
            if problem.fits(rounded) and math.isfinite(self._look(rounded)):
                self._route(rounded)
            self.bound = max(self.bound, self._floor())
            self._relax()
            self._dive(problem.low, problem.high)
            self._prove()
            self._settle()
        except KeyboardInterrupt:
            self.interrupted = True
        return self._found()

    def _floor(self) -> float:
        """What the least counts cost, and planes that fall with no count: exact where it is 0."""
        least = [-math.inf] * self.problem.n_values
        for cut in self.cuts:
            if cut.value >= 0 and not cut.slope.any():
                least[cut.value] = max(least[cut.value], cut.constant)
        problem = self.problem
        fixed = [*(problem.cost * problem.low).tolist(), *problem.opening[problem.low > 0].tolist()]
        total = math.fsum([*fixed, *least])
        return total if total == 0 else math.nextafter(total, -math.inf)

    def _found(self) -> UnitPlan:
        bound = min(self.bound, self.objective)
        return UnitPlan(
            self.counts,
            self.objective,
            bound,
            self.evaluations,
            self.nodes,
            self.interrupted,
        )

    def _gap(self, value: float) -> float:
        """How far a bound may be from a value."""
        gap = max(self.mip_rel_gap, PROVED_OPTIMAL)  # safe bounds stay a little below
        return gap * abs(value) if math.isfinite(value) else 0.0

    def _closed(self, bound: float) -> bool:
        return self.objective - bound <= self._gap(self.objective)

    def _ask(self, counts: Floats, accuracy: float) -> Answer:
        self.evaluations += 1
        return self.values.bound(counts, accuracy)

    def _look(self, counts: Ints) -> float:
        """What whole counts cost with relaxed routings; learns from them."""
        key = counts.tobytes()
        if key not in self._seen:
            best = self._promising()
            least = self.objective if best is None else min(self.objective, best[0])
            near = self._gap(least if math.isfinite(least) else self._size)
            fixed = self.problem.fixed_cost(counts)
            for accuracy in (near, _ACCURACY * near):  # finer only where that may decide
                answer = self._ask(counts.astype(np.float64), accuracy)
                self._master.add(answer.cuts)
                if fixed + math.fsum(answer.lower.tolist()) > least:
                    break
            value = fixed + math.fsum(answer.upper.tolist())
            self._seen[key] = value
            if self.problem.fits(counts) and not answer.refused and key not in self._routed:
                self._open[key] = counts.copy()
        return self._seen[key]

    def _route(self, counts: Ints, *, patient: bool = False) -> Answer:
        """Route whole counts, learn from them, and hold them if they are the best."""
        key = counts.tobytes()
        self._open.pop(key, None)
        if key not in self._routed or (patient and self._routed[key].unknown):
            begun = self.clock.seconds
            answer = self.values.route(counts, patient=patient)
            self._routing = self.clock.seconds - begun
            self._routed[key] = answer
            self._master.add(answer.cuts)
            if self.problem.fits(counts):
                value = self.problem.fixed_cost(counts) + math.fsum(answer.upper.tolist())
                if value < self.objective:
                    self.objective, self.counts = value, counts.copy()
        return self._routed[key]

    def _promising(self) -> tuple[float, Ints] | None:
        """The best counts that are not routed, by their relaxed value."""
        if not self._open:
            return None
        key = min(self._open, key=self._seen.__getitem__)
        return self._seen[key], self._open[key]

    def _settle(self) -> None:
        """Route the most promising counts, where they may be better than the best."""
        if self.counts is None:
            self._look(self._filled())
        late = 0  # routings after the time
        while (best := self._promising()) is not None:
            value, counts = best
            if not (math.isfinite(value) and self.objective - value > self._gap(value)):
                return
            late += self.clock.left < self._routing
            if late > _LATE or (late and self.counts is not None):
                return
            self._route(counts)

    def _filled(self) -> Ints:
        """Counts that fit, from below those of the relaxation, as many as the limits hold."""
        problem = self.problem
        counts: Ints = np.floor(self.center + _WHOLE).astype(np.int64)
        counts = np.clip(counts, problem.low, problem.high)
        if not problem.fits(counts):
            counts = problem.low.copy()
        room = counts < problem.high
        while room.any():  # what is missing most comes first, and then the pool is filled
            j = int(np.where(room, self.center - counts, -math.inf).argmax())
            raised = _with(counts, j, int(counts[j]) + 1)
            if problem.fits(raised):
                counts = raised
                room = room & (counts < problem.high)
            else:
                room[j] = False
        return counts

    def _relax(self) -> None:
        """The linear relaxation, by cuts at fractional counts in a region that is trusted [3]_.

        The region shrinks where the planes promised too much, and grows where they kept it.
        """
        problem, radius, last = self.problem, _RADIUS, None
        best = self._relaxed_value(self.center, _ROUGH * self._size)
        for _ in range(_ROUNDS):
            whole = self._master.relaxed(problem.low, problem.high)
            if whole is None:
                return
            self.bound = max(self.bound, whole.bound)
            self.tell("relaxation", self.objective, self.bound)
            near = max(_NEAR * self.mip_rel_gap, 1e-9) * abs(best)
            if best - whole.value <= near or self._late:
                return
            low = np.maximum(problem.low, self.center - radius)
            high = np.minimum(problem.high, self.center + radius)
            solved = self._master.relaxed(low, high)
            if solved is None:
                return
            if last is not None and (solved.counts == last).all():
                return  # what planes say here is as exact as it was asked for
            last = solved.counts
            promised = best - solved.value
            if promised <= _PROMISING * near:  # nothing to win here
                radius *= 4.0
                continue
            accuracy = max(_ROUGHER * promised, _NEAR * near)
            value = self._relaxed_value(solved.counts, accuracy)
            gained = best - value
            if gained >= _KEPT * promised:
                edge = (np.abs(solved.counts - self.center) >= radius * (1 - 1e-6)).any()
                if edge and gained >= 0.5 * promised:
                    radius *= 2.0
                self.center, best = solved.counts, value
                continue
            if gained < -promised:
                radius /= min(4.0, 1.0 - gained / promised)
            best = min(best, self._relaxed_value(self.center, accuracy))

    def _relaxed_value(self, counts: Floats, accuracy: float) -> float:
        """What counts cost with relaxed routings, at whole counts or not; learns from them."""
        answer = self._ask(counts, accuracy)
        self._master.add(answer.cuts)
        return self._master.paid(counts) + math.fsum(answer.upper.tolist())

    @property
    def _late(self) -> bool:
        """Whether what is left of the time is needed to route the best counts."""
        best = self._promising()
        better = best is not None and self.objective - best[0] > self._gap(best[0])
        return self.clock.left <= (2 * self._routing if better else 0.0)

    def _dived(self, low: Ints, high: Ints) -> Ints | None:
        """Whole counts in a box that fit, by fixing one fractional count after the other."""
        problem = self.problem
        for _ in range(low.size + 1):
            solved = self._master.relaxed(low, high)
            if solved is None:
                return None
            counts = np.rint(solved.counts).astype(np.int64)
            away = np.abs(solved.counts - counts)
            if away.max() <= _WHOLE:
                return counts if problem.fits(counts) else None
            # The nearest to whole first, upwards where it still fits: capacity is what serves.
            j = int(np.where(away > _WHOLE, -away, -math.inf).argmax())
            up = math.ceil(solved.counts[j])
            raised = _with(low, j, up)
            if (problem.pool @ raised > problem.held).any():
                up = math.floor(solved.counts[j])
                raised = _with(low, j, up)
            low, high = raised, _with(high, j, up)
        return None

    def _dive(self, low: Ints, high: Ints) -> None:
        """Look at counts that a dive finds, where they promise enough."""
        counts = self._dived(low, high)
        if counts is not None and counts.tobytes() not in self._seen:
            promised = self._master.value(counts) - self.bound
            if self.counts is None or promised <= _DIVED * self._gap(self.objective):
                self._look(counts)

    def _deepened(self, counts: Ints) -> bool:
        """Whether planes between the relaxation's counts and others leave those others.

        By convexity nearly all far counts are left by planes of nearer ones, which are tight
        where it matters (the in-out separation of Ben-Ameur and Neto 2007,
        doi:10.1002/net.20190).
        """
        away = counts - self.center
        if np.abs(away).max() <= _NEARBY:
            return False
        between = self.center + _BETWEEN * away
        key = between.tobytes()
        if key in self._seen:
            return False
        before = self._master.value(counts)
        self._seen[key] = self._relaxed_value(between, _LOOSELY * self._gap(self._size))
        left = self._master.value(counts) - before
        return left > self._gap(self._size)

    def _prove(self) -> None:
        """Branch on counts until the gap asked for is proved."""
        problem = self.problem
        order = 0
        open_nodes = [(self.bound, order, problem.low, problem.high)]
        closed = math.inf  # the least bound of what was closed
        while open_nodes:
            least = min(open_nodes[0][0], closed)
            self.bound = max(self.bound, min(least, self.objective))
            self.tell("proof", self.objective, self.bound)
            if self._closed(self.bound) or self._late:
                return
            best = self._promising()
            if best is not None and best[0] - self.bound <= _NEARLY * self._gap(best[0]):
                self._route(best[1])
                continue
            known, _, low, high = heapq.heappop(open_nodes)
            self.nodes += 1
            if self.nodes % _DIVE_EVERY == 0:
                self._dive(low, high)
            bound, branches = self._branched(known, low, high)
            if not branches:
                closed = min(closed, bound)
            for part in branches:
                order += 1
                heapq.heappush(open_nodes, (max(bound, part.bound), order, part.low, part.high))
        self.bound = max(self.bound, min(closed, self.objective))

    def _branched(self, known: float, low: Ints, high: Ints) -> tuple[float, list["_Box"]]:
        """A bound over a box, and the boxes it is divided into where that is not enough."""
        if (self.problem.pool @ low > self.problem.held * (1 + 1e-12)).any():
            return math.inf, []
        solved = self._master.relaxed(low, high)
        bound = known if solved is None else max(known, solved.bound)
        if self.counts is not None and self._closed(bound):
            return bound, []
        if (low == high).all():
            answer = self._route(low, patient=True)  # nothing else is left to do here
            if answer.refused:
                return math.inf, []
            exact = self.problem.fixed_cost(low) + math.fsum(answer.lower.tolist())
            return max(bound, exact - 8 * _EPSILON * abs(exact)), []
        if solved is None:
            return bound, _halves(low, high, int((high - low).argmax()), (low + high) / 2.0)
        counts = np.rint(solved.counts).astype(np.int64)
        if np.abs(solved.counts - counts).max() > _WHOLE:
            return bound, self._divided(bound, low, high, solved.counts)
        key = counts.tobytes()
        if key not in self._seen:
            if not self._deepened(counts):
                self._look(counts)
            return bound, [_Box(low, high)]  # again, with what was learned
        if key in self._open and not self._closed(self._seen[key]):
            self._route(counts)
            return bound, [_Box(low, high)]
        return bound, _around(low, high, counts)

    def _divided(self, bound: float, low: Ints, high: Ints, at: Floats) -> list["_Box"]:
        """The box divided where both parts say most (strong branching, by the product of gains)."""
        away = np.where(high > low, np.abs(at - np.rint(at)), 0.0)
        tried = [j for j in np.argsort(away)[::-1][:_CANDIDATES].tolist() if away[j] > _WHOLE]
        least = _LITTLE * abs(bound) + 1e-300
        best: list[_Box] = []
        most = -1.0
        for j in tried:
            parts = [self._bounded(part) for part in _halves(low, high, j, at)]
            said = math.prod(max(min(part.bound, self.objective) - bound, least) for part in parts)
            if said > most:
                best, most = parts, said
        return best

    def _bounded(self, box: "_Box") -> "_Box":
        solved = self._master.relaxed(box.low, box.high)
        return box if solved is None else _Box(box.low, box.high, solved.bound)


@dataclass(frozen=True, slots=True, eq=False)
class _Box:
    """Counts between two, and a bound on what they cost."""

    low: Ints
    high: Ints
    bound: float = -math.inf


def _halves(low: Ints, high: Ints, j: int, at: Floats) -> list[_Box]:
    """The box divided at one count."""
    below = int(min(max(math.floor(at[j]), low[j]), high[j] - 1))
    return [_Box(low, _with(high, j, below)), _Box(_with(low, j, below + 1), high)]


def _around(low: Ints, high: Ints, counts: Ints) -> list[_Box]:
    """The box divided so that one count stands by itself in one of the parts."""
    j = int((high - low).argmax())
    value = int(counts[j])
    parts = [_Box(_with(low, j, value), _with(high, j, value))]
    if value > low[j]:
        parts.append(_Box(low, _with(high, j, value - 1)))
    if value < high[j]:
        parts.append(_Box(_with(low, j, value + 1), high))
    return parts


def _with(counts: Ints, j: int, value: int) -> Ints:
    changed = counts.copy()
    changed[j] = value
    return changed


@dataclass(frozen=True, slots=True, eq=False)
class _Relaxed:
    """Fractional counts, the master's value there, and a safe bound."""

    counts: Floats
    value: float
    bound: float


class _Master:
    """The program over counts, differences of counts, and values above the planes.

    Rows are all "at least"; limits among counts may be broken at a penalty, so that it always has
    a solution: that only lowers its value.
    """

    def __init__(self, problem: UnitProblem, most: Answer) -> None:
        self._problem = problem
        d, s, u = problem.cost.size, len(problem.switches), problem.n_values
        self._d, self._values = d, slice(d + s, d + s + u)
        self._softly = slice(d + s + u, d + s + u + 1)
        self._low = np.concatenate([problem.low, np.zeros(s), np.zeros(u), [0.0]])
        self._high = np.concatenate(
            [problem.high, [max(problem.high[a], problem.high[b]) for a, b, _ in problem.switches],
             np.zeros(u), [np.inf]]
        ).astype(np.float64)  # fmt: skip
        known = np.where(np.isfinite(most.upper), most.upper, most.lower)
        spread = problem.fixed_cost(problem.high) + np.abs(known[np.isfinite(known)]).sum()
        # A power of two, so that nothing is rounded; HiGHS's tolerances are absolute.
        self._unit = 2.0 ** round(math.log2(max(spread, 1e-290) / _SCALE))
        switching = np.array([cost for *_, cost in problem.switches]).reshape(s)
        self._cost = np.concatenate(
            [problem.cost / self._unit, switching / self._unit, np.ones(u), [10 * _SCALE]]
        )
        rows, sides = [], []
        for line, held in zip(problem.pool, problem.held, strict=True):
            rows.append(self._row((slice(0, d), -line), (self._softly, max(held, 1.0))))
            sides.append(-held * (1 + 2e-12))  # no tighter than `UnitProblem.fits`
        for p, (a, b, _) in enumerate(problem.switches):
            for sign in (1.0, -1.0):
                rows.append(self._row((a, -sign), (b, sign), (d + p, 1.0)))
                sides.append(0.0)
        self._rows = np.array(rows).reshape(len(rows), self._cost.size)
        self._sides = np.array(sides)
        self._of_value = np.full(len(rows), -1)  # which value a row is below
        self._high[self._softly] = 1.0 + (problem.pool @ problem.high).max(initial=0.0)
        self._model = self._built()
        self.add(most.cuts)

    def _row(self, *entries: tuple[slice | int, Floats | float]) -> Floats:
        row = np.zeros(self._cost.size)
        for where, value in entries:
            row[where] = value
        return row

    def _built(self) -> QuietHighs:
        model = QuietHighs()
        for name, value in (("threads", 1), ("primal_feasibility_tolerance", 1e-9),
                            ("dual_feasibility_tolerance", 1e-9)):  # fmt: skip
            model.setOptionValue(name, value)
        columns = self._cost.size
        model.addVars(columns, self._low, self._high)
        for side, row in zip(self._sides, self._rows, strict=True):
            _add_row(model, side, row)
        return model

    def add(self, cuts: Sequence[Cut]) -> None:
        """Planes; those that are there already change nothing."""
        rows: list[Floats] = []
        sides: list[float] = []
        of: list[int] = []
        d = self._d
        for cut in cuts:
            if cut.value < 0:
                size = float(cut.slope.max(initial=0.0))
                if size == 0:
                    continue
                row = self._row((slice(0, d), cut.slope / size), (self._softly, 1.0))
                side = cut.constant / size
                side -= 8 * _EPSILON * (abs(side) + float(np.abs(row[:d]) @ self._high[:d]))
                self._high[self._softly] = max(float(self._high[self._softly][0]), side + 1.0)
            else:
                at, slope = self._values.start + cut.value, cut.slope / self._unit
                side = cut.constant / self._unit
                row = self._row((slice(0, d), slope), (at, 1.0))
                most = side - math.fsum((slope * self._problem.low).tolist())
                least = side - math.fsum((slope * self._problem.high).tolist())
                first = not (self._of_value == cut.value).any() and cut.value not in of
                # A value lies above every plane, and is the largest of them.
                self._low[at] = least if first else max(self._low[at], least)
                self._high[at] = most if first else max(self._high[at], most)
            if _add_row(self._model, side, row):  # HiGHS refuses numbers beyond 1e15
                rows.append(row)
                sides.append(side)
                of.append(cut.value)
        if not rows:
            return
        self._rows = np.concatenate([self._rows, np.array(rows)])
        self._sides = np.concatenate([self._sides, sides])
        self._of_value = np.concatenate([self._of_value, of])

    def value(self, counts: Ints) -> float:
        """The program's value at whole counts that fit."""
        d, above = self._d, 0.0
        for value in range(self._values.stop - self._values.start):
            mine = self._of_value == value
            planes = self._sides[mine] - self._rows[mine][:, :d] @ counts
            above += float(planes.max(initial=-math.inf))
        return self._problem.fixed_cost(counts) + above * self._unit

    def paid(self, counts: Floats) -> float:
        """What counts cost without routing, whole or not: opening by the share of the most."""
        problem = self._problem
        apart = [cost * abs(counts[a] - counts[b]) for a, b, cost in problem.switches]
        cost, always = self._costs(problem.low, problem.high)
        return (always + float(cost[: self._d] @ counts)) * self._unit + math.fsum(apart)

    def _costs(self, low: Floats | Ints, high: Floats | Ints) -> tuple[Floats, float]:
        """Costs in a box, and what is paid whatever is chosen: what opening comes to."""
        opening, d = self._problem.opening / self._unit, self._d
        cost = self._cost.copy()
        shared = (low == 0) & (high > 0)
        cost[:d] += np.where(shared, opening / np.maximum(high, 1), 0.0) * (1 - 4 * _EPSILON)
        return cost, math.fsum(opening[low > 0].tolist()) * (1 - 8 * _EPSILON)

    def relaxed(self, low: Floats | Ints, high: Floats | Ints) -> _Relaxed | None:
        """The linear program in a box, with a bound that rounding has no part in."""
        lows, highs = self._box(low, high)
        cost, paid = self._costs(low, high)
        columns = np.arange(cost.size, dtype=np.int32)
        self._model.changeColsBounds(cost.size, columns, lows, highs)
        self._model.changeColsCost(cost.size, columns, cost)
        self._model.run()
        if self._model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return None
        solution = self._model.getSolution()
        values = np.asarray(solution.col_value)
        weights = np.maximum(np.asarray(solution.row_dual), 0.0)
        bound = safe_bound(cost, self._rows, self._sides, weights, lows, highs)
        bound = paid + bound - 4 * _EPSILON * (paid + abs(bound))
        counts = np.clip(values[: self._d], low, high)
        return _Relaxed(counts, (paid + float(cost @ values)) * self._unit, bound * self._unit)

    def _box(self, low: Floats | Ints, high: Floats | Ints) -> tuple[Floats, Floats]:
        lows, highs = self._low.copy(), self._high.copy()
        lows[: self._d], highs[: self._d] = low, high
        # More than the rounding of a plane's ends.
        ends = np.maximum(np.abs(lows[self._values]), np.abs(highs[self._values]))
        lows[self._values] -= 1e-9 * _SCALE + 1e-12 * ends
        highs[self._values] += 1e-9 * _SCALE + 1e-12 * ends
        return lows, highs


def _add_row(model: QuietHighs, side: float, row: Floats) -> bool:
    """Add a row; whether HiGHS took it."""
    where = np.flatnonzero(row).astype(np.int32)
    taken = model.addRow(side, _INFINITY, where.size, where, row[where])
    return bool(taken != highspy.HighsStatus.kError)


def safe_bound(
    cost: Floats, rows: Floats, sides: Floats, weights: Floats, low: Floats, high: Floats
) -> float:
    r"""A number never above the least of ``cost . x`` over ``rows x >= sides`` in a box.

    For any weights ``w >= 0`` of the rows that is
    :math:`w^T b + \sum_j \min(r_j low_j, r_j high_j)` with :math:`r = c - A^T w`; what the
    arithmetic here may have lost is taken off, by the bounds of `rigour.cheapest_total`.

    Parameters
    ----------
    cost, low, high
        ``(c,)``; all finite.
    rows, sides, weights
        ``(r, c)``, ``(r,)`` and ``(r,)``; the weights any numbers of at least 0.
    """
    used: Bools = weights > 0
    rows, sides, weights = rows[used], sides[used], weights[used]
    charged = weights @ rows
    reduced = cost - charged
    terms = rows.shape[0] + 2
    slip = 2 * terms * _EPSILON * (np.abs(cost) + weights @ np.abs(rows)) + 1e-300
    least = np.where(reduced >= 0, reduced * low, reduced * high)
    parts = np.concatenate([weights * sides, least])
    lost = slip @ np.maximum(np.abs(low), np.abs(high)) + 4 * _EPSILON * np.abs(parts).sum()
    return math.fsum(parts.tolist()) - float(lost) * (1 + 2 * (cost.size + 2) * _EPSILON)
