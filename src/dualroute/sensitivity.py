r"""Sensitivity of a plan: what every limit is worth, how far that holds, and what-if variants.

The optimal value of the linear relaxation is convex and piecewise linear in each limit, and a
shadow price is its slope. How far a slope reaches is found by Newton steps on tangents: prices
found at the far end make a tangent there, which crosses the line of today's price nearer by.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from dualroute import registry
from dualroute.arrays import Bools, Floats, as_float, at
from dualroute.errors import OptionError, TableError
from dualroute.formulation import Limit, Objective, Restriction, formulate
from dualroute.outcomes import Outcomes
from dualroute.parametric import (
    Exact,
    Known,
    Plane,
    chosen_solver,
    exact,
    finite,
    relative_gap,
    status_of,
)
from dualroute.problem import FEASIBILITY_TOLERANCE, Prices, RoutingProblem
from dualroute.rigour import cheapest_total, rounded_down, rounded_up
from dualroute.routing import Plan, planned
from dualroute.solver import Clock, SolveOptions, Solver, Status

GAP = 1e-4
_ON_LINE = 1e-10  # of the relaxation's value: what its evaluation may be off by
_SAME = 1e-12  # of two slopes: what they may differ by and be one
_INSIDE = 1e-7
_STEP = 0.01
_NOTHING = 1e-9
_EVALUATIONS = 30
_RELATIVE = 1e-6


@dataclass(frozen=True, slots=True)
class LimitSensitivity:
    """What one limit is worth, in the user's sense and unit.

    Attributes
    ----------
    name, pool, relation, unit
        Which limit, and which model or group of it.
    use, limit, slack
        Of the plan; NaN without a routing.
    price
        Shadow price in the relaxation: objective gained per unit the limit is loosened by.
    low, high
        Between these values of the limit, others fixed, that price stays optimal for the
        relaxation; infinite where it does for ever.
    low_exact, high_exact
        False where the search ended first: the interval then ends there or nearer by.
    step
        What the limit is loosened by, in `unit`: one request, or a hundredth of the limit.
    gain_low, gain_high
        What that gains, certified: at least, and at most, in objective units.
    gain_unit
        Unit of the objective.
    objective
        Of the plan; gains below 1e-9 of it are called none.
    """

    name: str
    pool: str
    relation: str
    unit: str
    use: float
    limit: float
    slack: float
    price: float
    low: float
    high: float
    low_exact: bool
    high_exact: bool
    step: float
    gain_low: float
    gain_high: float
    gain_unit: str
    objective: float

    @property
    def words(self) -> str:
        """The line as a sentence."""
        which = f"{self.name} {self.pool}".strip()
        turn = "more" if self.relation == "<=" else "less asked"
        unit = "request" if self.unit == "requests" and self.step == 1 else self.unit
        said = f"{which}: {self.step:.6g} {unit} {turn} "
        if math.isnan(self.gain_high) or self.gain_high == math.inf:
            said += "gains an amount that is not known"
        elif self.gain_high <= _NOTHING * abs(self.objective):
            said += "gains nothing"
        elif f"{self.gain_low:.6g}" == f"{self.gain_high:.6g}":
            said += f"gains {self.gain_low:.6g} {self.gain_unit}"
        else:
            said += f"gains {self.gain_low:.6g} to {self.gain_high:.6g} {self.gain_unit}"
        said += f"; price {self.price:.6g} {self.gain_unit} per {self.unit.removesuffix('s')}, "
        low = "any lower" if math.isinf(self.low) else f"{self.low:.6g}"
        high = "any higher" if math.isinf(self.high) else f"{self.high:.6g}"
        if not self.low_exact:
            low = f"at least {low}"
        if not self.high_exact:
            high = f"at most {high}"
        return said + f"from a limit of {low} to {high}"


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Every limit of a plan.

    Attributes
    ----------
    lines
        One for every pool of every limit.
    status, objective, certified_bound, gap
        Of the plan, in the user's sense.
    relaxation
        Optimal value of the linear relaxation, which prices and their intervals belong to.
    sense, unit
        Of the objective.
    solves
        Relaxations and routings solved.
    seconds
        In all.
    """

    lines: tuple[LimitSensitivity, ...]
    status: str
    objective: float
    certified_bound: float
    gap: float
    relaxation: float
    sense: str
    unit: str
    solves: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        plain = _plain(asdict(self))
        plain["lines"] = [{**_plain(asdict(one)), "words": one.words} for one in self.lines]
        return plain


def sensitivity(
    outcomes: Outcomes | RoutingProblem,
    *,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    allowed: Bools | None = None,
    solver: str | Solver = "lagrangian",
    options: SolveOptions | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
    evaluations: int = _EVALUATIONS,
    relative: float = _RELATIVE,
) -> Sensitivity:
    r"""Tell what every limit is worth, and for which values of it that holds.

    Parameters
    ----------
    outcomes
        ``n`` queries by ``m`` models; or a problem, which has objective and limits.
    minimize, maximize, limits, allowed, solver, tolerance
        As in `dualroute.solve`.
    options
        As in `dualroute.solve`; ``mip_rel_gap`` is 1e-4 if no options are given, and the
        certified gains are as wide as the gaps leave them. The time limit is for everything.
    evaluations
        Most relaxations solved for each end of an interval.
    relative
        An end is taken as found when it moves by less than this part of its distance.

    Returns
    -------
    Sensitivity
        A line for every pool of every limit.

    Raises
    ------
    OptionError
        If an option is out of range, or no routing keeps the limits.
    """
    if evaluations < 1 or not 0 < relative < 1:
        raise OptionError(
            f"evaluations is {evaluations} and relative {relative}; give at least 1, and a part "
            "between 0 and 1"
        )
    options = options or SolveOptions(mip_rel_gap=GAP)
    clock = Clock(options.time_limit)
    if isinstance(outcomes, RoutingProblem):
        if limits or minimize is not None or maximize is not None or allowed is not None:
            raise OptionError("a problem has its own objective and limits; give it alone")
        problem = outcomes
    else:
        problem = formulate(
            outcomes,
            minimize=minimize,
            maximize=maximize,
            limits=limits,
            allowed=allowed,
            tolerance=tolerance,
        )
    known = Known(problem, chosen_solver(solver), options)
    base = known.solve(problem.limit, options)
    if base.infeasible:
        raise OptionError("no routing keeps the limits, proved; diagnose tells which to widen")
    ranges = _Ranges.of(known, clock, evaluations, relative)
    lines = [_line(known, ranges, row, clock) for row in range(problem.n_rows)]
    limit = exact(problem.limit)
    routed = known.best_routing(limit)
    objective = math.nan if routed is None else as_float(routed.value)
    bound = known.bound(limit, routed)
    return Sensitivity(
        lines=tuple(lines),
        status=status_of(objective, bound, infeasible=False),
        objective=problem.reported(objective),
        certified_bound=problem.reported(bound),
        gap=relative_gap(objective, bound),
        relaxation=problem.reported(ranges.value),
        sense="maximize" if problem.maximize else "minimize",
        unit=problem.unit,
        solves=known.solves + ranges.evaluated,
        seconds=clock.seconds,
    )


def _line(known: Known, ranges: "_Ranges", row: int, clock: Clock) -> LimitSensitivity:
    problem = known.problem
    rows, pool = problem.family(row)
    sign = -1.0 if rows.at_least else 1.0
    price = float(ranges.prices[row])
    (tight, tight_exact), (loose, loose_exact) = ranges.end(row, -1.0), ranges.end(row, 1.0)
    here = float(rows.limit[pool])
    ends = [(sign * (here - tight) + 0.0, tight_exact), (sign * (here + loose) + 0.0, loose_exact)]
    (low, low_exact), (high, high_exact) = ends if sign > 0 else ends[::-1]
    step = 1.0 if rows.unit == "requests" else _STEP * (abs(here) or problem.row_size[row])
    gain_low, gain_high = _gain(known, row, step, price, clock)
    routed = known.best_routing(exact(problem.limit))
    use = math.nan if routed is None else as_float(routed.use[row])
    return LimitSensitivity(
        name=rows.name,
        pool=rows.labels[pool] if rows.labels else "",
        relation=">=" if rows.at_least else "<=",
        unit=rows.unit,
        use=sign * use + 0.0,
        limit=sign * here + 0.0,
        slack=here - use,
        price=price,
        low=low,
        high=high,
        low_exact=low_exact,
        high_exact=high_exact,
        step=step,
        gain_low=gain_low,
        gain_high=gain_high,
        gain_unit=problem.unit,
        objective=math.nan if routed is None else problem.reported(as_float(routed.value)),
    )


def _gain(known: Known, row: int, step: float, price: float, clock: Clock) -> tuple[float, float]:
    """What loosening a row by a step lowers the optimum by: at least, and at most, proved."""
    problem, options = known.problem, known.options
    limit = problem.limit
    limit[row] += step
    here, there = exact(problem.limit), exact(limit)
    least, most = _difference(known, here, there)
    now = known.best_routing(here)
    if now is not None and not clock.expired:
        value = as_float(now.value)
        if price > 0 or not options.closed(value, value - most):
            plane = known.plane_at(there)
            asked = replace(
                options,
                start=now.assignment.astype(np.intp),
                prices=None if plane is None else plane.prices,
                time_limit=max(clock.left, 1e-3),
                progress=None,
            )
            known.solve(limit, asked)
            least, most = _difference(known, here, there)
    return least, most


def _difference(known: Known, here: Exact, there: Exact) -> tuple[float, float]:
    """How much lower the optimum is at looser limits: at least, and at most."""
    now, then = known.best_routing(here), known.best_routing(there)
    if now is None or then is None:
        return 0.0, math.inf
    below, beyond = known.bound(here, now), known.bound(there, then)
    if not math.isfinite(below) or not math.isfinite(beyond):
        return 0.0, math.inf
    least = max(rounded_down(Fraction(below) - then.value), 0.0)
    return least, max(rounded_up(now.value - Fraction(beyond)), least)


@dataclass(slots=True, eq=False)
class _Ranges:
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
    evaluated: int = 0

    @classmethod
    def of(cls, known: Known, clock: Clock, evaluations: int, relative: float) -> "_Ranges":
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
        return ranges

    def end(self, row: int, sign: float) -> tuple[float, bool]:
        """How far a row's limit goes before its price is no longer optimal; whether exactly."""
        problem = self.known.problem
        if sign > 0 and self.prices[row] == 0:
            return math.inf, True  # a limit that is worth nothing stays so when loosened
        rows, _ = problem.family(row)
        size = max(abs(rows.smallest), abs(rows.largest), 1e-300)
        far = 2.0 * problem.n_queries * size + abs(problem.limit[row])
        outer = min([far, *(self._crossing(plane, row, sign) for plane in self.planes)])
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


# What if --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What is routed: a table, its limits, the pairs allowed, and how often each query comes."""

    outcomes: Outcomes
    limits: tuple[Limit | Restriction, ...]
    allowed: Bools
    factor: float = 1.0


class Change(Protocol):
    """One change to a setting."""

    @property
    def words(self) -> str:
        """What it is, for reports."""
        ...

    def applied(self, setting: Setting) -> Setting:
        """The setting with the change."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class AddModel:
    """A further model.

    Attributes
    ----------
    name
        Of the model; a limit per named model does not bind it.
    columns
        For every column that differs by model, one number or one per query ``(n,)``.
    """

    name: str
    columns: Mapping[str, ArrayLike]

    @property
    def words(self) -> str:
        """What it is, for reports."""
        return f"add {self.name}"

    def applied(self, setting: Setting) -> Setting:
        """The table with one more model, allowed everywhere."""
        table = setting.outcomes
        n, m = table.n_queries, table.n_models
        given = {table.name_of(column): values for column, values in self.columns.items()}
        columns = {}
        for name, grid in table.columns.items():
            if name not in given:
                if grid.shape[1] > 1 or m == 1:
                    raise TableError(f"model {self.name!r} to add has no column {name!r}; give it")
                columns[name] = grid
                continue
            values = np.asarray(given[name], grid.dtype)
            if values.shape not in ((), (n,)):
                raise TableError(
                    f"model {self.name!r}, column {name!r}: shape {values.shape}; give one "
                    f"number, or one for each of the {n} queries"
                )
            whole = np.broadcast_to(grid, (n, m))
            own = np.broadcast_to(values.reshape(-1, 1), (n, 1))
            columns[name] = np.concatenate([whole, own], axis=1)
        outcomes = replace(table, models=(*table.models, self.name), columns=columns)
        allowed = np.append(setting.allowed, np.ones((len(setting.allowed), 1), bool), axis=1)
        return replace(setting, outcomes=outcomes, allowed=allowed)


@dataclass(frozen=True, slots=True)
class DropModel:
    """A model that answers nothing any more; limits that name it stay."""

    name: str

    @property
    def words(self) -> str:
        """What it is, for reports."""
        return f"drop {self.name}"

    def applied(self, setting: Setting) -> Setting:
        """The same table, with no pair of the model allowed."""
        allowed = setting.allowed.copy()
        allowed[:, setting.outcomes.model_index(self.name)] = False
        return replace(setting, allowed=allowed)


@dataclass(frozen=True, slots=True)
class ScalePrice:
    """A model whose cost changes by a factor, for every query."""

    name: str
    factor: float

    def __post_init__(self) -> None:
        """Check the range."""
        _positive("ScalePrice factor", self.factor)

    @property
    def words(self) -> str:
        """What it is, for reports."""
        return f"cost of {self.name} x {self.factor:g}"

    def applied(self, setting: Setting) -> Setting:
        """The table with the model's cost scaled."""
        table = setting.outcomes
        name = table.name_of("cost")
        grid = table.columns[name]
        scale = np.ones((1, table.n_models), grid.dtype)
        scale[0, table.model_index(self.name)] = self.factor
        outcomes = replace(table, columns={**table.columns, name: grid * scale})
        return replace(setting, outcomes=outcomes)


@dataclass(frozen=True, slots=True)
class ScaleTraffic:
    """Traffic of the same kind, by a factor.

    Every query stands for `factor` of its kind, which go to one model together: limits in totals
    (budgets, capacities) are divided by the factor instead, means and shares stay, and objectives
    are multiplied by it.
    """

    factor: float

    def __post_init__(self) -> None:
        """Check the range."""
        _positive("ScaleTraffic factor", self.factor)

    @property
    def words(self) -> str:
        """What it is, for reports."""
        return f"traffic x {self.factor:g}"

    def applied(self, setting: Setting) -> Setting:
        """The setting with totals divided by the factor."""
        scaled: list[Limit | Restriction] = []
        for limit in setting.limits:
            turn = getattr(limit, "scaled", None)
            scaled.append(limit if turn is None else turn(1.0 / self.factor))
        return replace(setting, limits=tuple(scaled), factor=setting.factor * self.factor)


@dataclass(frozen=True, slots=True)
class ChangeLimit:
    """One limit put in the place of another; None on either side adds or removes one."""

    old: Limit | Restriction | None
    new: Limit | Restriction | None

    @property
    def words(self) -> str:
        """What it is, for reports."""
        if self.old is None:
            return f"with {_shown(self.new)}"
        without = f"without {_shown(self.old)}"
        return without if self.new is None else f"{_shown(self.new)} for {_shown(self.old)}"

    def applied(self, setting: Setting) -> Setting:
        """The setting with the limit changed, in its place."""
        if self.old is not None and self.old not in setting.limits:
            raise OptionError(f"{self.old} is none of the limits; give one of {setting.limits}")
        if self.old is None:
            limits = [*setting.limits, self.new]
        else:
            place = setting.limits.index(self.old)
            limits = [self.new if k == place else one for k, one in enumerate(setting.limits)]
        return replace(setting, limits=tuple(one for one in limits if one is not None))


Variants: TypeAlias = Sequence[Change | Sequence[Change]]


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One variant beside the base.

    Attributes
    ----------
    words
        The changes.
    plan
        Its certified plan, on the changed table.
    factor
        What traffic is multiplied by: totals below are the plan's times this.
    change_low, change_high
        The optimum minus that of the base, between these, proved; in objective units and the
        user's sense. NaN where either is infeasible or not bounded.
    """

    words: str
    plan: Plan
    factor: float
    change_low: float
    change_high: float

    @property
    def objective(self) -> float:
        """Of the routing, in the user's sense; NaN without one."""
        return self.factor * self.plan.objective

    @property
    def certified_bound(self) -> float:
        """No routing is better, proved."""
        return self.factor * self.plan.certified_bound

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        cost, quality = _means(self.plan)
        return _plain(
            {
                "variant": self.words,
                "status": self.plan.status,
                "objective": self.objective,
                "certified_bound": self.certified_bound,
                "gap": self.plan.certificate.mip_rel_gap,
                "change_low": self.change_low,
                "change_high": self.change_high,
                "mean_cost": cost,
                "mean_quality": quality,
                "queries": {line.model: line.queries for line in self.plan.per_model()},
                "prices": {
                    f"{line.name} {line.pool}".strip(): finite(line.price)
                    for line in self.plan.limits()
                },
                "seconds": self.plan.solution.seconds,
            }
        )


@dataclass(frozen=True, slots=True, eq=False)
class WhatIf:
    """A base plan and variants of it, side by side.

    Attributes
    ----------
    base
        The first, without any change.
    variants
        In the order asked for.
    sense, unit
        Of the objective.
    seconds
        In all.
    """

    base: Variant
    variants: tuple[Variant, ...]
    sense: str
    unit: str
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        return {
            "sense": self.sense,
            "unit": self.unit,
            "base": self.base.to_dict(),
            "variants": [variant.to_dict() for variant in self.variants],
            "seconds": self.seconds,
        }


def what_if(
    outcomes: Outcomes,
    changes: Variants,
    *,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    solver: str | Solver = "lagrangian",
    options: SolveOptions | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
) -> WhatIf:
    """Solve variants of a plan beside it, each from the prices of the base.

    Parameters
    ----------
    outcomes, minimize, maximize, limits, solver, tolerance
        Of the base, as in `dualroute.solve`.
    changes
        One entry per variant: a change, or several that are made together.
    options
        As in `dualroute.solve`, for each solve by itself; ``mip_rel_gap`` is 1e-4 if no options
        are given.

    Returns
    -------
    WhatIf
        All certified, with the difference of the optima between certified ends.

    Raises
    ------
    RoutingError
        If a change does not fit the table or the limits.
    """
    started = time.perf_counter()
    options = options or SolveOptions(mip_rel_gap=GAP)
    chosen = chosen_solver(solver)
    everything = np.ones((1, outcomes.n_models), bool)
    setting = Setting(outcomes, tuple(limits), everything)
    sets = [[one] if not isinstance(one, Sequence) else list(one) for one in changes]
    settings = []
    for made in sets:  # all are checked before any time is spent
        changed = setting
        for change in made:
            changed = change.applied(changed)
        settings.append(changed)

    def formulated(one: Setting) -> RoutingProblem:
        return formulate(
            one.outcomes,
            minimize=minimize,
            maximize=maximize,
            limits=one.limits,
            allowed=None if one.allowed.all() else one.allowed,
            tolerance=tolerance,
        )

    problems = [formulated(one) for one in (setting, *settings)]
    base = planned(outcomes, problems[0], chosen.solve(problems[0], options), options)
    variants = []
    for made, one, problem in zip(sets, settings, problems[1:], strict=True):
        warm = options
        if base.solution.prices is not None and base.solution.status is not Status.INFEASIBLE:
            carried = _carried(base.solution.prices, problems[0], problem)
            warm = replace(options, prices=carried, start=None)
        plan = planned(one.outcomes, problem, chosen.solve(problem, warm), options)
        low, high = _change(base, plan, one.factor)
        words = ", ".join(change.words for change in made)
        variants.append(Variant(words, plan, one.factor, low, high))
    return WhatIf(
        base=Variant("base", base, 1.0, 0.0, 0.0),
        variants=tuple(variants),
        sense="maximize" if base.problem.maximize else "minimize",
        unit=base.problem.unit,
        seconds=time.perf_counter() - started,
    )


def _carried(prices: Prices, old: RoutingProblem, new: RoutingProblem) -> Prices:
    """Prices of one problem at the limits of another that go by the same names; 0 elsewhere."""
    priced = {}
    for rows, values in zip(old.rows, prices.values, strict=True):
        labels = rows.labels or ("",) * rows.n_pools
        priced.update({(rows.name, k): v for k, v in zip(labels, values.tolist(), strict=True)})
    vector = [
        priced.get((rows.name, label), 0.0)
        for rows in new.rows
        for label in (rows.labels or ("",) * rows.n_pools)
    ]
    return Prices.of(new, np.array(vector))


def _change(base: Plan, plan: Plan, factor: float) -> tuple[float, float]:
    """The difference of two optima, between certified ends, in the user's sense."""
    one, other = base.certificate, plan.certificate
    if not (one.feasible and other.feasible):
        return math.nan, math.nan
    low = factor * other.bound - one.objective
    high = factor * other.objective - one.bound
    if not (math.isfinite(low) and math.isfinite(high)):
        return math.nan, math.nan
    low, high = math.nextafter(low, -math.inf), math.nextafter(high, math.inf)
    return (-high, -low) if base.problem.maximize else (low, high)


def _means(plan: Plan) -> tuple[float | None, float | None]:
    found: list[float | None] = []
    for role in ("cost", "quality"):
        grid = plan.outcomes.columns.get(getattr(plan.outcomes, role))
        if grid is None or plan.assignment is None:
            found.append(None)
        else:
            found.append(float(at(grid, plan.assignment).mean(dtype=np.float64)))
    return found[0], found[1]


def _shown(limit: Any) -> str:
    """A limit as it was written: fields that were left out are left out."""
    if not is_dataclass(limit):
        return repr(limit)
    given = [(f.name, getattr(limit, f.name)) for f in fields(limit)]
    told = [f"{name}={value!r}" for name, value in given if value is not None]
    defaults = {f"{f.name}={f.default!r}" for f in fields(limit)}
    return f"{type(limit).__name__}({', '.join(one for one in told if one not in defaults)})"


def _positive(what: str, factor: float) -> None:
    if not 0 < factor < math.inf:
        raise OptionError(f"{what} is {factor}; give a number above 0")


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}
