r"""Sensitivity of a plan: what every limit is worth, and how far that holds.

The optimal value of the linear relaxation is convex and piecewise linear in each limit, and a
shadow price is its slope. How far a slope reaches: see `dualroute.priceranges`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from dualroute.arrays import Bools, as_float
from dualroute.errors import OptionError
from dualroute.formulation import Limit, Objective, Restriction, formulate
from dualroute.outcomes import Outcomes
from dualroute.parametric import (
    Exact,
    Known,
    chosen_solver,
    exact,
    plain_floats,
    relative_gap,
    status_of,
)
from dualroute.priceranges import Ranges
from dualroute.problem import FEASIBILITY_TOLERANCE, RoutingProblem
from dualroute.rigour import rounded_down, rounded_up
from dualroute.solver import Clock, SolveOptions, Solver

GAP = 1e-4
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
        plain = plain_floats(asdict(self))
        plain["lines"] = [{**plain_floats(asdict(one)), "words": one.words} for one in self.lines]
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
    ranges = Ranges.of(known, clock, evaluations, relative)
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


def _line(known: Known, ranges: Ranges, row: int, clock: Clock) -> LimitSensitivity:
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
