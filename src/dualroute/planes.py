"""The linear program over unit counts and the planes below what they serve, with safe bounds.

A branch and bound asks it box after box. Its bounds are recomputed from its duals and hold
whatever rounding did [1]_.

References
----------
.. [1] Neumaier and Shcherbina (2004), Safe bounds in linear and mixed-integer linear programming,
   Mathematical Programming 99.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.highs import QuietHighs

_EPSILON = 2.0**-52
_SCALE = 1e3  # of the objective in HiGHS, whose tolerances are absolute
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
        within = (counts >= self.low) & (counts <= self.high)
        return bool(within.all()) and self.holds(counts)

    def holds(self, counts: Ints) -> bool:
        """Whether the pools hold whole counts."""
        return bool((self.pool @ counts <= self.held * (1 + 1e-12)).all())


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
class Relaxed:
    """Fractional counts, the program's value there, and a safe bound."""

    counts: Floats
    value: float
    bound: float


class Planes:
    """The program over counts, differences of counts, and values above the planes.

    Rows are all "at least"; limits among counts may be broken at a penalty, so that it always has
    a solution: that only lowers its value.

    Parameters
    ----------
    problem
        What is asked.
    size
        Of the objective, roughly: HiGHS's tolerances are absolute.
    """

    def __init__(self, problem: UnitProblem, size: float) -> None:
        self._problem = problem
        d, s, u = problem.cost.size, len(problem.switches), problem.n_values
        self._d, self._values = d, slice(d + s, d + s + u)
        self._softly = slice(d + s + u, d + s + u + 1)
        self._low = np.concatenate([problem.low, np.zeros(s), np.zeros(u), [0.0]])
        self._high = np.concatenate(
            [problem.high, [max(problem.high[a], problem.high[b]) for a, b, _ in problem.switches],
             np.zeros(u), [np.inf]]
        ).astype(np.float64)  # fmt: skip
        # A power of two, so that nothing is rounded; HiGHS's tolerances are absolute.
        self._unit = 2.0 ** round(math.log2(max(size, 1e-290) / _SCALE))
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

    def relaxed(self, low: Floats | Ints, high: Floats | Ints) -> Relaxed | None:
        """The linear program in a box, with a bound that rounding has no part in.

        None where HiGHS fails, or where a value has no plane so far.
        """
        if np.unique(self._of_value[self._of_value >= 0]).size < self._problem.n_values:
            return None
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
        return Relaxed(counts, (paid + float(cost @ values)) * self._unit, bound * self._unit)

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
