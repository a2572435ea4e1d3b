r"""Prices as an online rule: queries are routed one by one as they arrive, limits kept.

A certified plan leaves prices of its limits, and at those each query decides for itself:
:math:`\arg\min_j f_{ij} + \sum_k p_k u_{kij}` over the models that can still take it. Here the
prices start at the plan's and follow the stream by dual mirror descent [1]_, with what is left
of a limit over what is still to come as the target of every query.

References
----------
.. [1] Balseiro, Lu & Mirrokni (2023), The best of many worlds: dual mirror descent for online
   allocation problems, Operations Research 71(1), arXiv 2011.10124.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from dualroute import registry
from dualroute.arrays import Floats, Ints, at, read_only
from dualroute.errors import PolicyError
from dualroute.outcomes import Outcomes
from dualroute.problem import RoutingProblem, Rows
from dualroute.routing import Plan
from dualroute.solver import SolveOptions
from dualroute.stream import Stream

Update: TypeAlias = Literal["mirror", "queue", "fixed"]
UPDATES: tuple[Update, ...] = get_args(Update)

_STEP = 0.3
_SAMPLE = 20_000  # queries that tell the least a limit is used by
_OPTIONS = SolveOptions(mip_rel_gap=1e-3, time_limit=5.0)


@dataclass(frozen=True, slots=True, eq=False)
class Account:
    """One family of limits as a policy keeps it.

    Amounts are signed as in `Rows`: of a floor, use and limit count negated.

    Attributes
    ----------
    name, labels, unit
        What reports call the family, its pools, and their unit.
    column
        What use is read from; empty where every request counts 1.
    at_least
        A floor: what is read counts negated.
    pool
        Pool of every model, ``(m,)``; -1 for one that takes nothing.
    limit
        What each pool holds over the horizon, ``(r,)``.
    price
        At the start, ``(r,)``, in objective units per unit of use.
    gain
        What one unit of use beyond the target adds to the price, at a step of 1 and a horizon of
        one query, ``(r,)``.
    least
        The least a query takes on average, ``(r,)``: held back for every query still to come.
    """

    name: str
    column: str
    at_least: bool
    pool: Ints
    limit: Floats
    price: Floats
    gain: Floats
    least: Floats
    labels: tuple[str, ...] = ()
    unit: str = ""

    def __post_init__(self) -> None:
        """Freeze the arrays."""
        put = object.__setattr__
        put(self, "pool", read_only(np.asarray(self.pool, np.intp)))
        for name in ("limit", "price", "gain", "least"):
            put(self, name, read_only(np.array(getattr(self, name), np.float64)))

    @property
    def sign(self) -> float:
        """What a column is multiplied by to give use."""
        return -1.0 if self.at_least else 1.0

    @property
    def strict(self) -> bool:
        """A cap of single models: it is kept whatever it costs, by taking another one."""
        of_some = bool((self.pool != self.pool[0]).any())
        return not self.at_least and (of_some or self.limit.size > 1 or bool(self.labels))

    @property
    def owed(self) -> bool:
        """Requests that single models must get."""
        return self.at_least and not self.column

    def title(self, pool: int) -> str:
        """Name of a limit, with its model where it has one."""
        return f"{self.name} {self.labels[pool]}" if self.labels else self.name


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A rule that routes a stream: prices, limits, and how the prices follow.

    Attributes
    ----------
    models
        ``m`` names, in the order that predictions come in.
    terms
        Columns the minimised objective adds up, with their weights.
    accounts
        The limits, family by family.
    horizon
        Queries that the limits are meant for.
    span
        Seconds that they are meant for; None where queries are counted instead. With a span, the
        number still to come is estimated from the rate seen so far, at first the planned one.
    update
        ``"mirror"``: dual mirror descent [1]_ from the plan's prices with the Euclidean mirror
        map, the target of each query being what is left over what is still to come.
        ``"queue"``: virtual queues [2]_, empty at first, with the same target throughout.
        ``"fixed"``: the prices stay.
    step
        Of the update, before it is divided by the root of the horizon.
    reserve
        Hold back, for every query still to come, the least it takes on average (of a floor: the
        most it can bring), so that a limit is not broken at the end for want of attention.
    restricted
        The plan forbids pairs of single queries: `Stream.route` asks which models a query may use.
    maximize
        Reports turn the objective.
    verdict
        What was proved of the plan that the prices are from.

    References
    ----------
    .. [1] Balseiro, Lu & Mirrokni (2023), The best of many worlds: dual mirror descent for online
       allocation problems, Operations Research 71(1), arXiv 2011.10124.
    .. [2] Neely (2010), Stochastic network optimization with application to communication and
       queueing systems, Morgan & Claypool; as MESS+ (arXiv 2505.19947) routes language models.
    """

    models: tuple[str, ...]
    terms: Mapping[str, float]
    accounts: tuple[Account, ...]
    horizon: float
    span: float | None = None
    update: Update = "mirror"
    step: float = _STEP
    reserve: bool = True
    restricted: bool = False
    maximize: bool = False
    verdict: str = ""

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.update not in UPDATES:
            raise PolicyError(f"no update {self.update!r}; choose one of {', '.join(UPDATES)}")
        for name, value in (("horizon", self.horizon), ("span", self.span)):
            if value is not None and not 0 < value < math.inf:
                what = "queries" if name == "horizon" else "seconds"
                raise PolicyError(f"the {name} is {value}; give a number of {what} above 0")
        if not 0 <= self.step < math.inf:
            raise PolicyError(f"the step is {self.step}; give a finite number of at least 0")
        if not self.terms or not self.models:
            raise PolicyError("a policy needs models, and an objective made of columns")
        if not all(map(math.isfinite, self.terms.values())):
            raise PolicyError(f"the objective is {dict(self.terms)}; give finite weights")
        m = len(self.models)
        for what, names in (("model", self.models), ("limit", [a.name for a in self.accounts])):
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise PolicyError(f"{what} {twice!r} is named twice; give each its own name")
        for account in self.accounts:
            r = account.limit.size
            if account.limit.ndim != 1 or r == 0:
                raise PolicyError(f"limit {account.name!r} holds no pool; leave it out")
            vectors = (account.limit, account.price, account.gain, account.least)
            if account.pool.shape != (m,) or any(vector.shape != (r,) for vector in vectors):
                raise PolicyError(
                    f"limit {account.name!r} does not fit {m} models and {r} pools; "
                    "give a pool for every model and one number of each kind for every pool"
                )
            if account.pool.min() < -1 or account.pool.max() >= r:
                raise PolicyError(f"limit {account.name!r} names a pool outside 0 .. {r - 1}")
            if account.labels and len(account.labels) != r:
                raise PolicyError(f"limit {account.name!r}: {len(account.labels)} labels for {r}")
            if not all(np.isfinite(vector).all() for vector in vectors):
                raise PolicyError(f"limit {account.name!r} holds a number that is not finite")
            if min(float(v.min(initial=0.0)) for v in (account.price, account.gain)) < 0:
                raise PolicyError(f"limit {account.name!r}: a price or gain is below 0")

    @classmethod
    def of(
        cls,
        plan: Plan,
        *,
        horizon: float | None = None,
        span: float | None = None,
        update: Update = "mirror",
        step: float = _STEP,
        reserve: bool = True,
    ) -> "Policy":
        """The policy of a certified plan.

        Parameters
        ----------
        plan
            Of a batch like the stream to come: yesterday's, or a sample of history.
        horizon
            Queries to come. The limits of the plan are brought to it in proportion (a budget for
            1,000 queries is twice that for 2,000); as many as in the plan if not given.
        span
            Seconds they come in; see the attribute.
        update, step, reserve
            See the attributes.

        Raises
        ------
        PolicyError
            If the plan has no feasible routing or no prices, a limit is per group of queries, or
            limit or objective is not made of columns of the table.
        """
        problem, prices = plan.problem, plan.solution.prices
        if plan.assignment is None or not plan.certificate.feasible:
            raise PolicyError(f"no policy without a feasible plan: {plan.certificate.verdict}")
        if prices is None:
            raise PolicyError("the plan has no prices; solve it with the native solver")
        if not problem.terms:
            raise PolicyError("the objective is not made of columns; a policy cannot read it")
        n = problem.n_queries
        ratio = 1.0 if horizon is None else float(horizon) / n
        if not 0 < ratio < math.inf:
            raise PolicyError(f"the horizon is {horizon}; give a number of queries above 0")
        spread = _spread(problem)
        accounts = []
        for rows, price in zip(problem.rows, prices.values, strict=True):
            _readable(rows, plan.outcomes)
            taken = np.abs(at(rows.usage, plan.assignment)).astype(np.float64)
            if not taken.any():  # only free models chosen: what the others would have taken
                taken = np.abs(rows.usage).astype(np.float64)
            mean, square = float(taken.mean()), float((taken**2).mean())
            gain = spread / math.sqrt(square) / mean if mean > 0 else 0.0
            accounts.append(
                Account(
                    name=rows.name,
                    column=rows.column,
                    at_least=rows.at_least,
                    pool=np.broadcast_to(rows.pool[0], (problem.n_models,)),
                    limit=rows.limit * ratio,
                    price=np.zeros(rows.n_pools) if update == "queue" else price,
                    gain=np.full(rows.n_pools, gain),
                    least=np.zeros(rows.n_pools),
                    labels=rows.labels,
                    unit=rows.unit,
                )
            )
        strict = [rows for rows, a in zip(problem.rows, accounts, strict=True) if a.strict]
        return cls(
            models=problem.models,
            terms=dict(problem.terms),
            accounts=tuple(
                account if account.strict else replace(account, least=_least(problem, rows, strict))
                for rows, account in zip(problem.rows, accounts, strict=True)
            ),
            horizon=n * ratio,
            span=None if span is None else float(span),
            update=update,
            step=step,
            reserve=reserve,
            restricted=bool(np.isinf(problem.objective.max())),
            maximize=problem.maximize,
            verdict=plan.certificate.verdict,
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that every query's predictions are read from, in the order of `Stream.route`."""
        read = [*self.terms, *(account.column for account in self.accounts if account.column)]
        return tuple(dict.fromkeys(read))

    @property
    def n_models(self) -> int:
        """Number of models, ``m``."""
        return len(self.models)

    def start(
        self,
        models: tuple[str, ...] | None = None,
        spent: Mapping[str, float | Mapping[str, float]] | None = None,
    ) -> Stream:
        """Begin a stream.

        Parameters
        ----------
        models
            Whose predictions the stream brings, in their order, to be held against the policy's.
        spent
            What is used already of limits by name: a number, or one per model.

        Raises
        ------
        PolicyError
            If the models are others, or nothing is left of a limit on the whole stream.
        """
        if models is not None and tuple(models) != self.models:
            strange = sorted(set(models) ^ set(self.models)) or ["their order"]
            raise PolicyError(
                f"the policy is for other models than the stream's ({', '.join(strange[:5])}); "
                "make one from a plan for these"
            )
        stream = Stream(self)
        for name, amount in (spent or {}).items():
            stream.spend(name, amount)
        for account, left in zip(self.accounts, stream.residuals(), strict=True):
            if not account.at_least and not account.strict and account.least.max() > 0:
                for r in np.flatnonzero(left <= 0).tolist():
                    raise PolicyError(
                        f"the {account.title(r)} of {account.limit[r]:g} {account.unit} is spent "
                        f"(left: {left[r]:g}); raise it, or start the next horizon"
                    )
        return stream


def _readable(rows: Rows, outcomes: Outcomes) -> None:
    """Raise `PolicyError` unless a new query's use can be read from its columns."""
    by_group = rows.pool.shape[1] == 1 and bool(rows.labels) and outcomes.n_models > 1
    if rows.pool.shape[0] > 1 or by_group:
        raise PolicyError(
            f"limit {rows.name!r} is per group of queries (by=); a policy keeps limits of one "
            "stream: leave by= out, or make a policy for each group"
        )
    counts = not rows.column and rows.usage.shape == (1, 1) and float(rows.usage[0, 0]) == 1.0
    reads = rows.column in outcomes.columns
    if not (counts or reads) or (rows.sign < 0) != rows.at_least:
        raise PolicyError(
            f"limit {rows.name!r} neither counts requests nor reads a column of the table; a "
            "policy cannot tell what a new query takes of it"
        )


def _spread(problem: RoutingProblem) -> float:
    """How much the choice of a model matters to a query, on average, in objective units."""
    some = problem.objective[:: max(1, problem.n_queries // _SAMPLE)].astype(np.float64)
    finite = np.isfinite(some)
    low = np.where(finite, some, math.inf).min(axis=1)
    high = np.where(finite, some, -math.inf).max(axis=1)
    return float((high - low).mean())


def _least(problem: RoutingProblem, rows: Rows, strict: list[Rows]) -> Floats:
    """The least that a query takes on average of a limit, within the capacities, ``(r,)``."""
    if rows.pool.shape[1] > 1:  # of single models: all queries could go to others, or to this
        return np.full(rows.n_pools, -1.0 if rows.sign < 0 else 0.0)
    n = problem.n_queries
    usage = np.broadcast_to(rows.signed(rows.usage), (n, problem.n_models))
    asked = replace(
        problem,
        objective=np.where(np.isfinite(problem.objective), usage, math.inf).astype(np.float64),
        rows=tuple(strict),
        maximize=False,
        terms={},
    )
    if n > _SAMPLE:
        asked = asked.take(np.linspace(0, n - 1, _SAMPLE).astype(np.intp))
    if not strict:
        return np.array([asked.objective.min(axis=1).mean()])
    solver = registry.create("solvers", "lagrangian")
    return np.array([solver.solve(asked, _OPTIONS).best_bound / asked.n_queries])
