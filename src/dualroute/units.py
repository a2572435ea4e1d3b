r"""Capacity in whole units: an integer program over unit counts, by cuts and a proved tree.

.. math::

    \min_{y \in \mathbb{Z}^d} \; c^T y + \sum_k open_k [y_k > 0]
        + \sum_p switch_p |y_{a_p} - y_{b_p}| + \sum_u V_u(y)
    \quad\text{s.t.}\quad low \le y \le high, \; G y \le g

``V_u`` is the optimum of a routing problem whose capacities grow with ``y``; it never grows with
``y``. Prices of that problem bound it from below by a plane in ``y``, whatever ``y`` is: a cut of
Benders [1]_. A branch and bound over boxes of counts works on the linear programs over the cuts;
the whole counts it comes upon are asked for values and further cuts, and those that promise enough
are routed. Its bounds are safe: see `dualroute.planes`.

References
----------
.. [1] Benders (1962), Partitioning procedures for solving mixed-variables programming problems,
   Numerische Mathematik 4.
.. [2] Linderoth and Wright (2003), Decomposition algorithms for stochastic programming on a
   computational grid, Computational Optimization and Applications 24,
   doi:10.1023/A:1021858008222.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.certificate import PROVED_OPTIMAL
from dualroute.planes import Cut, Planes, UnitProblem
from dualroute.solver import Clock

_EPSILON = 2.0**-52
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
    """The search's state; it ends where `bound` is near enough to `objective`."""

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
    # Whole counts by their bytes: relaxed values, those of them that are not routed, routings.
    _seen: dict[bytes, float] = field(default_factory=dict)
    _open: dict[bytes, Ints] = field(default_factory=dict)
    _routed: dict[bytes, Answer] = field(default_factory=dict)
    _between: set[bytes] = field(default_factory=set)
    _routing: float = 0.0  # seconds that the last routings took
    _size: float = 0.0  # of the objective
    _planes: Planes = field(init=False)

    def run(self) -> UnitPlan:
        problem = self.problem
        try:
            high = problem.high.astype(np.float64)
            if self.values.refusal(high):  # more capacity never hurts: no counts will do
                self.bound = math.inf
                return self._found()
            most = self.values.bound(high, math.inf)
            known = np.where(np.isfinite(most.upper), most.upper, most.lower)
            routed = float(np.abs(known[np.isfinite(known)]).sum())
            few = np.minimum(problem.high, np.ceil(self.center).astype(np.int64))
            self._size = routed + problem.fixed_cost(few)
            self._planes = Planes(problem, routed + problem.fixed_cost(problem.high))
            self._planes.add((*most.cuts, *self.cuts))
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
        """What relaxations say, learned from."""
        self.evaluations += 1
        answer = self.values.bound(counts, accuracy)
        self._planes.add(answer.cuts)
        return answer

    def _look(self, counts: Ints) -> float:
        """What whole counts cost with relaxed routings."""
        key = counts.tobytes()
        if key not in self._seen:
            best = self._promising()
            least = self.objective if best is None else min(self.objective, best[0])
            near = self._gap(least if math.isfinite(least) else self._size)
            fixed = self.problem.fixed_cost(counts)
            for accuracy in (near, _ACCURACY * near):  # finer only where that may decide
                answer = self._ask(counts.astype(np.float64), accuracy)
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
            self._planes.add(answer.cuts)
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
        if self.counts is None and self.bound < math.inf:
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
        """The linear relaxation, by cuts at fractional counts in a region that is trusted [2]_.

        The region shrinks where the planes promised too much, and grows where they kept it.
        """
        problem, radius, last = self.problem, _RADIUS, None
        best = self._relaxed_value(self.center, _ROUGH * self._size)
        for _ in range(_ROUNDS):
            whole = self._planes.relaxed(problem.low, problem.high)
            if whole is None:
                return
            self.bound = max(self.bound, whole.bound)
            self.tell("relaxation", self.objective, self.bound)
            near = max(_NEAR * self.mip_rel_gap, 1e-9) * abs(best)
            if best - whole.value <= near or self._late:
                return
            low = np.maximum(problem.low, self.center - radius)
            high = np.minimum(problem.high, self.center + radius)
            solved = self._planes.relaxed(low, high)
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
        """What counts cost with relaxed routings, whole or not."""
        answer = self._ask(counts, accuracy)
        return self._planes.paid(counts) + math.fsum(answer.upper.tolist())

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
            solved = self._planes.relaxed(low, high)
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
            if not problem.holds(raised):
                up = math.floor(solved.counts[j])
                raised = _with(low, j, up)
            low, high = raised, _with(high, j, up)
        return None

    def _dive(self, low: Ints, high: Ints) -> None:
        """Look at counts that a dive finds, where they promise enough."""
        counts = self._dived(low, high)
        if counts is not None and counts.tobytes() not in self._seen:
            promised = self._planes.value(counts) - self.bound
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
        if between.tobytes() in self._between:
            return False
        self._between.add(between.tobytes())
        before = self._planes.value(counts)
        self._ask(between, _LOOSELY * self._gap(self._size))
        left = self._planes.value(counts) - before
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
        if not self.problem.holds(low):
            return math.inf, []
        solved = self._planes.relaxed(low, high)
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
        solved = self._planes.relaxed(box.low, box.high)
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
