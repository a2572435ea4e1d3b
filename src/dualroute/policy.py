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
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from dualroute import registry
from dualroute.arrays import Bools, Floats, Ints, at, read_only
from dualroute.errors import PolicyError, ProblemError
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem, Rows
from dualroute.routing import Plan
from dualroute.solver import SolveOptions

Update: TypeAlias = Literal["mirror", "queue", "fixed"]
UPDATES: tuple[str, ...] = get_args(Update)

_STEP = 0.3
_SAMPLE = 20_000  # queries that tell the least a limit is used by
_TOLERANCE = 1e-9
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
        return not self.at_least and bool((self.pool != self.pool[0]).any() or self.limit.size > 1)

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
        m = len(self.models)
        for account in self.accounts:
            r = account.limit.size
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
    ) -> "Stream":
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


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """Where one query goes.

    Attributes
    ----------
    model, name
        Index and name.
    stopped
        Whether a limit, an outage or a restriction kept it from its cheapest model.
    pools, booked
        Which limits were charged, and by how much, family by family: what `Stream.observe`
        corrects once the truth is known.
    """

    model: int
    name: str
    stopped: bool
    pools: Ints
    booked: Floats


@dataclass(slots=True, eq=False)
class Stream:
    """A policy at work: its prices now, what is left, and what was seen. Not safe across threads.

    Attributes
    ----------
    policy
        The rule and its parameters, which stay.
    seen
        Queries routed.
    now
        Seconds since the start, where the policy has a span.
    """

    policy: Policy
    seen: int = field(default=0, init=False)
    now: float = field(default=0.0, init=False)
    _prices: Floats = field(init=False, repr=False)
    _left: Floats = field(init=False, repr=False)
    _spent: Floats = field(init=False, repr=False)
    _up: Bools = field(init=False, repr=False)
    _columns: tuple[str, ...] = field(init=False, repr=False)
    # What a query is priced with, from here on; pool K is nobody's.
    _of: Ints = field(init=False, repr=False)  # (F,): row of the values a family reads
    _sign: Floats = field(init=False, repr=False)  # (F, 1)
    _pool: Ints = field(init=False, repr=False)  # (F, m)
    _sum: Floats = field(init=False, repr=False)  # (c + 1, F)
    _base: Floats = field(init=False, repr=False)  # (c + 1, 1)
    _weight: Floats = field(init=False, repr=False)  # (c + 1, m)
    _values: Floats = field(init=False, repr=False)  # (c + 1, m)
    _gain: Floats = field(init=False, repr=False)  # (K + 1,)
    _least: Floats = field(init=False, repr=False)  # (K + 1,)
    _target: Floats = field(init=False, repr=False)  # (K + 1,), of the queue
    _slack: Floats = field(init=False, repr=False)  # (K + 1,)
    _size: Floats = field(init=False, repr=False)  # (K + 1,)
    _strict: Ints = field(init=False, repr=False)
    _loose: Ints = field(init=False, repr=False)
    _owing: tuple[tuple[slice, Ints], ...] = field(init=False, repr=False)
    _starts: Ints = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Lay everything out so that a decision is a handful of operations on small arrays."""
        policy = self.policy
        accounts, columns, m = policy.accounts, policy.columns, policy.n_models
        sizes = [account.limit.size for account in accounts]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.intp)]).astype(np.intp)
        k, c = int(self._starts[-1]), len(columns)

        def joined(name: str, last: float) -> Floats:
            return np.concatenate([*(getattr(a, name) for a in accounts), [last]])

        self._left, self._spent = joined("limit", math.inf), np.zeros(k + 1)
        self._prices = joined("price", 0.0)
        self._gain = joined("gain", 0.0) * (policy.step / math.sqrt(policy.horizon))
        self._least = joined("least", 0.0)
        self._target = joined("limit", 0.0) / policy.horizon
        self._slack = _TOLERANCE * np.abs(joined("limit", 0.0))
        self._size = np.maximum(np.abs(self._target), 1e-300)
        if not policy.reserve:
            # A floor that nothing is held back for stops no query.
            self._least[:] = 0.0
            floors = np.repeat([account.at_least for account in accounts], sizes).astype(bool)
            self._slack[:-1][floors] = math.inf
        self._up = np.ones(m, bool)
        self._columns = columns
        index = {name: row for row, name in enumerate(columns)}
        self._of = np.array([index[a.column] if a.column else c for a in accounts], np.intp)
        self._sign = np.array([[a.sign] for a in accounts]).reshape(-1, 1)
        self._pool = np.array(
            [
                np.where(a.pool < 0, k, a.pool + start)
                for a, start in zip(accounts, self._starts[:-1].tolist(), strict=True)
            ],
            np.intp,
        ).reshape(len(accounts), m)
        self._sum = np.zeros((c + 1, len(accounts)))
        self._sum[self._of, np.arange(len(accounts))] = self._sign[:, 0]
        self._base = np.array([[policy.terms.get(name, 0.0)] for name in columns] + [[0.0]])
        self._values = np.ones((c + 1, m))
        self._strict = np.flatnonzero([a.strict for a in accounts])
        self._loose = np.flatnonzero([not a.strict and not a.owed for a in accounts])
        self._owing = tuple(
            (slice(int(self._starts[f]), int(self._starts[f + 1])), self._pool[f])
            for f, account in enumerate(accounts)
            if account.owed and policy.reserve
        )
        self._reprice()

    @property
    def to_come(self) -> float:
        """Queries still to come, the next one among them: at least 1."""
        policy = self.policy
        if policy.span is None:
            return max(policy.horizon - self.seen, 1.0)
        # The plan counts as one horizon seen before this one.
        rate = (policy.horizon + self.seen) / (policy.span + self.now)
        return max(rate * (policy.span - self.now), 1.0)

    @property
    def prices(self) -> Prices:
        """Prices now, one array per family of limits."""
        return Prices(tuple(self._families(self._prices)))

    @property
    def available(self) -> tuple[str, ...]:
        """Models that are up."""
        return tuple(n for n, up in zip(self.policy.models, self._up.tolist(), strict=True) if up)

    def residuals(self) -> tuple[Floats, ...]:
        """What is left of every limit, signed as in `Account`, one array per family."""
        return tuple(self._families(self._left))

    def spent(self) -> tuple[Floats, ...]:
        """What was used of every limit, signed as in `Account`, one array per family."""
        return tuple(self._families(self._spent))

    def route(
        self,
        told: Mapping[str, Any] | Floats,
        *,
        allowed: Bools | None = None,
        now: float | None = None,
    ) -> Decision:
        """Route one query, and charge it to the limits as predicted.

        Parameters
        ----------
        told
            The query's predictions: column to ``(m,)`` values, or one array ``(c, m)`` in the
            order of ``policy.columns``.
        allowed
            Models that may answer it, ``(m,)``; all if not given.
        now
            Seconds since the start, where the policy has a span; it never runs backwards.

        Returns
        -------
        Decision
            Give it to `observe` with what really happened.

        Raises
        ------
        PolicyError
            If a column is missing or not finite, or no model can take the query.
        """
        self._read(told)
        return self._routed(allowed, now)

    def route_batch(
        self,
        predicted: Outcomes,
        *,
        allowed: Bools | None = None,
        now: float | None = None,
    ) -> tuple[Decision, ...]:
        """Route some queries one after another, as they stand in a table.

        Raises
        ------
        PolicyError
            If the table is of other models or lacks a column, or no model can take a query.
        """
        grids, mask = self._grids(predicted, allowed)
        decisions = []
        for i in range(predicted.n_queries):
            self._values[:-1] = [grid[i if grid.shape[0] > 1 else 0] for grid in grids]
            one = None if mask is None else mask[i]
            decisions.append(self._routed(one, now))
        return tuple(decisions)

    def optimize_batch(
        self,
        predicted: Outcomes,
        *,
        concurrent: float | Mapping[str, float] | None = None,
        allowed: Bools | None = None,
        now: float | None = None,
        solver: str = "lagrangian",
        options: SolveOptions = _OPTIONS,
    ) -> tuple[Decision, ...]:
        """Route some queries together by a solver: the streaming setting of OmniRouter [1]_.

        The batch may use what is left of the models' capacities, and of limits on the whole
        stream its share of what is still to come. Prices become those of the batch. Where no
        routing keeps all of this, its queries are routed one after another.

        Parameters
        ----------
        predicted, allowed, now
            As in `route_batch`.
        concurrent
            Requests that each model takes of this batch at most: one number, or one per model.
        solver, options
            As in `dualroute.solve`.

        References
        ----------
        .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576; a reconstruction.
        """
        self._tick(now)
        grids, mask = self._grids(predicted, allowed)
        problem = self._batch_problem(grids, predicted.n_queries, concurrent, mask)
        if problem is None:
            return self.route_batch(predicted, allowed=allowed, now=now)
        found = registry.create("solvers", solver).solve(problem, options)
        if found.assignment is None or not problem.keeps_limits(found.assignment):
            return self.route_batch(predicted, allowed=allowed, now=now)
        decisions = []
        for i, model in enumerate(found.assignment.tolist()):
            self._values[:-1] = [grid[i if grid.shape[0] > 1 else 0] for grid in grids]
            use = self._sign * self._values[self._of]
            decisions.append(self._booked(model, use, stopped=False, learn=False))
        if found.prices is not None:
            self._prices[:-1] = found.prices.vector[: self._prices.size - 1]
            self._reprice()
        return tuple(decisions)

    def observe(self, decision: Decision, seen: Mapping[str, float]) -> None:
        """Correct what a query was charged, as soon as it is known what it took; once for each.

        Parameters
        ----------
        decision
            As `route` gave it.
        seen
            Column to the value observed of the model chosen; a column that is not there stays as
            predicted.

        Raises
        ------
        PolicyError
            If a value is no finite number.
        """
        amends, pools = [], []
        for account, pool, booked in zip(
            self.policy.accounts, decision.pools.tolist(), decision.booked.tolist(), strict=True
        ):
            if account.column in seen and pool < self._left.size - 1:
                value = float(seen[account.column])
                if not math.isfinite(value):
                    raise PolicyError(f"column {account.column!r}: observed {value}; give a number")
                amends.append(account.sign * value - booked)
                pools.append(pool)
        if amends:
            self._charge(np.array(pools, np.intp), np.array(amends))

    def down(self, model: str) -> None:
        """Send nothing to a model until it is up again."""
        self._up[self._model(model)] = False

    def up(self, model: str) -> None:
        """Send queries to a model again."""
        self._up[self._model(model)] = True

    def set_residual(self, name: str, amount: float | Mapping[str, float]) -> None:
        """Set what is left of a limit, in the user's sense, as some other count has it.

        Parameters
        ----------
        name
            Of the limit, as in the plan: ``"capacity"``, ``"budget"``.
        amount
            One number for all of its pools, or one for each pool named (a model). Of a floor:
            what is still owed.

        Raises
        ------
        PolicyError
            If there is no such limit or pool, or the amount is no finite number.
        """
        for pool, value, sign in self._amounts(name, amount):
            self._left[pool] = sign * value

    def spend(self, name: str, amount: float | Mapping[str, float]) -> None:
        """Charge a limit with use from elsewhere, in the user's sense; as in `set_residual`."""
        for pool, value, sign in self._amounts(name, amount):
            self._left[pool] -= sign * value
            self._spent[pool] += sign * value

    def remaining(self) -> Policy:
        """The policy of what is left: prices now, residual limits, queries still to come.

        Written to a file and started again, it goes on where this stream is; queues then aim at
        what is left, and models that are down must be taken down again.
        """
        policy = self.policy
        return replace(
            policy,
            accounts=tuple(
                replace(account, limit=left, price=price)
                for account, left, price in zip(
                    policy.accounts, self.residuals(), self._families(self._prices), strict=True
                )
            ),
            horizon=self.to_come,
            span=None if policy.span is None else max(policy.span - self.now, 1e-9),
            # The root of the horizon is that of the whole stream.
            step=policy.step * math.sqrt(self.to_come / policy.horizon),
        )

    def to_dict(self) -> dict[str, Any]:
        """Where the stream stands, as plain values for JSON, in the user's sense."""
        lines = []
        for account, left, used, price in zip(
            self.policy.accounts,
            self.residuals(),
            self.spent(),
            self._families(self._prices),
            strict=True,
        ):
            lines += [
                {
                    "name": account.name,
                    "pool": account.labels[r] if account.labels else "",
                    "relation": ">=" if account.at_least else "<=",
                    "limit": account.sign * float(account.limit[r]) + 0.0,
                    "use": account.sign * float(used[r]) + 0.0,
                    "left": account.sign * float(left[r]) + 0.0,
                    "price": float(price[r]),
                    "unit": account.unit,
                }
                for r in range(account.limit.size)
            ]
        down = [name for name in self.policy.models if name not in self.available]
        return {"seen": self.seen, "to_come": self.to_come, "down": down, "limits": lines}

    # What the public methods are made of.

    def _read(self, told: Mapping[str, Any] | Floats) -> None:
        values = self._values
        try:
            if isinstance(told, Mapping):
                for row, name in enumerate(self._columns):
                    values[row] = told[name]
            elif np.shape(told) == (len(self._columns), values.shape[1]):
                values[:-1] = told
            else:
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise PolicyError(self._misfit(told)) from None
        # One sum, as it is finite where all are; the search for the culprit can take its time.
        if not math.isfinite(np.add.reduce(values, axis=None)) and not np.isfinite(values).all():
            row, model = (int(x) for x in np.argwhere(~np.isfinite(values))[0])
            raise PolicyError(
                f"column {self._columns[row]!r}, model {self.policy.models[model]!r}: "
                f"predicted {values[row, model]}; give a finite number"
            )

    def _misfit(self, told: Mapping[str, Any] | Floats) -> str:
        """What is wrong with predictions that cannot be read."""
        read, m = ", ".join(self._columns), self.policy.n_models
        if not isinstance(told, Mapping):
            return (
                f"predictions have shape {np.shape(told)}; give {len(self._columns)} columns "
                f"({read}) x {m} models"
            )
        for name in self._columns:
            if name not in told:
                known = ", ".join(told) or "nothing"
                return f"no prediction of column {name!r}; given {known}, the policy reads {read}"
        name = next(
            (name for name in self._columns if np.shape(told[name]) not in ((), (1,), (m,))),
            self._columns[0],
        )
        return (
            f"column {name!r} has shape {np.shape(told[name])}; give one number for each of the "
            f"{m} models"
        )

    def _grids(
        self, predicted: Outcomes, allowed: Bools | None
    ) -> tuple[list[Floats], Bools | None]:
        """The columns read of a table, and the pairs allowed as ``(n, m)``."""
        if predicted.models != self.policy.models:
            strange = sorted(set(predicted.models) ^ set(self.policy.models)) or ["their order"]
            raise PolicyError(
                f"the table is of other models than the policy ({', '.join(strange[:5])})"
            )
        if not all(name in predicted.columns for name in self._columns):
            raise PolicyError(self._misfit(predicted.columns))
        m = self.policy.n_models
        grids = [np.broadcast_to(g, (g.shape[0], m)) for g in map(predicted.column, self._columns)]
        if allowed is None:
            return grids, None
        shape = (predicted.n_queries, m)
        try:
            return grids, np.broadcast_to(np.asarray(allowed, bool), shape)
        except ValueError:
            raise PolicyError(
                f"allowed has shape {np.shape(allowed)}, which does not fit {shape}"
            ) from None

    def _tick(self, now: float | None) -> None:
        if now is not None:
            if self.policy.span is None:
                raise PolicyError("now is given, and the policy counts queries; make it with span=")
            self.now = max(self.now, float(now))

    def _open(self, allowed: Bools | None) -> Bools:
        """Models that are up and allowed, ``(m,)``."""
        if allowed is None:
            if self.policy.restricted:
                raise PolicyError(
                    "the plan forbids some models to some queries; give allowed= with each query"
                )
            return self._up
        if np.shape(allowed) != self._up.shape:
            raise PolicyError(
                f"allowed has shape {np.shape(allowed)}; give one truth value for each of the "
                f"{self._up.size} models"
            )
        return np.logical_and(self._up, allowed)

    def _routed(self, allowed: Bools | None, now: float | None) -> Decision:
        """Route the query that `_values` holds."""
        self._tick(now)
        # Reductions of ufuncs: the methods of arrays take twice as long on so few numbers.
        score = np.add.reduce(self._weight * self._values)
        use = self._sign * self._values[self._of]
        later = self.to_come - 1.0
        room = self._left - self._least * later + self._slack
        beyond = use - room[self._pool]
        fits = beyond <= 0.0
        can = self._open(allowed)
        hard = np.logical_and(can, np.logical_and.reduce(fits[self._strict]))
        if not hard.any():
            raise PolicyError(self._full(can))
        wanted = hard
        for part, pools in self._owing:
            owed = np.ceil(-self._left[part] - self._slack[part])  # whole requests
            if owed[owed > 0].sum() > later:
                owing = np.logical_and(wanted, -self._left[pools] > self._slack[pools])
                wanted = owing if owing.any() else wanted
        soft = np.logical_and(wanted, np.logical_and.reduce(fits[self._loose]))
        if soft.any():
            model = int(np.where(soft, score, math.inf).argmin())
        else:
            # Nothing keeps all limits: what goes least beyond one, in its queries' worth.
            size = self._size[self._pool[self._loose]]
            worst = (beyond[self._loose] / size).max(axis=0, initial=-math.inf)
            model = int(np.where(wanted, worst, math.inf).argmin())
        return self._booked(model, use, stopped=bool(score.min() < score[model]), learn=True)

    def _full(self, can: Bools) -> str:
        models = self.policy.models
        down = [name for name, up in zip(models, self._up.tolist(), strict=True) if not up]
        words = f"; down: {', '.join(down)}" if down else ""
        full = [name for name, one in zip(models, can.tolist(), strict=True) if one]
        return (
            f"no model can take query {self.seen}: "
            + (f"used up are {', '.join(full[:5])}" if full else "none is up and allowed")
            + words
            + "; widen a capacity, set_residual, or bring a model up"
        )

    def _booked(self, model: int, use: Floats, *, stopped: bool, learn: bool) -> Decision:
        pools, booked = self._pool[:, model], use[:, model]
        policy = self.policy
        if learn and policy.update == "mirror":
            self._prices[:-1] -= self._gain[:-1] * (self._left[:-1] / self.to_come)
        elif learn and policy.update == "queue":
            self._prices -= self._gain * self._target
        self.seen += 1
        self._charge(pools, booked, learn=learn)
        return Decision(model, policy.models[model], stopped, pools, booked)

    def _charge(self, pools: Ints, use: Floats, *, learn: bool = True) -> None:
        self._left[pools] -= use
        self._spent[pools] += use
        if learn and self.policy.update != "fixed":
            self._prices[pools] += self._gain[pools] * use
            np.maximum(self._prices, 0.0, out=self._prices)
            self._reprice()

    def _reprice(self) -> None:
        self._prices[-1] = 0.0
        self._left[-1] = math.inf
        self._weight = self._base + self._sum @ self._prices[self._pool]

    def _families(self, vector: Floats) -> list[Floats]:
        return [vector[a:b].copy() for a, b in pairwise(self._starts.tolist())]

    def _model(self, name: str) -> int:
        if name not in self.policy.models:
            raise PolicyError(f"no model {name!r}; the policy has {', '.join(self.policy.models)}")
        return self.policy.models.index(name)

    def _amounts(
        self, name: str, amount: float | Mapping[str, float]
    ) -> list[tuple[int, float, float]]:
        """Pool, value and sign of amounts given by name."""
        names = [account.name for account in self.policy.accounts]
        if name not in names:
            raise PolicyError(f"no limit {name!r}; the policy has {', '.join(names) or 'none'}")
        account = self.policy.accounts[names.index(name)]
        start = int(self._starts[names.index(name)])
        if isinstance(amount, Mapping):
            strange = [pool for pool in amount if pool not in account.labels]
            if strange:
                known = ", ".join(account.labels) or "one number for all"
                raise PolicyError(f"limit {name!r} has no {strange[0]!r}; it has {known}")
            pairs = [(account.labels.index(pool), value) for pool, value in amount.items()]
        else:
            pairs = [(r, amount) for r in range(account.limit.size)]
        if not all(math.isfinite(value) for _, value in pairs):
            raise PolicyError(f"limit {name!r}: found {amount}; give finite numbers")
        return [(start + r, float(value), account.sign) for r, value in pairs]

    def _batch_problem(
        self,
        grids: list[Floats],
        n: int,
        concurrent: float | Mapping[str, float] | None,
        allowed: Bools | None,
    ) -> RoutingProblem | None:
        """The integer program of a batch; None where a query has no model left at all."""
        policy, m = self.policy, self.policy.n_models
        if allowed is None and policy.restricted:
            self._open(None)
        named = dict(zip(policy.columns, grids, strict=True))
        objective = np.zeros((n, m))
        for column, weight in policy.terms.items():
            objective += weight * named[column]
        can = np.broadcast_to(self._up, (n, m)) if allowed is None else self._up & allowed
        objective = np.where(can, objective, math.inf)
        share = min(1.0, n / self.to_come)
        rows = []
        for account, left in zip(policy.accounts, self.residuals(), strict=True):
            usage = named[account.column] if account.column else np.ones((1, 1))
            limit = np.maximum(left, 0.0) if account.strict else left * share
            pool = account.pool[None, :].astype(np.int32)
            rows.append(Rows(account.name, usage, limit, pool, sign=account.sign))
        if concurrent is not None:
            most = np.full(m, math.inf)
            if isinstance(concurrent, Mapping):
                for name, value in concurrent.items():
                    most[self._model(name)] = float(value)
            else:
                most[:] = float(concurrent)
            each = np.arange(m, dtype=np.int32)[None, :]
            rows.append(Rows("concurrent", np.ones((1, 1)), np.minimum(most, n), each))
        try:
            return RoutingProblem(objective, tuple(rows), policy.models, policy.maximize)
        except ProblemError:
            return None


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
