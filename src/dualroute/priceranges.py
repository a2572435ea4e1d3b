r"""How far the limits of a relaxation may go before a shadow price changes.

Today's prices stay optimal as long as some mixture of the models they choose uses up what is
priced and keeps the rest. Only queries that are tied between models have anything to mix: how far
one limit goes is a small linear program over the ties. Where they cannot be told from mere
neighbours, or are too many, Newton steps on tangents find the end: prices found at the far end
make a tangent there, which crosses the line of today's price nearer by.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from dualroute import registry
from dualroute.arrays import Bools, Floats, Ints, as_float, entries
from dualroute.looks import exact_sums_of, looks_at
from dualroute.parametric import Known, Plane, exact, totals
from dualroute.problem import Prices, RoutingProblem, regrets
from dualroute.rigour import cheapest_total
from dualroute.solver import Clock, SolveOptions, Solver

_ON_LINE = 1e-10  # of the relaxation's value: what its evaluation may be off by
_SAME = 1e-12  # of two slopes: what they may differ by and be one
_INSIDE = 1e-7
_TIED, _APART = 1e-11, 1e-9  # of a mean query's objective: what ties part by, and what others do
_MOST_TIED = 5_000  # queries that a program over ties is made of
_UNBOUNDED = 3  # as scipy's linprog says it
_PRECISE = 1e-9  # of a usage: what HiGHS may break limits by


@dataclass(frozen=True, slots=True, eq=False)
class _Ties:
    """The optimal face of the relaxation at its prices: what tied queries can mix.

    Attributes
    ----------
    query
        Of each tied pair, numbered from 0, shape ``(c,)``.
    use
        Of each pair, shape ``(K, c)``.
    room
        What the other queries leave of the limits, shape ``(K,)``.
    priced
        Which limits must be used up, shape ``(K,)``.
    size
        A unit of each row, shape ``(K,)``.
    """

    query: Ints
    use: sp.csr_array
    room: Floats
    priced: Bools
    size: Floats

    @classmethod
    def of(cls, problem: RoutingProblem, prices: Prices, threads: int) -> "_Ties | None":
        """None where ties are not told from neighbours, or are too many."""
        (look,) = looks_at(problem, [prices], threads)
        tie, apart = _TIED * problem.objective_size, _APART * problem.objective_size
        tied = np.flatnonzero(~(look.lead > tie))
        if tied.size > _MOST_TIED or (look.lead > tie).sum() > (look.lead > apart).sum():
            return None
        query, use = np.empty(0, np.intp), sp.csr_array((problem.n_rows, 0))
        settled = look.sums[1:]
        if tied.size and problem.rows:
            there = problem.take(tied)
            regret = regrets(there, prices)
            query, model = np.nonzero(regret <= tie)
            if ((regret > tie) & (regret <= apart)).any():
                return None
            columns, lines, values, offset = [], [], [], 0
            for rows in there.rows:
                pool = entries(rows.pool, query, model)
                held = np.flatnonzero(pool >= 0)
                columns.append(held)
                lines.append(pool[held] + offset)
                values.append(rows.taken(query, model)[held].astype(np.float64))
                offset += rows.n_pools
            where = np.concatenate(lines), np.concatenate(columns)
            use = sp.csr_array((np.concatenate(values), where), (problem.n_rows, query.size))
            own = exact_sums_of(problem, tied, look.chosen[tied])
            if own is None:
                return None
            settled = tuple(a - b for a, b in zip(settled, own[1:], strict=True))
        left = [b - u for b, u in zip(exact(problem.limit), settled, strict=True)]
        largest = [np.full(r.n_pools, max(r.largest, -r.smallest)) for r in problem.rows]
        size = np.maximum(np.concatenate([np.empty(0), *largest]), 1e-300)
        return cls(query, use, np.array(totals(tuple(left))), prices.vector > 0, size)

    def reach(self, row: int, sign: float) -> float | None:
        """How far one limit goes, in its unit, maybe infinitely; None if HiGHS does not tell."""
        n, c = int(self.query.max(initial=-1)) + 1, self.query.size
        moving = sp.csr_array(([-sign], ([row], [0])), (self.room.size, 1))
        rows = sp.hstack([sp.diags_array(1.0 / self.size) @ self.use, moving]).tocsr()
        shares = sp.csr_array((np.ones(c), (self.query, np.arange(c))), (n, c + 1))
        room, priced = self.room / self.size, self.priced
        found = linprog(
            np.append(np.zeros(c), -1.0),
            A_ub=rows[~priced],
            b_ub=room[~priced],
            A_eq=sp.vstack([shares, rows[priced]]),
            b_eq=np.concatenate([np.ones(n), room[priced]]),
            options={"primal_feasibility_tolerance": _PRECISE},
        )
        if found.status == _UNBOUNDED:
            return math.inf
        return max(float(found.x[-1]), 0.0) * float(self.size[row]) if found.status == 0 else None


@dataclass(slots=True, eq=False)
class Ranges:
    """The relaxation as a function of single limits.

    Attributes
    ----------
    known
        Its problem has today's limits.
    solver
        Ends at the relaxation's optimum.
    planes
        Tangents found so far, wherever they touch; they serve every row.
    value, prices
        Of the relaxation at today's limits.
    ties
        What they leave open.
    evaluated
        Relaxations solved.
    """

    known: Known
    solver: Solver
    clock: Clock
    evaluations: int
    relative: float
    planes: list[Plane]
    value: float
    prices: Floats
    ties: _Ties | None = None
    evaluated: int = 0

    @classmethod
    def of(cls, known: Known, clock: Clock, evaluations: int, relative: float) -> "Ranges":
        """The relaxation solved at today's limits."""
        # Of the limits as stated: what multiples of usage can reach makes steps of the slopes.
        solver = registry.load("solvers", "lagrangian")(relax=True, lattices=False, compiled=True)
        nothing = np.zeros(known.problem.n_rows)
        ranges = cls(known, solver, clock, evaluations, relative, [], -math.inf, nothing)
        ranges._evaluate(known.problem.limit)
        ranges.planes += known.planes
        held = known.problem.limit
        best = max(ranges.planes, key=lambda plane: plane.near(held))
        ranges.value, ranges.prices = best.near(held), best.prices.vector
        ranges.ties = _Ties.of(known.problem, best.prices, known.options.threads)
        return ranges

    def end(self, row: int, sign: float) -> tuple[float, bool]:
        """How far a row's limit goes before its price is no longer optimal; whether exactly."""
        problem = self.known.problem
        if sign > 0 and self.prices[row] == 0:
            return math.inf, True  # a limit that is worth nothing stays so when loosened
        reach = None if self.ties is None else self.ties.reach(row, sign)
        if reach is not None:
            return reach, True
        rows, _ = problem.family(row)
        size = max(abs(rows.smallest), abs(rows.largest), 1e-300)
        far = 2.0 * problem.n_queries * size + abs(problem.limit[row])
        outer = self._nearest(row, sign, far)
        for _ in range(self.evaluations):
            if self.clock.expired:
                return outer, False
            if outer <= _INSIDE * self.relative * self.known.problem.row_size[row]:
                return 0.0, True
            ray = self._evaluate(self._moved(row, sign * outer))
            if ray is not None:
                nearer = self._possible(ray, row, sign)
                if not nearer < outer * (1 - self.relative):
                    # As far as the limit can be kept at all: is the price optimal up to there?
                    outer = min(outer, nearer)
                    inside = self._evaluate(self._moved(row, sign * outer * (1 - _INSIDE)))
                    nearer = self._nearest(row, sign, outer)
                    if inside is None and nearer >= outer * (1 - 2 * _INSIDE):
                        return outer, True
                    if inside is not None:
                        return outer, False
            else:
                nearer = self._nearest(row, sign, outer)
                if self._on_line(row, sign, outer):
                    return outer, True
                if not nearer < outer * (1 - self.relative):
                    return nearer, False
            outer = max(nearer, 0.0)
        return outer, False

    def _moved(self, row: int, by: float) -> Floats:
        limit = self.known.problem.limit
        limit[row] += by
        return limit

    def _evaluate(self, limit: Floats) -> Prices | None:
        """Solve the relaxation at some limits and keep its tangent; the ray where it has none."""
        problem = self.known.problem.with_limit(limit)
        options = SolveOptions(
            time_limit=max(self.clock.left, 1e-3), threads=self.known.options.threads
        )
        solution = self.solver.solve(problem, options)
        self.evaluated += 1
        if solution.ray is not None:
            return solution.ray
        prices = solution.prices
        total = None if prices is None else cheapest_total(problem, prices, options.threads)
        if prices is not None and total is not None:
            self.planes.append(Plane(prices, total))
        return None

    def _possible(self, ray: Prices, row: int, sign: float) -> float:
        """How far the limit goes by weights that prove it contradictory beyond."""
        problem = self.known.problem
        total = cheapest_total(problem.without_objective(), ray)
        weight = ray.vector[row]
        if total is None or weight == 0:
            return 0.0
        spare = -Plane(ray, total).at(exact(problem.limit))
        return max(as_float(spare / Fraction(float(weight))), 0.0) if sign < 0 else math.inf

    def _nearest(self, row: int, sign: float, outer: float) -> float:
        return min([outer, *(self._crossing(plane, row, sign) for plane in self.planes)])

    def _crossing(self, plane: Plane, row: int, sign: float) -> float:
        """Where a tangent rises above the line of today's price; infinite if it does not."""
        price, other = float(self.prices[row]), float(plane.prices.vector[row])
        steeper = sign * (price - other)
        if steeper <= _SAME * (price + other):
            return math.inf
        short = self.value - plane.near(self.known.problem.limit)
        return short / steeper if short > self._room else 0.0

    def _on_line(self, row: int, sign: float, by: float) -> bool:
        held = self._moved(row, sign * by)
        value = max(plane.near(held) for plane in self.planes)
        line = self.value - float(self.prices[row]) * sign * by
        return value <= line + 4 * self._room

    @property
    def _room(self) -> float:
        """What values of the relaxation may be off by."""
        charged = float(np.abs(self.prices * self.known.problem.limit).sum())
        return _ON_LINE * (abs(self.value) + charged)
