r"""The certified frontier: one limit swept over its range, the others held fixed.

Some points are solved, each from prices between those of its neighbours. The others are *filled*:
planes bound them from below (`dualroute.parametric`), and a routing that keeps the limit comes from
`dualroute.trace` where the table is long, or is a mixture of two solved neighbours
(`dualroute.mixture`). Mixture and planes differ by the curvature of the frontier between the
neighbours alone, so where that is below the gap asked for, nothing is left to solve.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from dualroute.arrays import Bools, Floats, Ints, as_float, at
from dualroute.errors import OptionError, ProblemError, TableError
from dualroute.formulation import Limit, Objective, Restriction, formulate
from dualroute.line import AMOUNTS, Line, amount_of, parse_sweep, with_amount
from dualroute.mixture import Mixture
from dualroute.outcomes import Outcomes
from dualroute.parametric import (
    Exact,
    Known,
    Routed,
    Solved,
    chosen_solver,
    exact,
    finite,
    relative_gap,
    sparing,
    status_of,
    use_of,
)
from dualroute.problem import FEASIBILITY_TOLERANCE, Prices, RoutingProblem
from dualroute.rigour import cheapest_total
from dualroute.solver import Clock, SolveOptions, Solver
from dualroute.spots import Spot, comparisons
from dualroute.trace import Trace

__all__ = ["Frontier", "FrontierPoint", "Spot", "frontier", "parse_sweep"]

GAP = 1e-4
_CLOSER = 0.2  # of the gap asked for: what solved points are solved to, so that others are filled
_HALF = 0.9  # of the gap asked for: an estimate that promises no more is tried
_SMALL = 20_000  # queries up to which a routing helps a solver to start
_LONG = 8_001  # queries from which on a line is traced, and prices from afar mislead
_COARSE = 12  # points of a long table that are solved before prices are interpolated
_NODES = 4
_RAYS = 60
_OFF = 0.01  # of the range: how far from the tightest value a long table is swept
_FEW = 1_000
_DIGITS = 1e-4  # of the distance of two points: what their values are rounded to


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One value of the swept limit, and what is proved there.

    Attributes
    ----------
    value
        Of the limit, in the user's sense and unit.
    objective
        Of the best routing known, total over the batch in the user's sense; NaN without one.
    certified_bound
        No routing that keeps the limits is better; infinite or NaN if nothing is proved.
    gap
        Their difference relative to the objective; NaN without a routing.
    mean_cost, mean_quality
        Of that routing; None where the table has no such column.
    price
        Shadow price: what the objective gains as the limit is loosened by one of its units.
    status
        ``optimal`` (to 1e-9), ``feasible``, ``infeasible`` (proved) or ``unknown``.
    solved
        Whether a solver was called here; False where its neighbours prove enough.
    """

    value: float
    objective: float
    certified_bound: float
    gap: float
    mean_cost: float | None
    mean_quality: float | None
    price: float
    status: str
    solved: bool


@dataclass(frozen=True, slots=True)
class Frontier:
    """A certified trade-off curve.

    Attributes
    ----------
    points
        From the tightest value of the limit to the loosest.
    limit, relation, limit_unit
        Which limit was swept, ``"<="`` or ``">="``, and its unit.
    sense, unit
        ``minimize`` or ``maximize``, and the unit of the objective.
    mip_rel_gap
        What was asked of every point.
    singles
        Every model alone, whatever the limits.
    blind
        Corners of the zero router's hull: mixtures that look at no query, whatever the limits.
    lambda_curve
        The rule of one multiplier (most quality minus priced cost), whatever the limits.
    solves, passes
        Solver calls, and passes over the table as solvers count them, with those that certify.
    seconds
        Of the sweep, without the comparisons.
    solver, n_queries, n_models
        What was used, and the size of the table.
    """

    points: tuple[FrontierPoint, ...]
    limit: str
    relation: str
    limit_unit: str
    sense: str
    unit: str
    mip_rel_gap: float
    singles: tuple[Spot, ...]
    blind: tuple[Spot, ...]
    lambda_curve: tuple[Spot, ...]
    solves: int
    passes: float
    seconds: float
    solver: str
    n_queries: int
    n_models: int

    @property
    def largest_gap(self) -> float:
        """Over the points with a routing; NaN if there is none."""
        gaps = [point.gap for point in self.points if not math.isnan(point.gap)]
        return max(gaps, default=math.nan)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        plain: dict[str, Any] = asdict(self)
        plain["points"] = [
            {k: finite(v) if isinstance(v, float) else v for k, v in asdict(point).items()}
            for point in self.points
        ]
        for name in ("singles", "blind", "lambda_curve"):
            plain[name] = list(plain[name])
        plain["largest_gap"] = finite(self.largest_gap)
        return plain


def frontier(
    outcomes: Outcomes,
    *,
    sweep: str | Limit,
    points: int | Sequence[float] = 50,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    allowed: Bools | None = None,
    solver: str | Solver = "lagrangian",
    options: SolveOptions | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
    compare: bool = True,
    tell: Callable[[int, int], None] | None = None,
) -> Frontier:
    r"""Sweep one limit over its range, and certify every point.

    The Lagrangian at fixed prices is affine in the swept limit [1]_, so prices of one point bound
    all others; the optimum of the relaxation is convex in it, so mixtures of neighbouring
    routings lie above it by the curvature between them.

    Parameters
    ----------
    outcomes
        ``n`` queries by ``m`` models.
    sweep
        The limit to sweep; the amount in it does not matter. Or its name: ``"budget"``,
        ``"quality_floor"`` (a mean), ``"quality_total"``, ``"capacity"`` (the same for each
        model), ``"capacity:MODEL"``, ``"cap:COLUMN"`` (a mean).
    points
        How many values, from the tightest that can be kept (a hundredth of the range off it,
        where there are over 1,000 queries) to where the limit stops binding; or
        the values themselves, in the limit's unit.
    minimize, maximize, limits, allowed, solver, tolerance
        As in `dualroute.solve`; `limits` are the others, which stay.
    options
        ``mip_rel_gap`` is what every point is certified to (1e-4 if no options are given); the
        time limit is for the whole sweep.
    compare
        Whether single models, the zero router and the lambda curve are added.
    tell
        Called with the number of points done and of all, after every solve.

    Returns
    -------
    Frontier
        Certified points, the tightest first.

    Raises
    ------
    OptionError
        If the sweep or its values cannot be used.
    ProblemError
        If no routing keeps the other limits.

    References
    ----------
    .. [1] Geoffrion & Nauss (1977), Parametric and postoptimality analysis in integer linear
       programming, Management Science 23(5), doi:10.1287/mnsc.23.5.453.
    """
    options = options or SolveOptions(mip_rel_gap=GAP)
    clock = Clock(options.time_limit)
    swept = parse_sweep(sweep) if isinstance(sweep, str) else sweep
    unit_limit = with_amount(swept, 1.0)
    if isinstance(points, int):
        if points < 2:
            raise OptionError(f"points is {points}; a frontier has 2 or more")
    else:
        points = [float(value) for value in points]
        if not points:
            raise OptionError("points is empty; give values of the limit, or how many")
        for value in points:
            with_amount(swept, value)
    problem = formulate(
        outcomes,
        minimize=minimize,
        maximize=maximize,
        limits=[*limits, unit_limit],
        allowed=allowed,
        tolerance=tolerance,
    )
    line = Line.of(problem)
    closer = _CLOSER * options.mip_rel_gap
    known = Known(problem, chosen_solver(solver), options)
    search = _Search(outcomes, known, line, clock, options.mip_rel_gap, closer, tell)
    values = search.values(points) if isinstance(points, int) else line.ordered(points)
    found = search.run(values)
    seconds = clock.seconds
    singles, blind, curve = comparisons(outcomes, options.threads) if compare else ((), (), ())
    rows = problem.rows[-1]
    one = f" {rows.labels[0]}" if len(rows.labels) == 1 else ""
    return Frontier(
        points=found,
        limit=rows.name + one,
        relation=">=" if rows.at_least else "<=",
        limit_unit=AMOUNTS[amount_of(swept)] + rows.unit,
        sense="maximize" if problem.maximize else "minimize",
        unit=problem.unit,
        mip_rel_gap=options.mip_rel_gap,
        singles=singles,
        blind=blind,
        lambda_curve=curve,
        solves=known.solves + search.extra_solves,
        passes=known.passes + search.extra_passes,
        seconds=seconds,
        solver=search.solver_name,
        n_queries=outcomes.n_queries,
        n_models=outcomes.n_models,
    )


@dataclass(slots=True, eq=False)
class _Search:
    """Which points are solved, and what fills the others."""

    outcomes: Outcomes
    known: Known
    line: Line
    clock: Clock
    gap: float
    closer: float
    tell: Callable[[int, int], None] | None
    solved: dict[float, Solved] = field(default_factory=dict)
    filled: dict[float, Routed] = field(default_factory=dict)
    closed: set[float] = field(default_factory=set)
    extra_solves: int = 0
    extra_passes: float = 0.0
    solver_name: str = ""

    # Where the limit can be ------------------------------------------------------------------

    def values(self, count: int) -> list[float]:
        """Values from the tightest that can be kept to where the limit stops binding."""
        line = self.line
        loose = self._solve_at(self._loosest())
        if loose.infeasible:
            raise ProblemError(
                "no routing keeps the other limits, whatever the one that is swept; widen them "
                "(diagnose tells which)"
            )
        if loose.routed is None:
            raise ProblemError(
                "no routing was found without the swept limit; give the values, or more time"
            )
        last = line.value_of(loose.routed.use)
        first = self._tightest(last)
        span = abs(last - first)
        step = 10.0 ** math.floor(math.log10(_DIGITS * span)) if span > 0 else 0.0
        if step == 0:
            return [first]
        # Towards the tightest value of a long table prices grow without bound.
        if self.known.problem.n_queries > _FEW:
            first += _OFF * (last - first)
        first, last = line.rounded(first, step, True), line.rounded(last, step, True)
        between = np.linspace(first, last, count).tolist()
        middle = [line.rounded(value, step, True) for value in between[1:-1]]
        return line.ordered([first, *middle, last])

    def _loosest(self) -> Floats:
        """Limits of which the swept ones hold anything."""
        problem = self.known.problem
        rows = problem.rows[-1]
        most = problem.n_queries * max(abs(rows.smallest), abs(rows.largest), 1e-300)
        return np.where(self.line.rows, most, self.line.fixed)

    def _tightest(self, last: float) -> float:
        """A value that can be kept and is nearly the tightest, of the whole batch."""
        if np.count_nonzero(self.line.rows) == 1:
            row = self.known.problem.n_rows - 1
            for made in (sparing, use_of):
                problem = made(self.known.problem, row)
                if problem is None:
                    continue
                options = self._options(GAP)
                if made is sparing:  # the other must have its time, too
                    options = replace(options, time_limit=0.5 * options.time_limit)
                alone = Known(problem, self.known.solver, options)
                least = alone.solve(self._loosest(), options)
                self.extra_solves += alone.solves
                self.extra_passes += alone.passes
                if least.routed is not None:
                    self._offer(least.routed.assignment)
                    return self.line.value_of(least.routed.use)
            return last
        return self._tightest_of_many(last)

    def _tightest_of_many(self, last: float) -> float:
        """The same for rows that share a value: weights that prove a value too tight give more."""
        line, problem = self.line, self.known.problem.without_objective()
        alone = Known(problem, self.known.solver, self._options(GAP))
        weights = Prices.of(problem, line.rows.astype(np.float64))
        value = last
        for _ in range(_RAYS):
            total = cheapest_total(problem, weights, self.known.options.threads)
            priced = [Fraction(w) for w in weights.vector.tolist()]
            slope = sum(
                (w * Fraction(d) for w, d in zip(priced, line.direction.tolist(), strict=True)),
                Fraction(0),
            )
            if total is None or slope == 0 or self.clock.expired:
                return last
            fixed = sum(
                (w * b for w, b in zip(priced, exact(line.fixed), strict=True)), Fraction(0)
            )
            value = as_float((total - fixed) / slope)
            value += 1e-9 * abs(value) * line.sense
            if line.whole:
                value = line.rounded(value - 1e-6 * line.sense, 1.0, True)
            if line.sense * value >= line.sense * last:
                return last
            solved = alone.solve(line.limit(value), self._options(0.0))
            self.extra_solves, self.extra_passes = alone.solves, alone.passes
            if solved.routed is not None:
                self._offer(solved.routed.assignment)
                return value
            if solved.solution.ray is None:
                break
            weights = solved.solution.ray
        return value + 1e-3 * (last - value)

    def _offer(self, assignment: Ints) -> None:
        routed = Routed.of(self.known.problem, assignment.astype(np.intp))
        if routed is not None:
            self.known.keep(routed)

    # The sweep -------------------------------------------------------------------------------

    def run(self, values: list[float]) -> tuple[FrontierPoint, ...]:
        """Trace a long table; solve or mix what that leaves open, as all of a short one."""
        long = self.known.problem.n_queries >= _LONG
        if long and self._traceable:
            self.solver_name = "lagrangian"
            for _ in Trace(self.known, self.line, self._closed, self.clock).run(values[::-1]):
                self._told(values)
            if len(left := self._open(values)) <= len(values) // _COARSE:
                self._solve_open(left)
        if self._open(values):
            for end in values[-1], values[0]:  # what is between needs both
                if end not in self.solved and not self.clock.expired:
                    self._solve(end, None)
            if long:
                self._solve_open(values[1 : -1 : max(1, round(len(values) / _COARSE))])
        while not self.clock.expired and (worst := self._next(values)) is not None:
            self._solve(worst, self._prices_near(worst))
            self._told(values)
        if self.tell is not None:
            self.tell(len(values), len(values))
        return tuple(map(self._point, values))

    @property
    def _traceable(self) -> bool:
        """Whether the solver is the one whose samples price limits."""
        from dualroute.solvers.lagrangian import Lagrangian

        return isinstance(self.known.solver, Lagrangian) and self.known.problem.n_rows > 0

    def _solve_open(self, values: list[float]) -> None:
        """Solve from nothing: prices from afar mislead, and prices from near have not helped."""
        for value in values:
            if not (self.clock.expired or value in self.solved or self._closed(value)):
                self._solve(value, None)

    def _told(self, values: list[float]) -> None:
        if self.tell is not None:
            self.tell(len(values) - len(self._open(values)), len(values))

    def _open(self, values: list[float]) -> list[float]:
        """Points that are neither solved nor within the gap by what is known."""
        self.closed |= {v for v in values if v not in self.closed and self._closed(v)}
        return [v for v in values if v not in self.solved and v not in self.closed]

    def _closed(self, value: float) -> bool:
        limits = exact(self.line.limit(value))
        if self.known.excluded(limits):
            return True
        routed = self._best(value, limits)
        return routed is not None and self._within_gap(routed, limits)

    def _within_gap(self, routed: Routed, limits: Exact) -> bool:
        value = as_float(routed.value)
        return self.known.options.closed(value, self.known.bound(limits, routed))

    def _next(self, values: list[float]) -> float | None:
        """Fill what can be filled; the point of the largest gap among those that are left."""
        open_values = self._open(values)
        worst, most = math.nan, -1.0
        for left, right, between in self._intervals(values, set(open_values)):
            a, b = self.solved[left].routed, self.solved[right].routed
            if a is None or b is None:
                # Where the limit can be kept at all lies in between.
                worst, most = between[len(between) // 2], math.inf
                continue
            mixture: Mixture | None = None
            for value in between:
                limits = exact(self.line.limit(value))
                share = (right - value) / (right - left)
                estimate = share * as_float(a.value) + (1 - share) * as_float(b.value)
                gap = max(estimate - self.known.bound(limits), 0.0)
                allowed = self.known.options.closed(estimate, estimate - gap / _HALF)
                if allowed:
                    mixture = mixture or Mixture.of(self.known.problem, a, b)
                    plane = self.known.plane_at(limits)
                    limit = self.line.limit(value)
                    mixed = plane and mixture.at(share, limit, plane.prices, self.clock)
                    if mixed and self._within_gap(mixed, limits):
                        self.filled[value] = mixed
                        continue
                    gap = max(gap, 1e-3 * self.gap * abs(estimate))
                if gap > most:
                    worst, most = value, gap
        return None if most < 0 else worst

    def _intervals(
        self, values: list[float], wanted: set[float]
    ) -> Iterator[tuple[float, float, list[float]]]:
        """Solved neighbours, and the open points between them."""
        left, between = math.nan, list[float]()
        for value in values:
            if value in self.solved:
                if between:
                    yield left, value, between
                left, between = value, []
            elif value in wanted:
                between.append(value)

    def _best(self, value: float, limits: Exact) -> Routed | None:
        mine = self.filled.get(value)
        best = self.known.best_routing(limits)
        if mine is None or (best is not None and best.value < mine.value):
            return best
        return mine

    def _solve(self, value: float, prices: Prices | None) -> None:
        limit = self.line.limit(value)
        if self.known.excluded(exact(limit)):
            return
        start = None
        if self.known.problem.n_queries <= _SMALL:
            best = self.known.best_routing(exact(limit))
            start = None if best is None else best.assignment.astype(np.intp)
        self.solved[value] = self._solve_at(limit, start, prices)

    def _solve_at(
        self, limit: Floats, start: Ints | None = None, prices: Prices | None = None
    ) -> Solved:
        options = replace(self._options(self.closer), start=start, prices=prices)
        solved = self.known.solve(limit, options)
        self.solver_name = solved.solution.solver
        return solved

    def _prices_near(self, value: float) -> Prices | None:
        """Prices interpolated among solved points, by a cubic; None where there are too few.

        Prices of one end mislead at the other: they differ by orders of magnitude.
        """
        priced = [(v, s.prices.vector) for v, s in self.solved.items() if s.prices is not None]
        nodes = sorted(priced, key=lambda pair: abs(pair[0] - value))[:_NODES]
        if len(nodes) < _NODES or self.known.problem.n_rows == 0:
            return None
        vector = np.zeros(self.known.problem.n_rows)
        for v, one in nodes:
            others = [u for u, _ in nodes if u != v]
            vector += one * math.prod((value - u) / (v - u) for u in others)
        return Prices.of(self.known.problem, vector)

    def _options(self, gap: float) -> SolveOptions:
        left = max(self.clock.left, 1e-3)
        return replace(
            self.known.options, mip_rel_gap=gap, time_limit=left, start=None, prices=None,
            mip_abs_gap=_CLOSER * self.known.options.mip_abs_gap, progress=None,
        )  # fmt: skip

    def _point(self, value: float) -> FrontierPoint:
        known, problem = self.known, self.known.problem
        limits = exact(self.line.limit(value))
        routed = self._best(value, limits)
        infeasible = routed is None and known.excluded(limits)
        objective = math.nan if routed is None else as_float(routed.value)
        bound = known.bound(limits, routed)
        plane = known.plane_at(limits)
        cost, quality = (
            None if routed is None else _mean(self.outcomes, problem, routed, role)
            for role in ("cost", "quality")
        )
        price = math.nan if plane is None or infeasible else self.line.price(plane.prices)
        return FrontierPoint(
            value=value,
            objective=problem.reported(objective),
            certified_bound=problem.reported(bound),
            gap=relative_gap(objective, bound),
            mean_cost=cost,
            mean_quality=quality,
            price=price,
            status=status_of(objective, bound, infeasible=infeasible),
            solved=value in self.solved,
        )


def _mean(outcomes: Outcomes, problem: RoutingProblem, routed: Routed, role: str) -> float | None:
    """Mean cost or mean quality of a routing, from its exact sums where these tell."""
    try:
        grid = outcomes.column(role)
    except TableError:
        return None
    column, n = getattr(outcomes, role), outcomes.n_queries
    if dict(problem.terms) in ({column: 1.0}, {column: -1.0}):
        return abs(as_float(routed.value / n))
    for rows, use in zip(problem.rows, problem.split(routed.loads), strict=True):
        if rows.column == column and rows.n_pools == 1 and rows.pool.min() == 0:
            return abs(float(use[0])) / n
    return float(at(grid, routed.assignment).mean(dtype=np.float64))
