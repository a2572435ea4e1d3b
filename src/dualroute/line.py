"""A line of limits: one of them moves with a value, the others stay."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from dualroute.arrays import Bools, Floats, as_float
from dualroute.errors import OptionError
from dualroute.formulation import Budget, Capacity, Limit, MetricCap, QualityFloor
from dualroute.parametric import Exact
from dualroute.problem import Prices, RoutingProblem

AMOUNTS = {"total": "", "mean": "mean ", "limit": "", "share": "share of "}  # unit, by name


def parse_sweep(text: str) -> Limit:
    """The limit that a name stands for, as in `frontier`.

    Raises
    ------
    OptionError
        If it stands for none.
    """
    kind, _, named = text.partition(":")
    if kind == "capacity":
        return Capacity({named: 1.0} if named else 1.0)
    if kind == "cap" and named:
        return MetricCap(named, mean=1.0)
    whole: dict[str, Limit] = {
        "budget": Budget(1.0),
        "quality_floor": QualityFloor(mean=1.0),
        "quality_total": QualityFloor(total=1.0),
    }
    if text not in whole:
        raise OptionError(
            f"cannot sweep {text!r}; name budget, quality_floor, quality_total, capacity, "
            "capacity:MODEL or cap:COLUMN"
        )
    return whole[text]


def amount_of(limit: Limit) -> str:
    """The field of a limit that holds its amount."""
    for name in AMOUNTS:
        if getattr(limit, name, None) is not None:
            return name
    raise OptionError(f"{limit!r} has no amount to sweep; give a Budget, a Capacity or another one")


def with_amount(limit: Any, value: float) -> Limit:
    """The limit at another amount, the same for each of what it names."""
    name = amount_of(limit)
    held = getattr(limit, name)
    amount = dict.fromkeys(held, value) if isinstance(held, Mapping) else value
    changed: Limit = replace(limit, **{name: amount})
    return changed


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """The limits as a function of the swept value: fixed ones, and a direction.

    Attributes
    ----------
    fixed
        Limits of the other rows, 0 on the swept ones, shape ``(K,)``.
    direction
        What the limits change by for one unit of the value, shape ``(K,)``; 0 on the others.
    rows
        Which are swept.
    sense
        1 where a larger value is looser, -1 for a floor.
    whole
        Whether values count requests.
    """

    fixed: Floats
    direction: Floats
    rows: Bools
    sense: float
    whole: bool

    @classmethod
    def of(cls, problem: RoutingProblem) -> "Line":
        """The last family is swept, and was formulated at 1."""
        family = problem.rows[-1]
        rows = np.arange(problem.n_rows) >= problem.n_rows - family.n_pools
        limit = problem.limit
        sense = -1.0 if family.at_least else 1.0
        whole = family.unit == "requests" and bool((np.abs(family.limit) == 1).all())
        return cls(np.where(rows, 0.0, limit), np.where(rows, limit, 0.0), rows, sense, whole)

    def limit(self, value: float) -> Floats:
        """All limits, shape ``(K,)``; values are read as the decimals they are written as."""
        written = Fraction(repr(float(value)))
        moved = [float(Fraction(d) * written) for d in self.direction.tolist()]
        return np.where(self.rows, moved, self.fixed)

    def ordered(self, values: Sequence[float]) -> list[float]:
        """Distinct values, the tightest first."""
        return sorted(set(values), key=lambda value: self.sense * value)

    def value_of(self, use: Exact) -> float:
        """The tightest value at which swept rows hold a use ``(K,)``, up to rounding."""
        held = [
            as_float(u / Fraction(d))
            for u, d in zip(use, self.direction.tolist(), strict=True)
            if d != 0
        ]
        return max(held) if self.sense > 0 else min(held)

    def price(self, prices: Prices) -> float:
        """What one unit of the value is worth, from the prices of the rows."""
        return float(prices.vector @ np.abs(self.direction))

    def rounded(self, value: float, step: float, looser: bool) -> float:
        """A value on a decimal grid."""
        turn = math.ceil if (self.sense > 0) == looser else math.floor
        step = max(1.0, step) if self.whole else step
        return float(Fraction(turn(value / step)) * Fraction(repr(step)))
