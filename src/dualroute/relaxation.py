r"""The linear relaxation of one routing problem under any limits: what one taught serves all.

At prices ``p`` every query takes its cheapest model. That is a routing of some cost and some use,
which need not keep the limits, and its Lagrangian bounds the optimum ``V`` under *any* limits
``b`` from below, by a plane: :math:`V(b) \ge L(p) - p^T b`. Mixtures of such routings are all
that the relaxation is about [1]_:

.. math::

    V(b) \le \min_{w, z \ge 0} \; \sum_k w_k cost_k + r^T z \quad\text{s.t.}\quad
    \sum_k w_k use_k \le b + z, \; \sum_k w_k = 1,

where ``z`` is what is rented beyond the limits at ``r``, if anything is. A pass over the table
makes a further routing and a further plane, until both sides agree. Its prices are those of a
Newton step from the best plane, as softmin in place of min gives the Lagrangian a Hessian [2]_;
where that gains nothing, duals of the program above. All of it is remembered, so limits near to
some that were asked before need a pass or two, or none.

References
----------
.. [1] Dantzig & Wolfe (1960), Decomposition principle for linear programs, Operations Research
   8(1), doi:10.1287/opre.8.1.101.
.. [2] Nesterov (2005), Smooth minimization of non-smooth functions, Mathematical Programming 103,
   doi:10.1007/s10107-004-0552-5.
"""

import math
from dataclasses import dataclass, field

import highspy
import numpy as np

from dualroute.arrays import Bools, Floats
from dualroute.engines.local import LocalEngine
from dualroute.highs import QuietHighs
from dualroute.problem import Prices, RoutingProblem
from dualroute.solver import Clock

_PASSES = 200  # for one question
_TRUST = 0.1  # of what a Newton step promised: with less it is damped, and after a few of those
_DAMPING, _LEAST, _LONGEST = 0.25, 0.01, 5  # it rests for some mixtures, 2 to 2**5
_STEEP = 10.0  # of a mean query's cost, for a limit's whole size: what only tight limits are worth
_FAR = 10.0  # of a mean query's cost: who hopes for so much may have asked for too little
_HOT = 0.002  # of a mean query's cost: the first temperature of smoothing
_NEAR_TIES = 60  # a row: queries that should feel it
_WORK, _LEAST_PINNINGS = 3e7, 10  # of a Newton step: rounds times the cube of the prices; rounds
_LITTLE = 1e-6
_SMOOTH = 0.5  # of the way from the best prices known to those of the mixture
_STRICT = 1e6  # of the cost: what exceeding limits by their size is charged, where all must be kept
_NOTHING = 1e-9  # of a size: less is none
_PRECISE = 1e-10  # what HiGHS may break rows and signs of reduced costs by
_INFINITY = highspy.kHighsInf


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """What is known of the relaxation under some limits, in floating point.

    Attributes
    ----------
    upper
        Cost of a mixture of routings that keeps the limits, or what a Newton step from the best
        plane expects at most; infinite without either.
    lower
        Value of the best plane.
    prices
        Those of the best plane, ``(K,)``.
    use
        Near that of an optimum, ``(K,)``.
    exceeding
        Whether it takes more than the limits, where that can be had for rent.
    ray
        Weights ``(K,)`` under which every routing seems to use more than there is, if any.
    """

    upper: float
    lower: float
    prices: Floats
    use: Floats
    exceeding: bool
    ray: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """One pass over the table at some prices, scaled; see `LocalEngine.evaluate`.

    `value` is of the Lagrangian without what the limits are worth, `smoothing` what it loses by
    softmin, and `expected` the use that the smoothed one has for a gradient.
    """

    scaled: Floats
    value: float
    smoothing: float
    expected: Floats
    hessian: Floats

    def step(self, limit: Floats, high: Floats) -> tuple[float, Floats]:
        """What the smoothed Lagrangian would gain under scaled limits, and where.

        Newton's step between 0 and `high`, by active sets: as far as the first bound, then
        without that price, and back to those that would leave their bound again.
        """
        slope, curvature, x = self.expected - limit, -self.hessian, self.scaled
        damping = 1e-8 * float(np.trace(curvature)) / x.size
        damping += 1e-9 * float(np.abs(slope).max()) + 1e-300
        reach = 1.0 + float(np.abs(x).max())
        gradient, pinned = slope, _outward(x, slope, high)
        work = max(_LEAST_PINNINGS, int(_WORK / x.size**3))
        for _ in range(min(4 * x.size, work)):
            free = np.flatnonzero(~pinned)
            if free.size:
                square = curvature[np.ix_(free, free)] + damping * np.eye(free.size)
                move = np.linalg.solve(square, gradient[free])
                move *= min(1.0, reach / max(float(np.abs(move).max()), 1e-300))
                bound = np.where(move > 0, high[free], 0.0)
                with np.errstate(divide="ignore", invalid="ignore"):
                    parts = np.where(move != 0, (bound - x[free]) / move, math.inf)
                part = min(1.0, max(float(parts.min()), 0.0))
                x = x.copy()
                x[free] += part * move
                x = np.clip(x, 0.0, high)
                gradient = slope - curvature @ (x - self.scaled)
                if part < 1.0:
                    pinned = pinned.copy()
                    pinned[free[parts <= part]] = True
                    continue
            outward = _outward(x, gradient, high)
            if not (pinned & ~outward & (gradient != 0)).any():
                moved = x - self.scaled
                return float(slope @ moved - 0.5 * moved @ curvature @ moved), x
            pinned = outward
        return math.inf, x


def _outward(x: Floats, gradient: Floats, high: Floats) -> Bools:
    """Which prices stand at a bound that the gradient would have them cross."""
    outward: Bools = ((x <= 0) & (gradient <= 0)) | ((x >= high) & (gradient >= 0))
    return outward


@dataclass(slots=True, eq=False)
class Relaxation:
    """The relaxation of a problem under any limits; remembers every pass over the table.

    Parameters
    ----------
    problem
        ``n`` queries, ``m`` models, ``K`` limits, whose values do not matter.
    """

    problem: RoutingProblem
    passes: int = field(init=False, default=0)
    _engine: LocalEngine = field(init=False)
    _temperature: float = field(init=False, default=_HOT)
    _model: QuietHighs = field(init=False)
    _costs: list[float] = field(init=False, default_factory=list)
    _points: list[_Point] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        """The program without any routing: rows are limits, and the sum of shares."""
        problem, rows = self.problem, self.problem.n_rows
        size = problem.n_queries * problem.with_limit(np.zeros(rows)).row_size
        self._engine = LocalEngine(problem.with_limit(size), compiled=True)
        model = QuietHighs()
        for name, value in (("threads", 1), ("presolve", "off"),
                            ("primal_feasibility_tolerance", _PRECISE),
                            ("dual_feasibility_tolerance", _PRECISE)):  # fmt: skip
            model.setOptionValue(name, value)
        empty = np.empty(0, np.int32), np.empty(0)
        for _ in range(rows):
            model.addRow(-_INFINITY, 0.0, 0, *empty)
        model.addRow(1.0, 1.0, 0, *empty)
        # What is rented of each limit, and what all are exceeded by, in parts of their size.
        for row in range(rows):
            model.addCol(0.0, 0.0, 0.0, 1, np.array([row], np.int32), np.array([-1.0]))
        model.addCol(0.0, 0.0, 0.0, rows, np.arange(rows, dtype=np.int32), -np.ones(rows))
        self._model = model

    def look(self, vector: Floats) -> None:
        """Pass over the table at prices ``(K,)``: a plane, and a routing to mix."""
        self._begin()
        self._look(self._engine.scaled(Prices.of(self.problem, vector)))

    def best(self, limit: Floats) -> tuple[float, Floats]:
        """The best plane under limits ``(K,)``: its value, and prices ``(K,)``."""
        self._begin()
        value, point = self._best(limit * self._engine.row_scale, None)
        return value / self._engine.value_scale, self._vector(point.scaled)

    def at(
        self, limit: Floats, accuracy: float, clock: Clock, rent: Floats | None = None
    ) -> Relaxed:
        """The relaxation under some limits.

        Parameters
        ----------
        limit
            ``(K,)``.
        accuracy
            How far apart both sides may be, in objective units.
        clock
            When to stop.
        rent
            What more of each limit costs a unit, ``(K,)``, infinite where there is none; none at
            all if not given.
        """
        engine = self._engine
        held, near = limit * engine.row_scale, max(accuracy * engine.value_scale, _NOTHING)
        most = np.full(limit.size, math.inf)  # of a price: what more of a limit can be had for
        if rent is not None:
            most = rent * engine.value_scale / engine.row_scale
        self._begin()

        def found(upper: float, lower: float, point: _Point, ray: Floats | None = None) -> Relaxed:
            paid = (point.scaled >= most * (1 - _LITTLE)) & (point.expected > held)
            return Relaxed(
                upper / engine.value_scale,
                lower / engine.value_scale,
                self._vector(point.scaled),
                point.expected / engine.row_scale,
                bool(paid.any()),
                ray,
            )

        smooth, damping, failures, resting = _SMOOTH, 1.0, 0, 0
        for _ in range(_PASSES):
            lower, point = self._best(held, most)
            if clock.expired:
                return found(lower, lower, point)
            gain, target = point.step(held, most)
            short = 2 * (gain + point.smoothing)  # of the optimum, where the quadratic is right
            if short <= near:
                return found(lower + short, lower, point)
            if not resting and near < 2 * gain < _FAR:
                self._look(point.scaled + damping * (target - point.scaled))
                if self._best(held, most)[0] - lower >= _TRUST * damping * gain:
                    damping, failures = 1.0, 0
                    continue
                damping *= _DAMPING
                if damping < _LEAST:
                    damping, failures = 1.0, failures + 1
                    resting = 2 ** min(failures, _LONGEST)
                continue
            resting = max(resting - 1, 0)
            mixed = self._mixed(held, most)
            if mixed is None:
                break
            upper, prices = mixed
            if upper - lower <= near:
                return found(upper, lower, point)
            if upper == math.inf:
                use = self._look(_STRICT * prices)
                if float(prices @ (use - held)) > _NOTHING:
                    return found(upper, lower, point, self._vector(prices))
                continue
            self._look(point.scaled + (1 - smooth) * (prices - point.scaled))
            # Where that taught nothing of the bound, nearer to what the mixture asks.
            smooth = _SMOOTH if self._best(held, most)[0] > lower else 0.5 * smooth
        return found(math.inf, *self._best(held, most))

    @property
    def size(self) -> float:
        """What all queries on their mean model cost: a measure for accuracies."""
        return 1.0 / self._engine.value_scale

    def steep(self) -> Floats:
        """Rents ``(K,)`` that are paid only where limits can hardly be kept."""
        return self._vector(np.full(self.problem.n_rows, _STEEP))

    def _vector(self, scaled: Floats) -> Floats:
        return self._engine.prices(scaled).vector

    def _begin(self) -> None:
        """The plane of no prices at all, which holds whatever is rented."""
        if not self._points:
            self._look(np.zeros(self.problem.n_rows))

    def _look(self, scaled: Floats) -> Floats:
        """A pass; the use of its routing, scaled, ``(K,)``."""
        engine = self._engine
        self.passes += 1
        warmth = 1.0 + float(scaled.max(initial=0.0))
        here, seen = engine.survey(scaled, warmth * self._temperature)
        wanted = _NEAR_TIES * scaled.size / max(here.near_ties, 1)
        self._temperature = min(self._temperature * min(max(wanted, 0.2), 5.0), _HOT)
        cost, use = seen.cost * engine.value_scale, seen.use * engine.row_scale
        where = np.arange(use.size + 1, dtype=np.int32)
        limit = engine.limit
        self._model.addCol(cost, 0.0, 1.0, where.size, where, np.append(use, 1.0))
        self._costs.append(cost)
        self._points.append(
            _Point(
                scaled=scaled,
                value=here.value + float(scaled @ limit),
                smoothing=here.value - here.smoothed,
                expected=here.gradient + limit,
                hessian=here.hessian,
            )
        )
        return use

    def _best(self, held: Floats, most: Floats | None) -> tuple[float, _Point]:
        """The best plane under scaled limits, of prices that are no higher than others."""
        scaled = np.array([point.scaled for point in self._points])
        values = np.array([point.value for point in self._points]) - scaled @ held
        if most is not None:  # where limits are rented, a plane that charges more does not hold
            values[(scaled > most * (1 + _LITTLE)).any(axis=1)] = -math.inf
        best = int(values.argmax())
        return float(values[best]), self._points[best]

    def _mixed(self, held: Floats, rent: Floats) -> tuple[float, Floats] | None:
        """The best mixture: its cost and prices of the limits, scaled.

        Where none keeps the limits the cost is infinite, and prices are of exceeding them least.
        """
        model, rows = self._model, held.size
        for row in range(rows):
            model.changeRowBounds(row, -_INFINITY, held[row])
        rentable = np.isfinite(rent)
        most, fixed = np.zeros(rows + 1), np.zeros(rows + 1)
        most[:rows] = np.where(rentable, _INFINITY, 0.0)
        fixed[:rows] = np.where(rentable, rent, 0.0)
        every = np.arange(rows + 1 + len(self._costs), dtype=np.int32)
        for exceeding in (False, True):
            most[rows], fixed[rows] = (_INFINITY, 1.0) if exceeding else (_NOTHING, 0.0)
            model.changeColsBounds(rows + 1, every[: rows + 1], np.zeros(rows + 1), most)
            costs = np.append(fixed, self._costs)
            if exceeding:
                costs = np.zeros(every.size)
                costs[rows] = 1.0
            model.changeColsCost(every.size, every, costs)
            model.run()
            if model.getModelStatus() == highspy.HighsModelStatus.kOptimal:
                duals = np.maximum(-np.array(model.getSolution().row_dual)[:rows], 0.0)
                value = model.getInfo().objective_function_value
                return math.inf if exceeding else value, duals
        return None
