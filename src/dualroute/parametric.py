r"""One problem under many limits: what prices and routings found once prove at all of them.

At fixed prices the Lagrangian is affine in the limits, :math:`L(p; b) = T(p) - p^T b`, and
:math:`T` takes one pass over the table: prices found at one vector of limits bound the optimum at
every other. A routing is feasible wherever its use fits. Both are kept as exact numbers.
"""

import math
import operator
from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats, Ints, as_float
from dualroute.certificate import PROVED_OPTIMAL, certify
from dualroute.looks import Look, exact_sums_of, look_between, looks_at
from dualroute.problem import Prices, RoutingProblem
from dualroute.rigour import cheapest_total, fractions, rounded_down
from dualroute.routing import explained
from dualroute.solver import Solution, SolveOptions, Solver, for_many

Exact: TypeAlias = tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Prices, and the total of every query's cheapest priced pair there, rounded down.

    Attributes
    ----------
    prices
        In objective units per unit of each row.
    total
        :math:`T(p)`, never above the exact one, in objective units.
    """

    prices: Prices
    total: Fraction

    def at(self, limits: Exact) -> Fraction:
        """The bound on every routing that keeps these limits ``(K,)``, exactly."""
        priced = map(operator.mul, fractions(self.prices.vector), limits)
        return self.total - sum(priced, Fraction(0))

    def near(self, limits: Floats) -> float:
        """The same in floating point."""
        return as_float(self.total) - float(self.prices.vector @ limits)


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """A routing, its objective and its use of every row ``(K,)``, without any rounding.

    Its loads are its use, each entry rounded once, shape ``(K,)``.
    """

    assignment: Ints
    value: Fraction
    use: Exact
    loads: Floats = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "loads", np.array(totals(self.use)))

    @classmethod
    def of(cls, problem: RoutingProblem, assignment: Ints) -> "Routed | None":
        """A routing measured; None if it uses a pair that is not allowed."""
        sums = exact_sums_of(problem, slice(None), assignment)
        if sums is None:
            return None
        return cls(_compact(assignment, problem.n_models), sums[0], sums[1:])

    @classmethod
    def near(cls, problem: RoutingProblem, look: Look, assignment: Ints) -> "Routed | None":
        """The same for a routing that differs little from what a look saw."""
        moved = np.flatnonzero(assignment != look.chosen)
        here = exact_sums_of(problem, moved, look.chosen[moved])
        there = exact_sums_of(problem, moved, assignment[moved])
        if here is None or there is None:
            return None
        sums = tuple(a + (b - c) for a, b, c in zip(look.sums, there, here, strict=True))
        return cls(_compact(assignment, problem.n_models), sums[0], sums[1:])

    def keeps(self, limits: Exact, tolerance: float) -> bool:
        """Whether it keeps these limits, within a relative tolerance."""
        room = Fraction(tolerance)
        return all(u <= b + room * abs(b) for u, b in zip(self.use, limits, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Solved:
    """What a solve at some limits gave, checked.

    Attributes
    ----------
    limits
        Where, shape ``(K,)``.
    routed
        A routing that keeps them; None if none was found.
    prices
        Of the bound; None if none is known.
    infeasible
        Whether it is proved that no routing keeps them.
    solution
        The claim.
    """

    limits: Exact
    routed: Routed | None
    prices: Prices | None
    infeasible: bool
    solution: Solution


@dataclass(slots=True, eq=False)
class Known:
    """Planes and routings of one problem, whatever its limits, and the solver that adds to them.

    Attributes
    ----------
    problem
        Its limits are those it was formulated with; no other field depends on them.
    solver, options
        Used for every solve.
    planes, routings
        Found so far; routings of the least value first.
    proved
        Limits and a bound that holds for them and all that are tighter: what trees prove.
    impossible
        Limits that no routing keeps, nor any that are tighter.
    passes
        Passes over the table, or what the solver counts.
    solves
        How many.
    """

    problem: RoutingProblem
    solver: Solver
    options: SolveOptions
    planes: list[Plane] = field(default_factory=list)
    routings: list[Routed] = field(default_factory=list)
    proved: list[tuple[Exact, Fraction]] = field(default_factory=list)
    impossible: list[Exact] = field(default_factory=list)
    passes: float = 0.0
    solves: int = 0

    def solve(self, limit: Floats, options: SolveOptions) -> Solved:
        """Solve at limits ``(K,)``, check the claim and keep what it proves."""
        problem = self.problem.with_limit(limit)
        solution = self.solver.solve(problem, options)
        claim, _ = explained(problem, solution, options)
        self.passes += solution.iterations
        self.solves += 1
        limits = exact(limit)
        routed = None
        if claim.assignment is not None:
            routed = self.add_routing(Routed.of(problem, claim.assignment), limits)
        if claim.prices is not None and claim.prices.vector.size:
            self.add_plane(claim.prices)
        elif not self.planes:
            self.add_plane(Prices.of(problem, np.zeros(problem.n_rows)))
        infeasible = False
        if claim.proof is not None or claim.ray is not None:
            certificate = certify(problem, claim, threads=options.threads)
            infeasible = certificate.infeasible
            if infeasible:
                self.impossible.append(limits)
            elif certificate.proof_nodes is not None and math.isfinite(certificate.bound):
                used = limits if routed is None else _widened(limits, routed)
                self.proved.append((used, Fraction(certificate.bound)))
        return Solved(limits, routed, claim.prices, infeasible, claim)

    def add_plane(self, prices: Prices) -> None:
        """Keep what prices prove, for one pass."""
        total = cheapest_total(self.problem, prices, self.options.threads)
        self.passes += 1
        if total is not None:
            self.planes.append(Plane(prices, total))

    def look(self, prices: Sequence[Prices]) -> list[Look]:
        """Keep what several prices prove, and tell what the passes saw."""
        return [*map(self._seen, looks_at(self.problem, prices, self.options.threads))]

    def look_between(self, looks: Sequence[Look], prices: Prices) -> Look:
        """The same at prices between those of two looks, for few queries if that is possible."""
        look = look_between(self.problem, looks, prices, self.options.threads)
        return self.look([prices])[0] if look is None else self._seen(look)

    def _seen(self, look: Look) -> Look:
        self.passes += look.share
        if look.total is not None:
            self.planes.append(Plane(look.prices, look.total))
        return look

    def add_routing(self, routed: Routed | None, limits: Exact) -> Routed | None:
        """Keep a routing if it keeps limits ``(K,)``."""
        if routed is None or not routed.keeps(limits, self.problem.tolerance):
            return None
        self.keep(routed)
        return routed

    def keep(self, routed: Routed) -> None:
        """Keep a routing, whatever it uses."""
        insort(self.routings, routed, key=lambda routed: routed.value)

    def best_routing(self, limits: Exact) -> Routed | None:
        """The best routing known that keeps limits ``(K,)``."""
        ceiling = np.array(totals(limits))
        ceiling += 1e-6 * np.abs(ceiling)  # what floating point rules out needs no exact look
        for routed in self.routings:
            if (routed.loads <= ceiling).all() and routed.keeps(limits, self.problem.tolerance):
                return routed
        return None

    def bound(self, limits: Exact, routed: Routed | None = None) -> float:
        """The best bound known at limits ``(K,)``, rounded down; ``inf`` if none are kept.

        Where a routing uses up part of the tolerance, the bound holds for limits as wide as it
        needs, as that of `certify` does.
        """
        if routed is None and self.excluded(limits):
            return math.inf
        held = limits if routed is None else _widened(limits, routed)
        plane = self.plane_at(held)
        bounds = [] if plane is None else [plane.at(held)]
        bounds += [bound for tight, bound in self.proved if _within(held, tight)]
        return rounded_down(max(bounds)) if bounds else -math.inf

    def plane_at(self, limits: Exact) -> Plane | None:
        """The plane that bounds best at limits ``(K,)``, as far as floating point can tell."""
        held = np.array(totals(limits))
        return max(self.planes, key=lambda plane: plane.near(held), default=None)

    def excluded(self, limits: Exact) -> bool:
        """Whether it is proved that no routing keeps limits ``(K,)``."""
        return any(_within(limits, tight) for tight in self.impossible)


def exact(limit: Floats) -> Exact:
    """A vector as exact numbers."""
    return tuple(fractions(limit))


def chosen_solver(registered: str | Solver) -> Solver:
    """A solver by name or as it is, set up for many solves."""
    named = registry.create("solvers", registered) if isinstance(registered, str) else registered
    return for_many(named)


def relative_gap(objective: float, bound: float) -> float:
    """The gap relative to the objective's size; 0 where both are 0, NaN where one is not known."""
    if not (math.isfinite(objective) and math.isfinite(bound)):
        return math.nan
    gap = max(objective - bound, 0.0)
    return 0.0 if gap == 0 else gap / abs(objective) if objective else math.inf


def status_of(objective: float, bound: float, *, infeasible: bool) -> str:
    """``optimal``, ``feasible``, ``infeasible`` or ``unknown``, by what is proved alone."""
    if infeasible:
        return "infeasible"
    if not math.isfinite(objective):
        return "unknown"
    return "optimal" if relative_gap(objective, bound) <= PROVED_OPTIMAL else "feasible"


def use_of(problem: RoutingProblem, row: int) -> RoutingProblem:
    """The problem of least use of one row: what it is can be asked for at most."""
    rows, pool = problem.family(row)
    shape = problem.objective.shape
    grid = rows.signed(rows.usage)
    if rows.n_pools > 1 or rows.pool.min() < 0:
        grid = np.where(rows.pool == pool, grid, grid.dtype.type(0))
    grid = np.broadcast_to(grid, shape)
    if not np.isfinite(problem.objective.max()):
        grid = np.where(np.isfinite(problem.objective), grid, np.inf)
    return replace(problem, objective=grid)


def sparing(problem: RoutingProblem, row: int) -> RoutingProblem | None:
    """The problem of its cheapest routing, where some models use nothing of a row, without others.

    Counting what all use, as `use_of` does, leaves every query tied with every other.

    Returns
    -------
    RoutingProblem or None
        None if use depends on the query, or a query would have no model.
    """
    rows, pool = problem.family(row)
    if len(rows.usage) > 1 or len(rows.pool) > 1 or rows.signed(rows.usage).min() < 0:
        return None
    unused = (rows.pool[0] != pool) | (rows.usage[0] == 0)
    grid = np.where(unused, problem.objective, np.inf)
    if unused.all() or not np.isfinite(grid.min(axis=1)).all():
        return None
    return replace(problem, objective=grid.astype(problem.objective.dtype, copy=False))


def finite(number: float | None) -> float | None:
    """For JSON, which has no infinities."""
    return number if number is not None and math.isfinite(number) else None


def plain_floats(values: Mapping[str, Any]) -> dict[str, Any]:
    """Named values with `finite` applied to every float."""
    return {k: finite(v) if isinstance(v, float) else v for k, v in values.items()}


def totals(numbers: Sequence[Fraction]) -> list[float]:
    """Exact numbers, each rounded once."""
    return [as_float(number) for number in numbers]


def _widened(limits: Exact, routed: Routed) -> Exact:
    return tuple(map(max, limits, routed.use))


def _within(limits: Exact, others: Exact) -> bool:
    return all(a <= b for a, b in zip(limits, others, strict=True))


def _compact(assignment: Ints, n_models: int) -> Ints:
    """Many routings are held at once."""
    return assignment.astype(np.min_scalar_type(-n_models), copy=False)
