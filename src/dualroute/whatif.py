"""What-if variants of a plan, side by side: each solved, and its difference to the base proved."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from dualroute.arrays import Bools, at
from dualroute.errors import OptionError, TableError
from dualroute.formulation import Limit, Objective, Restriction, formulate
from dualroute.outcomes import Outcomes
from dualroute.parametric import chosen_solver, finite, plain_floats
from dualroute.problem import FEASIBILITY_TOLERANCE, Prices, RoutingProblem
from dualroute.routing import Plan, planned
from dualroute.solver import SolveOptions, Solver, Status

GAP = 1e-4


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
        return plain_floats(
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
