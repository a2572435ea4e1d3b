"""Why no routing keeps the limits, and what would: conflicts, nearest values, least violation.

A conflict is an irreducible set of limits: they exclude each other, and without any one of them
the rest can be kept. It is found by a deletion filter [1]_ over the limits that a first proof
weighs; every "excludes" is certified, every "can be kept" shown by a routing.

References
----------
.. [1] Chinneck & Dravnieks (1991), Locating minimal infeasible constraint sets in linear
   programs, ORSA Journal on Computing 3(2), doi:10.1287/ijoc.3.2.157.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.arrays import Bools, Floats, Ints
from dualroute.certificate import Certificate, certify
from dualroute.errors import OptionError
from dualroute.linear import Task, linear_form
from dualroute.problem import Prices, RoutingProblem
from dualroute.solver import Clock, Solution, SolveOptions, Status, Termination

_NATIVE = "lagrangian"
_NEAR = 1e-6  # relative gap at which a nearest value is near enough
_DIGITS = 6
_MOST_PAIRS = 200_000  # of a program of least violation in whole routings
_LEAST_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Member:
    """One limit of a conflict, and how near it comes with all other limits as they are.

    Values are in the user's sense and unit.

    Attributes
    ----------
    name, pool, relation, unit
        Which limit, as in `dualroute.routing.LimitLine`.
    limit
        As stated.
    bound
        No routing that keeps all the others comes nearer than this: proved; nan where the others
        exclude each other too.
    attained
        What a routing that keeps all the others reaches; nan if none was found.
    """

    name: str
    pool: str
    relation: str
    unit: str
    limit: float
    bound: float = math.nan
    attained: float = math.nan

    @property
    def change(self) -> float:
        """By how much the limit has to be widened for the routing that was found; nan if none."""
        return abs(self.attained - self.limit)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        values = {f.name: getattr(self, f.name) for f in fields(self)} | {"change": self.change}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Diagnosis:
    """Why no routing keeps the limits.

    Attributes
    ----------
    members
        Limits that exclude each other, in the order of the problem's rows.
    irreducible
        Whether a routing was found that keeps the others without each of them.
    ray
        Weights on these limits that prove it; None where only whole routings are excluded, which
        a tree of prices proves.
    certificate
        The proof, of these limits alone.
    rows
        Their numbers among all rows, ascending, shape ``(members,)``.
    """

    members: tuple[Member, ...]
    irreducible: bool
    ray: Prices | None
    certificate: Certificate
    rows: Ints

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        members = [member.to_dict() for member in self.members]
        return {
            "conflict": members,
            "irreducible": self.irreducible,
            "fractions_too": self.ray is not None,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """The routing that breaks the limits least, and the limits widened to let it through.

    Attributes
    ----------
    assignment
        Shape ``(n,)``.
    violation
        Use beyond every limit, shape ``(K,)``, in its unit; 0 where kept.
    weights
        What one unit beyond a limit counts, shape ``(K,)``.
    total, bound
        The weighted violation, and what no routing is below: proved.
    stated, widened
        The problem, and the same with those limits widened by the violation.
    """

    assignment: Ints
    violation: Floats
    weights: Floats
    total: float
    bound: float
    stated: RoutingProblem
    widened: RoutingProblem

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        given_up = [member.to_dict() for member in self.given_up()]
        return {"total": self.total, "bound": self.bound, "given_up": given_up}

    def given_up(self) -> tuple[Member, ...]:
        """The limits that had to be widened: as stated, and as attained."""
        sense, stated = _senses(self.stated), self.stated.limit
        return tuple(
            replace(
                _member(self.stated, r),
                attained=float(sense[r] * (stated[r] + self.violation[r])) + 0.0,
            )
            for r in np.flatnonzero(self.violation > 0).tolist()
        )


def diagnose(
    problem: RoutingProblem,
    *,
    ray: Prices | None = None,
    options: SolveOptions | None = None,
) -> Diagnosis:
    """Find limits that exclude each other, and how near each comes with the others kept.

    Parameters
    ----------
    problem
        Without a routing that keeps its limits.
    ray
        Weights that prove it, if known: the search begins among the limits they weigh.
    options
        Time limit, seed and threads of all solves together.

    Returns
    -------
    Diagnosis
        Not narrowed as far as it might be where the time ran out: `irreducible` tells.

    Raises
    ------
    OptionError
        If a routing keeps the limits, or nothing could be proved in the time.
    """
    options = options or SolveOptions()
    clock = Clock(options.time_limit)
    asking = _Asking(problem, options, clock)
    everything = np.ones(problem.n_rows, bool)
    found = asking.of_weights(ray) or asking.whether_excluded(everything)
    if found.excluded is None:
        raise OptionError("neither a routing nor a proof was found in time; raise the time limit")
    if not found.excluded:
        raise OptionError("nothing to explain: there is a routing that keeps every limit")
    kept, proof, irreducible = _filtered(asking, found)
    rows = np.flatnonzero(kept)
    members = tuple(asking.nearest(r) for r in rows.tolist())
    return Diagnosis(members, irreducible, proof.ray, proof.certificate, rows)


def relax(
    problem: RoutingProblem,
    *,
    weights: Mapping[str, float] | None = None,
    options: SolveOptions | None = None,
) -> Relaxation:
    """Break the limits as little as can be: the elastic problem, in whole routings.

    Parameters
    ----------
    problem
        Any; where a routing keeps the limits, nothing is given up.
    weights
        What one unit beyond a limit counts, by the limit's name; limits that are not named, all if
        not given, count by the part of the limit that they are exceeded by.
    options
        Time limit, seed and threads.

    Raises
    ------
    OptionError
        If a weight is of no limit, or not above 0; or no routing was found in time.
    """
    from dualroute.highs import run_highs

    options = options or SolveOptions()
    clock = Clock(options.time_limit)
    worth = _worth(problem, weights or {})
    free = problem.without_objective()
    form = linear_form(free, scaled=True)
    elastic = form.elastic(worth)
    relaxed = run_highs(elastic, Task(integer=False, options=options))
    if relaxed.x is None or relaxed.row_dual is None:
        raise OptionError("the elastic program was not solved in time; raise the time limit")
    count = form.n_columns
    prices = form.prices(free, relaxed.row_dual)
    capped = Prices.of(free, np.minimum(prices.vector, worth))
    base = np.zeros(problem.n_queries, np.intp)
    routed = form.routing(relaxed.x[:count], base)
    best = _violation(problem, routed)
    if problem.objective.size <= _MOST_PAIRS and not clock.expired:
        start = np.r_[form.columns_of(routed), form.slack_of(best * form.row_scale)]
        task = Task(integer=True, options=options.after(clock.seconds), start=start)
        answer = run_highs(elastic, task)
        if answer.x is not None:
            other = form.routing(answer.x[:count], base)
            if worth @ _violation(problem, other) < worth @ best:
                routed, best = other, _violation(problem, other)
    claim = Solution(Status.UNKNOWN, Termination.COMPLETED, routed, prices=capped)
    bound = certify(free, claim).bound
    limits = problem.split(np.nextafter(problem.limit + best, np.where(best > 0, np.inf, -np.inf)))
    limits = tuple(
        np.where(moved > 0, limit, rows.limit)
        for rows, limit, moved in zip(problem.rows, limits, problem.split(best), strict=True)
    )
    rows = zip(problem.rows, limits, strict=True)
    widened = replace(problem, rows=tuple(replace(r, limit=limit) for r, limit in rows))
    total = float(worth @ best)
    return Relaxation(routed, best, worth, total, min(max(bound, 0.0), total), problem, widened)


# In words -----------------------------------------------------------------------------------


def diagnosis_words(diagnosis: Diagnosis, n_queries: int) -> list[str]:
    """The conflict, and what each limit of it would have to be, in sentences."""
    names = [_named(member) for member in diagnosis.members]
    if len(names) == 1:
        said = [f"No routing keeps this limit: {names[0]}."]
    else:
        rest = "; without any one of them the others can be kept" if diagnosis.irreducible else ""
        said = [f"These limits exclude each other{rest}: {', '.join(names)}."]
    if diagnosis.ray is None:
        said.append("Only whole routings are excluded: fractions of queries could keep them.")
    return said + [_nearest_words(member, n_queries) for member in diagnosis.members]


def given_up_words(relaxation: Relaxation) -> list[str]:
    """What a routing of least violation gives up, in sentences."""
    said = []
    for member in relaxation.given_up():
        verb = "lowered" if member.relation == ">=" else "raised"
        said.append(
            f"{_named(member)} is {verb} by {_shown(member.change, up=True)} {member.unit}, from "
            f"{_shown(member.limit)} to {_shown(member.attained, up=member.relation == '<=')}"
        )
    return said or ["Every limit can be kept; nothing is given up."]


def _nearest_words(member: Member, n_queries: int) -> str:
    floor = member.relation == ">="
    asked = (
        f"{_named(member)}: {_shown(member.limit)} {member.unit} {'asked' if floor else 'allowed'}"
    )
    if math.isnan(member.attained):
        if math.isnan(member.bound):
            return f"{asked}; the other limits exclude each other without it, too"
        best = f"{'at most' if floor else 'at least'} {_shown(member.bound, up=floor)}"
        return f"{asked}; with the others kept {best} in any case, and no such routing was found"
    reached = _shown(member.attained, up=not floor)
    each = f" ({_shown(member.attained / n_queries, up=False)} a query)" if floor else ""
    most = "is the most that was found" if floor else "are enough"
    if abs(member.attained - member.bound) <= _NEAR * abs(member.attained):
        most = "is the most" if floor else "are needed"
    what = "lower" if floor else "raise"
    return (
        f"{asked}; with all others kept {reached}{each} {most}: {what} it by "
        f"{_shown(member.change, up=True)} {member.unit}"
    )


def _named(member: Member) -> str:
    return f"{member.name} {member.pool}".strip()


def _shown(value: float, *, up: bool | None = None) -> str:
    """Six digits; rounded up or down where that keeps a promise."""
    if up is None or value == 0 or not math.isfinite(value):
        return f"{value:.{_DIGITS}g}"
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    whole = round(value / unit)
    if math.isclose(whole * unit, value, rel_tol=1e-12):
        return f"{whole * unit:.{_DIGITS}g}"
    rounded = math.ceil(value / unit) if up else math.floor(value / unit)
    return f"{rounded * unit:.{_DIGITS}g}"


# The search ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Whether some limits exclude each other (None: not known), and the proof if they do."""

    excluded: bool | None
    certificate: Certificate
    ray: Prices | None
    weighed: Bools


@dataclass(frozen=True, slots=True, eq=False)
class _Asking:
    """Questions about some of the limits, each answered by the native solver."""

    problem: RoutingProblem
    options: SolveOptions
    clock: Clock

    def of_weights(self, ray: Prices | None) -> _Told | None:
        """What known weights prove; None if they do not."""
        if ray is None:
            return None
        weighed = ray.vector > 0
        claim = Solution(Status.INFEASIBLE, Termination.INFEASIBLE, ray=ray)
        certificate = certify(self.problem, claim)
        return _Told(True, certificate, ray, weighed) if certificate.infeasible else None

    def whether_excluded(self, kept: Bools) -> _Told:
        """Whether the limits that are kept exclude each other."""
        some = _with_rows(self.problem, kept).without_objective()
        claim = self._solved(some, self.clock.left)
        certificate = certify(some, claim)
        excluded = True if certificate.infeasible else False if certificate.feasible else None
        ray, weighed = None, kept
        if excluded and claim.ray is not None and certificate.proof_nodes is None:
            vector = np.zeros(kept.size)
            vector[kept] = claim.ray.vector
            ray, weighed = Prices.of(self.problem, vector), vector > 0
        return _Told(excluded, certificate, ray, weighed)

    def nearest(self, row: int) -> Member:
        """How near a limit comes where all the others are kept."""
        problem = self.problem
        sense = float(_senses(problem)[row])
        member = _member(problem, row)
        others = np.ones(problem.n_rows, bool)
        others[row] = False
        alone = replace(_with_rows(problem, others), objective=_use_of_row(problem, row))
        claim = self._solved(alone, max(0.3 * self.clock.left, _LEAST_SECONDS), gap=_NEAR)
        certificate = certify(alone, claim)
        if certificate.infeasible:
            return member
        bound = sense * certificate.bound + 0.0 if math.isfinite(certificate.bound) else math.nan
        if not certificate.feasible:
            return replace(member, bound=bound)
        return replace(member, bound=bound, attained=sense * certificate.objective + 0.0)

    def _solved(self, problem: RoutingProblem, seconds: float, gap: float = 0.0) -> Solution:
        solver = registry.load("solvers", _NATIVE)()
        asked = replace(
            self.options,
            time_limit=max(seconds, _LEAST_SECONDS),
            mip_rel_gap=gap,
            start=None,
            prices=None,
            progress=None,
        )
        solution: Solution = solver.solve(problem, asked)
        return solution


def _filtered(asking: _Asking, proof: _Told) -> tuple[Bools, _Told, bool]:
    """Limits that exclude each other and none too many, the proof, and whether that is shown."""
    kept, irreducible = proof.weighed.copy(), True
    for row in np.flatnonzero(kept).tolist():
        if not kept[row]:
            continue
        if asking.clock.expired:
            irreducible = False
            break
        fewer = kept.copy()
        fewer[row] = False
        told = asking.whether_excluded(fewer)
        if told.excluded:
            kept, proof = told.weighed, told
        irreducible &= told.excluded is not None
    return kept, proof, irreducible


def _with_rows(problem: RoutingProblem, kept: Bools) -> RoutingProblem:
    """The problem with some of its rows only, ``kept`` of shape ``(K,)``."""
    families = []
    for rows, keep in zip(problem.rows, problem.split(kept.astype(float)), strict=True):
        pools = np.flatnonzero(keep)
        if pools.size == rows.n_pools:
            families.append(rows)
        elif pools.size:
            number = np.full(rows.n_pools + 1, -1, np.int32)  # the last is read by pool -1
            number[pools] = np.arange(pools.size)
            labels = tuple(rows.labels[r] for r in pools) if rows.labels else ()
            families.append(
                replace(rows, limit=rows.limit[pools], pool=number[rows.pool], labels=labels)
            )
    return replace(problem, rows=tuple(families))


def _use_of_row(problem: RoutingProblem, row: int) -> Floats:
    """What every pair takes of one row, ``(n, m)``; ``inf`` where it is forbidden."""
    rows, pool = problem.family(row)
    taken = np.where(rows.pool == pool, rows.signed(rows.usage.astype(np.float64)), 0.0)
    use: Floats = np.where(np.isfinite(problem.objective), taken, np.inf)
    return use


def _member(problem: RoutingProblem, row: int) -> Member:
    rows, pool = problem.family(row)
    limit = (-1.0 if rows.at_least else 1.0) * float(rows.limit[pool]) + 0.0
    label = rows.labels[pool] if rows.labels else ""
    return Member(rows.name, label, ">=" if rows.at_least else "<=", rows.unit, limit)


def _senses(problem: RoutingProblem) -> Floats:
    """1 for a limit that is "at most", -1 for one that is "at least", shape ``(K,)``."""
    each = [np.full(rows.n_pools, -1.0 if rows.at_least else 1.0) for rows in problem.rows]
    return np.concatenate([np.empty(0), *each])


def _worth(problem: RoutingProblem, weights: Mapping[str, float]) -> Floats:
    names = [rows.name for rows in problem.rows]
    for name, weight in weights.items():
        if name not in names:
            raise OptionError(f"a weight for {name!r}, and the limits are {', '.join(names)}")
        if not 0 < weight < math.inf:
            raise OptionError(f"the weight of {name!r} is {weight}; give a number above 0")
    worth = [np.empty(0)]
    for rows in problem.rows:
        if rows.name in weights:
            worth.append(np.full(rows.n_pools, float(weights[rows.name])))
        else:
            size = np.abs(rows.limit)
            worth.append(1.0 / np.where(size > 0, size, 1.0))
    return np.concatenate(worth)


def _violation(problem: RoutingProblem, routing: Ints) -> Floats:
    excess = problem.excess(routing)
    beyond: Floats = np.where(excess > problem.target - problem.limit, excess, 0.0)
    return beyond
