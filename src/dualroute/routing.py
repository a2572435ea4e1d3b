"""The main job: outcomes or texts in, a certified plan out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.arrays import Bools, Ints, Labels, at
from dualroute.certificate import Certificate, certify
from dualroute.errors import OptionError, RoutingError, TableError
from dualroute.formulation import Limit, Objective, Restriction, formulate
from dualroute.guarantee import Margin, Record, needs_record, tighten
from dualroute.outcomes import Outcomes
from dualroute.predictor import Predictor, cross_predict
from dualroute.problem import FEASIBILITY_TOLERANCE, Prices, RoutingProblem, regrets
from dualroute.proof import Proof
from dualroute.solver import Solution, SolveOptions, Solver, Status, Termination
from dualroute.tomlfile import read_toml

_BOUND_BY = "lagrangian"
_BOUND_SECONDS = 1.0  # at least, for prices where a solver has none
_GIVEN = "given"
_ROUNDING = 1e-12  # of the objective: regrets this small are none


@dataclass(frozen=True, slots=True)
class LimitLine:
    """One limit of a plan, in the user's sense and unit.

    Attributes
    ----------
    name, pool
        Which limit, and which model or group of it (empty for a family of one).
    relation
        ``"<="``, or ``">="`` for a floor.
    use, limit
        Of this plan, in `unit`; `use` is rounded once.
    slack
        What is left: positive when the limit is kept with room.
    excess
        Use beyond the limit, exact and rounded once; at most 0 when kept exactly.
    price
        Shadow price in the certified bound: what one more unit of the limit saves (or gains)
        there, in objective units; where the limits are proved contradictory, the weight of this
        one in the proof.
    unit
        Unit of `use` and `limit`.
    kept
        Whether the excess is within the feasibility tolerance; None without a routing.
    """

    name: str
    pool: str
    relation: str
    use: float
    limit: float
    slack: float
    excess: float
    price: float
    unit: str
    kept: bool | None


@dataclass(frozen=True, slots=True)
class ModelLine:
    """What one model does in a plan: queries, and total cost and quality over them."""

    model: str
    queries: int
    cost: float | None
    quality: float | None


@dataclass(frozen=True, slots=True)
class RegretLine:
    """A query that another model would serve better at the prices of the bound.

    Attributes
    ----------
    query
        Its label.
    model, better
        Where it goes, and where it would cost least with what it takes of the limits charged.
    regret
        The difference, in objective units: regrets add up to the gap, with what idle limits are
        worth.
    objective, better_objective
        Of either pair by itself, in the user's sense.
    """

    query: str
    model: str
    better: str
    regret: float
    objective: float
    better_objective: float


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A routing with its proof.

    Attributes
    ----------
    outcomes
        The table routed on, predicted or observed.
    problem
        The integer program.
    solution
        What the solver claims; with prices or a ray of the native dual where it has none.
    certificate
        What is proved.
    bound_by
        Where the certified bound's prices come from: the solver's name, or that of another
        when the solver has none.
    margins
        How much tighter limits with a confidence are on the predictions than asked.
    priced_by
        The price list that costs were predicted with, and its date; empty without one.
    """

    outcomes: Outcomes
    problem: RoutingProblem
    solution: Solution
    certificate: Certificate
    bound_by: str
    margins: tuple[Margin, ...] = ()
    priced_by: str = ""

    @property
    def assignment(self) -> Ints | None:
        """Model index per query, shape ``(n,)``; None if no routing was found."""
        return self.solution.assignment

    @property
    def routed(self) -> Labels:
        """Model name per query, shape ``(n,)``.

        Raises
        ------
        RoutingError
            If no routing was found.
        """
        if self.solution.assignment is None:
            raise RoutingError(f"there is no routing: {self.certificate.verdict}")
        return np.asarray(self.outcomes.models, object)[self.solution.assignment]

    @property
    def objective(self) -> float:
        """Total over the batch in the user's sense; NaN without a feasible routing."""
        value = self.certificate.objective
        return self.problem.reported(value) if math.isfinite(value) else math.nan

    @property
    def certified_bound(self) -> float:
        """No routing is better than this: proved. In the user's sense; infinite if unknown."""
        return self.problem.reported(self.certificate.bound)

    @property
    def best_bound(self) -> float:
        """The solver's own bound, a claim, in the user's sense; infinite if it has none."""
        return self.problem.reported(self.solution.best_bound)

    @property
    def status(self) -> str:
        """What is held: ``optimal``, ``feasible``, ``infeasible``, ``broken`` or ``unknown``.

        ``optimal`` and ``infeasible`` may rest on the solver's word; `certificate` tells.
        ``broken`` is a routing that breaks a limit.
        """
        if self.certificate.infeasible:
            return "infeasible"
        if self.solution.assignment is None:
            return str(self.solution.status)
        if not self.certificate.feasible:
            return "broken"
        if self.certificate.proved_optimal:
            return "optimal"
        return "optimal" if self.solution.status is Status.OPTIMAL else "feasible"

    @property
    def given(self) -> bool:
        """Whether the routing was handed in rather than found."""
        return self.solution.solver == _GIVEN

    @property
    def answered(self) -> bool:
        """Whether there is a feasible routing, or a proof that there is none."""
        return self.certificate.feasible or self.certificate.infeasible

    def limits(self) -> tuple[LimitLine, ...]:
        """Every limit with use, slack and price; empty uses are NaN without a routing."""
        lines = []
        nothing = self.problem.split(np.full(self.problem.n_rows, np.nan))
        uses = self.certificate.use or nothing
        excesses = self.certificate.excess or nothing
        weighed = self.certificate.infeasible and self.certificate.proof_nodes is None
        weights = self.solution.ray if weighed else self.solution.prices
        prices = weights.values if weights is not None else nothing
        for rows, use, excess, price in zip(self.problem.rows, uses, excesses, prices, strict=True):
            sign = -1.0 if rows.at_least else 1.0
            broken = excess > self.problem.tolerance * np.abs(rows.limit)
            lines += [
                LimitLine(
                    name=rows.name,
                    pool=rows.labels[r] if rows.labels else "",
                    relation=">=" if rows.at_least else "<=",
                    use=sign * float(use[r]) + 0.0,
                    limit=sign * float(rows.limit[r]) + 0.0,
                    slack=0.0 - float(excess[r]),
                    excess=float(excess[r]),
                    price=float(price[r]),
                    unit=rows.unit,
                    kept=None if np.isnan(excess[r]) else not broken[r],
                )
                for r in range(rows.n_pools)
            ]
        return tuple(lines)

    def per_model(self) -> tuple[ModelLine, ...]:
        """What every model does; empty without a routing."""
        routed = self.solution.assignment
        if routed is None:
            return ()
        counts = np.bincount(routed, minlength=self.outcomes.n_models)
        totals: dict[str, Any] = {}
        for role in ("cost", "quality"):
            try:
                taken = at(self.outcomes.column(role), routed)
            except TableError:
                continue
            totals[role] = np.bincount(routed, taken, self.outcomes.n_models)
        return tuple(
            ModelLine(
                model,
                int(counts[j]),
                float(totals["cost"][j]) if "cost" in totals else None,
                float(totals["quality"][j]) if "quality" in totals else None,
            )
            for j, model in enumerate(self.outcomes.models)
        )

    def costliest(self, most: int = 10) -> tuple[RegretLine, ...]:
        """The queries of largest regret, the largest first; none without routing or prices."""
        problem, prices, routed = self.problem, self.solution.prices, self.assignment
        if prices is None or routed is None:
            return ()
        lost, better = np.empty(problem.n_queries), np.empty(problem.n_queries, np.intp)
        for block in problem.blocks():
            reduced = regrets(problem, prices, block)
            lost[block] = reduced[np.arange(len(reduced)), routed[block]]
            better[block] = reduced.argmin(axis=1)
        worst = np.argsort(-lost, kind="stable")[:most]
        least = _ROUNDING * abs(self.certificate.value)
        names, unit = self.outcomes.models, problem.reported
        return tuple(
            RegretLine(
                query=str(self.outcomes.queries[i]),
                model=names[routed[i]],
                better=names[better[i]],
                regret=float(lost[i]),
                objective=unit(float(problem.objective[i, routed[i]])),
                better_objective=unit(float(problem.objective[i, better[i]])),
            )
            for i in worst.tolist()
            if lost[i] > least
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values for JSON; numbers that are not finite become None."""
        certificate = self.certificate
        gap = certificate.mip_rel_gap
        return {
            "status": self.status,
            "termination": str(self.solution.termination),
            "verdict": certificate.verdict,
            "feasible": certificate.feasible,
            "proved_optimal": certificate.proved_optimal,
            "infeasibility_proved": certificate.infeasible,
            "needed": _finite(certificate.needed),
            "held": _finite(certificate.held),
            "sense": "maximize" if self.problem.maximize else "minimize",
            "unit": self.problem.unit,
            "objective": _finite(self.objective),
            "certified_bound": _finite(self.certified_bound),
            "best_bound": _finite(self.best_bound),
            "gap": _finite(gap),
            "absolute_gap": _finite(certificate.gap),
            "regret": _finite(certificate.regret),
            "idle": _finite(certificate.idle),
            "feasibility_tolerance": self.problem.tolerance,
            "bound_by": self.bound_by,
            "limits": [_plain(line) for line in self.limits()],
            "margins": [asdict(margin) for margin in self.margins],
            "prices": self.priced_by or None,
            "ray": self._ray(),
            "proof_nodes": certificate.proof_nodes,
            "proof_leaves": certificate.proof_leaves,
            "proof_flaw": certificate.proof_flaw or None,
            "per_model": [_plain(line) for line in self.per_model()],
            "costliest": [_plain(line) for line in self.costliest()],
            "solver": self.solution.solver,
            "seconds": self.solution.seconds,
            "iterations": self.solution.iterations,
            "n_queries": self.outcomes.n_queries,
            "n_models": self.outcomes.n_models,
        }

    def _ray(self) -> list[dict[str, Any]] | None:
        """The weights that prove infeasibility, where they do."""
        ray = self.solution.ray
        if ray is None or not math.isfinite(self.certificate.needed):
            return None
        return [
            {"name": rows.name, "pool": rows.labels[r] if rows.labels else "", "weight": weight}
            for rows, weights in zip(self.problem.rows, ray.values, strict=True)
            for r, weight in enumerate(weights.tolist())
            if weight > 0
        ]


def solve(
    outcomes: Outcomes,
    *,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    allowed: Bools | None = None,
    solver: str | Solver = "lagrangian",
    options: SolveOptions | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
) -> Plan:
    """Route a table of outcomes under limits, with a certificate.

    Parameters
    ----------
    outcomes
        What every model does with every query, predicted or observed.
    minimize, maximize
        Exactly one of them: a column (``"cost"``, ``"quality"`` or any other), or a weighted
        mix ``{"cost": 1, "latency": 0.002}``.
    limits
        What must hold over the batch.
    allowed
        Grid of the pairs that may be routed; all if not given.
    solver
        A registered name, also of a variant (``ortools:scip``), or a solver object.
    options
        Time limit, gap, seed, threads, start.
    tolerance
        Relative feasibility tolerance of every limit; 0 for exactness.

    Returns
    -------
    Plan
        The routing if one was found, what is proved about it, and every limit's use and price.
        Where the solver has no prices, a bound from the native dual stands in.

    Raises
    ------
    RoutingError
        If the input cannot be used; the message says what was found and what to do.
    """
    problem = formulate(
        outcomes,
        minimize=minimize,
        maximize=maximize,
        limits=limits,
        allowed=allowed,
        tolerance=tolerance,
    )
    options = options or SolveOptions()
    chosen = registry.create("solvers", solver) if isinstance(solver, str) else solver
    return planned(outcomes, problem, chosen.solve(problem, options), options)


def route(
    texts: Sequence[str],
    history: Outcomes,
    *,
    history_texts: Sequence[str] | None = None,
    queries: Labels | None = None,
    attributes: Mapping[str, Labels] | None = None,
    predictor: str | Predictor = "hybrid",
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    solver: str | Solver = "lagrangian",
    options: SolveOptions | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
) -> Plan:
    """Route texts: predict every model's outcomes from a history, then solve.

    The certificate speaks of the predicted outcomes; what really happens differs by the
    prediction error. A `QualityFloor` or `Budget` with a confidence is tightened, so that it
    holds on what really happens (`dualroute.guarantee`); the plan tells by how much.

    Parameters
    ----------
    texts
        ``n`` queries to route.
    history
        Observed outcomes of earlier queries.
    history_texts
        Their texts; the history's attribute ``text`` if not given.
    queries, attributes
        Labels and groups of the new queries, each of shape ``(n,)``.
    predictor
        A registered name, or an object with ``fit`` and ``predict``.
    minimize, maximize, limits, solver, options, tolerance
        As in `solve`.

    Returns
    -------
    Plan
        As from `solve`; its ``outcomes`` are the predicted ones.

    Raises
    ------
    RoutingError
        If the input cannot be used.
    """
    if history_texts is None:
        history_texts = history.attribute("text").tolist()
    chosen = registry.create("predictors", predictor) if isinstance(predictor, str) else predictor
    predicted = chosen.fit(history_texts, history).predict(texts)
    predicted = replace(
        predicted,
        queries=predicted.queries if queries is None else np.asarray(queries),
        attributes={k: np.asarray(v) for k, v in (attributes or {}).items()},
    )
    margins: tuple[Margin, ...] = ()
    if needs_record(limits):
        unseen = getattr(chosen, "unseen", None)
        if unseen is None:
            unseen = cross_predict(chosen, history_texts, history)
        limits, margins = tighten(
            limits,
            Record(unseen, history),
            predicted.n_queries,
            minimize=minimize,
            maximize=maximize,
            solver=solver,
        )
    plan = solve(
        predicted,
        minimize=minimize,
        maximize=maximize,
        limits=limits,
        solver=solver,
        options=options,
        tolerance=tolerance,
    )
    return replace(plan, margins=margins, priced_by=getattr(chosen, "priced_by", ""))


def verify(
    outcomes: Outcomes,
    assignment: Ints,
    *,
    prices: Prices | None = None,
    proof: Proof | None = None,
    minimize: Objective | None = None,
    maximize: Objective | None = None,
    limits: Sequence[Limit | Restriction] = (),
    allowed: Bools | None = None,
    options: SolveOptions | None = None,
    tolerance: float = FEASIBILITY_TOLERANCE,
) -> Plan:
    """Certify a routing made by anyone, with a bound from its prices or the native dual.

    Parameters
    ----------
    outcomes, minimize, maximize, limits, allowed, options, tolerance
        As in `solve`.
    assignment
        The routing, shape ``(n,)``, indices into ``outcomes.models``.
    prices
        Prices that came with it; without them the native solver finds some.
    proof
        A tree of prices that came with it; checked like everything else.

    Returns
    -------
    Plan
        With ``solution.solver`` ``"given"``; the verdict says whether every limit is kept and
        how far from optimal the routing can be at most.

    Raises
    ------
    RoutingError
        If the input cannot be used.
    """
    problem = formulate(
        outcomes,
        minimize=minimize,
        maximize=maximize,
        limits=limits,
        allowed=allowed,
        tolerance=tolerance,
    )
    claim = Solution(
        status=Status.FEASIBLE,
        termination=Termination.COMPLETED,
        assignment=np.asarray(assignment),
        prices=prices,
        proof=proof,
        solver=_GIVEN,
    )
    return planned(outcomes, problem, claim, options or SolveOptions())


def read_limits(path: str | Path) -> tuple[Limit | Restriction, ...]:
    """Limits from a TOML file: one ``[[limit]]`` table each, with a ``type`` and its fields.

    Raises
    ------
    TableError
        Naming the file, and the entry and field that cannot be used.
    """
    content = read_toml(path)
    entries = content.pop("limit", [])
    if content or not isinstance(entries, list) or not entries:
        found = ", ".join(map(repr, content)) or "no [[limit]]"
        raise TableError(f"{path}: found {found}; write one [[limit]] table per limit")
    return tuple(_limit(f"{path}, limit {k}", entry) for k, entry in enumerate(entries, start=1))


def _limit(where: str, entry: Any) -> Limit | Restriction:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        known = ", ".join(registry.names("limits"))
        raise TableError(f"{where}: has no type; give type = one of {known}")
    given = dict(entry)
    kind = given.pop("type")
    try:
        made = registry.load("limits", kind)
        known_fields = [field.name for field in fields(made)]
        strange = [name for name in given if name not in known_fields]
        if strange:
            raise OptionError(f"{kind} has no field {strange[0]!r}; it takes {known_fields}")
        missing = [
            field.name
            for field in fields(made)
            if field.default is MISSING and field.name not in given
        ]
        if missing:
            raise OptionError(f"{kind} needs the field {missing[0]!r}")
        limit: Limit | Restriction = made(**given)
    except (RoutingError, TypeError, ValueError, OverflowError) as error:
        raise TableError(f"{where}: {error}") from None
    return limit


def explained(
    problem: RoutingProblem, claim: Solution, options: SolveOptions
) -> tuple[Solution, str]:
    """Give a claim the prices, or the ray, of the native dual where it has none of its own.

    Returns
    -------
    tuple of Solution and str
        The claim, ready to be certified, and whose prices it has.
    """
    bound_by = claim.solver
    unexplained = claim.assignment is None and claim.ray is None and claim.proof is None
    if unexplained or (claim.prices is None and claim.assignment is not None):
        native = registry.load("solvers", _BOUND_BY)(core_pairs=0)
        seconds = max(options.time_limit - claim.seconds, _BOUND_SECONDS)
        left = replace(options, time_limit=seconds, start=None, progress=None)
        dual = native.solve(problem, left)
        if claim.prices is None:
            claim, bound_by = replace(claim, prices=dual.prices), _BOUND_BY
        if unexplained:
            claim = replace(claim, ray=dual.ray)
    return claim, bound_by


def planned(
    outcomes: Outcomes, problem: RoutingProblem, claim: Solution, options: SolveOptions
) -> Plan:
    """Certify a claim, with bound or ray from the native dual where the claim lacks them.

    Parameters
    ----------
    outcomes, problem
        The table, and the problem that was formulated from it.
    claim
        Of any solver.
    options
        What is left of its time limit goes to the search for prices, or a second.
    """
    claim, bound_by = explained(problem, claim, options)
    certificate = certify(problem, claim, threads=options.threads)
    return Plan(outcomes, problem, claim, certificate, bound_by)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _plain(line: LimitLine | ModelLine | RegretLine) -> dict[str, Any]:
    values = {field.name: getattr(line, field.name) for field in fields(line)}
    return {k: _finite(v) if isinstance(v, float) else v for k, v in values.items()}
