"""What is proved about a routing, recomputed from the problem alone; imports no solver.

Nothing a solver says is believed. The objective and every limit's use are sums rounded once
(Shewchuk's exact summation), and the bound is the Lagrangian at the claimed prices with a
proven rounding error taken off, or what a tree of prices adds to it (`dualroute.proof`), so that
"no routing is better than this" is a theorem about the numbers in the table, not about the
floating-point arithmetic that found it.
"""

import math
import operator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from dualroute.arrays import Floats, Ints
from dualroute.problem import Prices, RoutingProblem
from dualroute.proof import check_proof
from dualroute.rigour import cheapest_total, fractions, rounded_down, rounded_up
from dualroute.solver import Solution, Status

PROVED_OPTIMAL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What is proved about a routing, recomputed from the problem alone.

    All values are totals over the batch in (minimised) objective units.

    Attributes
    ----------
    objective
        Value of the routing; ``inf`` if there is none or it breaks a limit.
    value
        Value of the routing whether or not it keeps the limits; ``inf`` if there is none.
    bound
        No routing that keeps every limit as stated has an objective below this; ``-inf`` if
        nothing is proved, ``inf`` if infeasibility is. Where this routing uses up part of the
        feasibility tolerance, the bound holds for limits as wide as it needs, so it never
        exceeds `objective`.
    feasible
        Whether there is a routing, of allowed pairs, and every limit is kept within tolerance.
    use, excess
        Use of each limit and use minus limit, each rounded once; one ``(r_k,)`` array per
        family of rows, in its unit; empty if there is no routing.
    regret, idle
        The two parts of the gap at the prices, both at least 0 up to rounding: what queries pay
        above their cheapest model, and the priced slack of the limits. A tree may close more.
    infeasible
        Whether it is proved that no routing keeps the limits.
    needed, held
        The proof, where there is one: weighted by the ray, every routing uses at least
        `needed` of the limits, and they hold `held` together; NaN otherwise, also where a tree
        of weights proves it.
    verdict
        The same in words.
    proof_nodes, proof_leaves
        Size of the tree of prices that the bound rests on; None where it rests on the prices
        alone.
    proof_flaw
        Why a claimed tree is none, with the path of the node; empty if it is one. It then
        counts for nothing.
    """

    objective: float
    value: float
    bound: float
    feasible: bool
    use: tuple[Floats, ...]
    excess: tuple[Floats, ...]
    regret: float
    idle: float
    infeasible: bool
    needed: float
    held: float
    verdict: str
    proof_nodes: int | None = None
    proof_leaves: int | None = None
    proof_flaw: str = ""

    @property
    def gap(self) -> float:
        """``objective - bound``, in objective units; ``inf`` if there is no routing."""
        return self.objective - self.bound if self.feasible else math.inf

    @property
    def mip_rel_gap(self) -> float:
        """The gap relative to ``abs(objective)``; ``inf`` if there is no routing."""
        return _relative(self.gap, self.objective) if self.feasible else math.inf

    @property
    def proved_optimal(self) -> bool:
        """Whether the gap is at most 1e-9 of the objective."""
        return self.mip_rel_gap <= PROVED_OPTIMAL


def certify(problem: RoutingProblem, solution: Solution, *, threads: int = 1) -> Certificate:
    """Check a claim: recompute objective, limits and bound from the problem alone.

    Parameters
    ----------
    problem
        What was to be solved; its `tolerance` is the feasibility tolerance.
    solution
        A claim: any of a routing, prices, a ray and a proof. They may come from different
        sources.
    threads
        Most threads of a pass over the table; they change no digit.

    Returns
    -------
    Certificate
        What of it holds.

    Raises
    ------
    ProblemError
        If the routing or the prices do not fit the problem in shape.
    """
    for prices in (solution.prices, solution.ray):
        if prices is not None:
            prices.check(problem)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows proves nothing
        return _certified(problem, solution, threads)


def _certified(problem: RoutingProblem, solution: Solution, threads: int) -> Certificate:
    assignment, prices = solution.assignment, solution.prices
    total = None if prices is None else cheapest_total(problem, prices, threads)
    needed, held = _weighed(problem, solution.ray)
    infeasible = needed > held
    if not infeasible:
        needed = held = math.nan
    if assignment is None:
        limits = fractions(problem.limit)
        certificate = Certificate(
            objective=math.inf,
            value=math.inf,
            bound=math.inf if infeasible else _bound(prices, total, limits),
            feasible=False,
            use=(),
            excess=(),
            regret=math.nan,
            idle=math.nan,
            infeasible=infeasible,
            needed=needed,
            held=held,
            verdict="",
        )
        return _told(problem, _with_tree(problem, certificate, solution, limits), solution)

    problem.check_routing(assignment)
    value = problem.value(assignment)
    use, excess = problem.measured(assignment)
    within = excess <= problem.tolerance * np.abs(problem.limit)
    feasible = bool(within.all()) and value < math.inf
    limits = fractions(problem.limit)
    if feasible:
        # One ulp up covers the single rounding of the excess itself.
        used = [Fraction(float(np.nextafter(e, np.inf))) if e > 0 else 0 for e in excess]
        limits = [limit + more for limit, more in zip(limits, used, strict=True)]
    regret, idle = _parts(value, use, excess, prices, total)
    certificate = Certificate(
        objective=value if feasible else math.inf,
        value=value,
        bound=math.inf if infeasible else _bound(prices, total, limits),
        feasible=feasible,
        use=problem.split(use),
        excess=problem.split(excess),
        regret=regret,
        idle=idle,
        infeasible=infeasible,
        needed=needed,
        held=held,
        verdict="",
    )
    return _told(problem, _with_tree(problem, certificate, solution, limits), solution)


def _with_tree(
    problem: RoutingProblem,
    certificate: Certificate,
    solution: Solution,
    limits: list[Fraction],
) -> Certificate:
    """What a claimed tree of prices adds: a higher bound, or that no routing keeps the limits."""
    proof = solution.proof
    if proof is None or certificate.infeasible:
        return certificate
    if proof.cutoff == math.inf and not certificate.feasible:
        limits = _ceilings(problem)  # it claims that nothing keeps the limits, within tolerance
    checked = check_proof(problem, proof, limits)
    if checked.flaw:
        return replace(certificate, proof_flaw=checked.flaw)
    if not checked.bound > certificate.bound:
        return certificate
    return replace(
        certificate,
        bound=checked.bound,
        infeasible=checked.bound == math.inf,
        proof_nodes=checked.nodes,
        proof_leaves=checked.leaves,
    )


def _told(problem: RoutingProblem, certificate: Certificate, solution: Solution) -> Certificate:
    """The certificate with its verdict."""
    verdict = _verdict(problem, certificate, solution)
    if certificate.proof_nodes is not None:
        verdict += f", by a tree of {_counted(certificate.proof_nodes, 'node')}"
    if certificate.proof_flaw:
        verdict += f"; the tree that came with it proves nothing: {certificate.proof_flaw}"
    return replace(certificate, verdict=verdict)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def gap_parts(
    problem: RoutingProblem, assignment: Ints, prices: Prices | None
) -> tuple[float, float]:
    r"""Split a routing's distance from its bound into regret and idle limits.

    ``value - lagrangian(prices) = sum_i regret_i + sum_k p_k^T slack_k`` for any routing and
    any prices; both sums are at least 0 when the routing keeps its limits. What is taken off the
    bound for rounding counts as regret, so that the parts add up to the gap that is printed.

    Returns
    -------
    tuple of float
        Total regret, and total priced slack, in objective units; NaN without prices.
    """
    total = None if prices is None else cheapest_total(problem, prices)
    use, excess = problem.measured(assignment)
    return _parts(problem.value(assignment), use, excess, prices, total)


def _parts(
    value: float, use: Floats, excess: Floats, prices: Prices | None, total: Fraction | None
) -> tuple[float, float]:
    """Regret and idle limits, from what the routing and the prices come to."""
    if prices is None or total is None or not math.isfinite(value):
        return math.nan, math.nan
    idle = -prices.vector * excess
    if not (np.isfinite(idle).all() and np.isfinite(use).all()):
        return math.nan, math.nan
    charged = sum(map(operator.mul, fractions(prices.vector), fractions(use)), Fraction(value))
    return rounded_up(max(charged - total, Fraction(0))), math.fsum(idle.tolist())


def _bound(prices: Prices | None, total: Fraction | None, limits: list[Fraction]) -> float:
    """The Lagrangian at these prices and limits, rounded down whatever arithmetic did."""
    if prices is None or total is None:
        return -math.inf
    held = sum(map(operator.mul, fractions(prices.vector), limits), Fraction(0))
    return rounded_down(total - held)


def _weighed(problem: RoutingProblem, ray: Prices | None) -> tuple[float, float]:
    """The least weighted use of any routing, rounded down, and the weighted ceilings, up.

    If the first exceeds the second, no routing keeps every ceiling (Farkas); the objective
    plays no part. Without a ray, or where the weights leave the range of doubles, nothing is
    known of either.
    """
    needed = None if ray is None else cheapest_total(problem.without_objective(), ray)
    if ray is None or needed is None:
        return -math.inf, math.inf
    held = sum(
        (
            weight * limit
            for weight, limit in zip(fractions(ray.vector), _ceilings(problem), strict=True)
        ),
        Fraction(0),
    )
    return rounded_down(needed), -rounded_down(-held)


def _ceilings(problem: RoutingProblem) -> list[Fraction]:
    """The limits with all of the tolerance, exactly."""
    slack = Fraction(problem.tolerance)
    return [limit + slack * abs(limit) for limit in fractions(problem.limit)]


def _relative(gap: float, objective: float) -> float:
    if gap <= 0:
        return 0.0
    return gap / abs(objective) if objective else math.inf


def _verdict(problem: RoutingProblem, certificate: Certificate, solution: Solution) -> str:
    if certificate.infeasible:
        return "infeasible, proved: no routing keeps these limits together"
    if solution.assignment is None:
        if solution.status is Status.INFEASIBLE:
            return (
                f"no routing: {solution.solver or 'the solver'} reports the limits infeasible, "
                "which is not proved here (their linear relaxation may have a solution)"
            )
        return "no routing found, and none is proved impossible"
    if not certificate.feasible:
        return "not feasible: " + "; ".join(broken_limits(problem, certificate))
    if certificate.bound == -math.inf:
        return "feasible; nothing is proved about its distance from the optimum"
    if certificate.proved_optimal:
        return f"optimal, proved to within {certificate.mip_rel_gap:.1e} of the objective"
    if certificate.objective == 0:
        return f"feasible, proved within {certificate.gap:.3g} of the optimum"
    return f"feasible, proved within {100 * certificate.mip_rel_gap:.2g} % of the optimum"


def broken_limits(problem: RoutingProblem, certificate: Certificate) -> list[str]:
    """Every limit a routing breaks, in words: which, by how much, and its unit."""
    words = []
    if certificate.value == math.inf:
        words.append("it uses a pair that is not allowed")
    for rows, use, excess in zip(problem.rows, certificate.use, certificate.excess, strict=True):
        sign = -1.0 if rows.at_least else 1.0
        for r in np.flatnonzero(excess > problem.tolerance * np.abs(rows.limit)):
            label = f" of {rows.labels[r]}" if rows.labels else ""
            words.append(
                f"{rows.name}{label} is {'missed' if rows.at_least else 'exceeded'} by "
                f"{excess[r]:.10g} {rows.unit} ({sign * use[r]:.10g} against "
                f"{sign * rows.limit[r]:.10g})"
            )
    return words
