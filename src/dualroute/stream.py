"""A policy at work on one stream: queries routed, limits charged, prices moved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dualroute import registry
from dualroute.arrays import Bools, Floats, Ints
from dualroute.errors import PolicyError, ProblemError
from dualroute.outcomes import Outcomes
from dualroute.problem import Prices, RoutingProblem, Rows
from dualroute.solver import SolveOptions

if TYPE_CHECKING:
    from dualroute.policy import Policy

_TOLERANCE = 1e-9
_LARGEST = 1e100  # of a prediction
_ENOUGH = 1e300  # what is left for those whom no limit concerns; finite, as 0 x inf is not
_OPTIONS = SolveOptions(mip_rel_gap=1e-3, time_limit=5.0)


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
    pools: tuple[int, ...]
    booked: tuple[float, ...]


@dataclass(slots=True, eq=False)
class Stream:
    """A policy at work: its prices now, what is left, and what was seen.

    Not safe across threads: hold a lock around every call. A call that raises a `PolicyError`
    has routed and charged nothing.

    Attributes
    ----------
    policy
        The rule and its parameters, which stay.
    seen
        Queries routed.
    now
        Seconds since the start, where the policy has a span.
    """

    policy: "Policy"
    seen: int = field(default=0, init=False)
    now: float = field(default=0.0, init=False)
    _prices: Floats = field(init=False, repr=False)
    _left: Floats = field(init=False, repr=False)
    _spent: Floats = field(init=False, repr=False)
    _up: Bools = field(init=False, repr=False)
    _columns: tuple[str, ...] = field(init=False, repr=False)
    # What a query is priced with, from here on; pool K is nobody's.
    _of: Ints = field(init=False, repr=False)  # (F,): row of the values a family reads
    _reads: list[tuple[int, float]] = field(init=False, repr=False)  # the same, with the sign
    _pools: list[tuple[int, ...]] = field(init=False, repr=False)  # of every model
    _sign: Floats = field(init=False, repr=False)  # (F, 1)
    _pool: Ints = field(init=False, repr=False)  # (F, m)
    _sum: Floats = field(init=False, repr=False)  # (c + 1, F)
    _base: Floats = field(init=False, repr=False)  # (c + 1, 1)
    _weight: Floats = field(init=False, repr=False)  # (c + 1, m)
    _values: Floats = field(init=False, repr=False)  # (c + 1, m)
    _flat: Floats = field(init=False, repr=False)  # the same, in one line
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

        self._left, self._spent = joined("limit", _ENOUGH), np.zeros(k + 1)
        self._prices = joined("price", 0.0)
        self._gain = joined("gain", 0.0) * (policy.step / math.sqrt(policy.horizon))
        self._least = joined("least", 0.0)
        self._target = joined("limit", 0.0) / policy.horizon
        self._slack = _TOLERANCE * np.abs(joined("limit", 0.0))
        # What a query takes: the root of the gain has one over it as unit, for any limit left.
        self._size = np.maximum(np.abs(self._target), 1e-300)
        known = joined("gain", 0.0) > 0
        self._size[known] = 1.0 / np.sqrt(joined("gain", 0.0)[known])
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
        self._reads = list(zip(self._of.tolist(), self._sign[:, 0].tolist(), strict=True))
        self._pool = np.array(
            [
                np.where(a.pool < 0, k, a.pool + start)
                for a, start in zip(accounts, self._starts[:-1].tolist(), strict=True)
            ],
            np.intp,
        ).reshape(len(accounts), m)
        self._pools = [tuple(pools) for pools in self._pool.T.tolist()]
        self._sum = np.zeros((c + 1, len(accounts)))
        self._sum[self._of, np.arange(len(accounts))] = self._sign[:, 0]
        self._base = np.array([[policy.terms.get(name, 0.0)] for name in columns] + [[0.0]])
        self._values = np.ones((c + 1, m))
        self._flat = self._values.reshape(-1)
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
            If the table is of other models or lacks a column, or no model can take a query: then
            none of them is routed.
        """
        grids, mask = self._grids(predicted, allowed)
        before = self.seen, self._left.copy(), self._spent.copy(), self._prices.copy()
        decisions = []
        try:
            for i in range(predicted.n_queries):
                for row, grid in enumerate(grids):
                    self._values[row] = grid[i if grid.shape[0] > 1 else 0]
                decisions.append(self._routed(None if mask is None else mask[i], now))
        except PolicyError:
            self.seen, self._left, self._spent, self._prices = before
            self._reprice()
            raise
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
        grids, mask = self._grids(predicted, allowed)
        most = self._concurrent(concurrent)
        self._tick(now)
        problem = self._batch_problem(grids, predicted.n_queries, most, mask)
        if problem is None:
            return self.route_batch(predicted, allowed=allowed, now=now)
        found = registry.create("solvers", solver).solve(problem, options)
        if found.assignment is None or not problem.keeps_limits(found.assignment):
            return self.route_batch(predicted, allowed=allowed, now=now)
        decisions = []
        for i, model in enumerate(found.assignment.tolist()):
            for row, grid in enumerate(grids):
                self._values[row] = grid[i if grid.shape[0] > 1 else 0]
            decisions.append(self._booked(model, self._taken(model), stopped=False, learn=False))
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
        amends = [0.0] * len(decision.pools)
        for k, account in enumerate(self.policy.accounts):
            if account.column in seen and decision.pools[k] < self._left.size - 1:
                value = _number(seen[account.column])
                if value is None:
                    raise PolicyError(
                        f"column {account.column!r}: observed {seen[account.column]!r}; give a "
                        "finite number"
                    )
                amends[k] = account.sign * value - decision.booked[k]
        self._charge(decision.pools, amends, learn=True)

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

    def remaining(self) -> "Policy":
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
        # A comparison with NaN is false.
        if not np.maximum.reduce(np.abs(self._flat)) <= _LARGEST:
            row, model = (int(x) for x in np.argwhere(~(np.abs(values) <= _LARGEST))[0])
            raise PolicyError(
                f"column {self._columns[row]!r}, model {self.policy.models[model]!r}: "
                f"predicted {values[row, model]}; give a finite number, of at most {_LARGEST:g}"
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
            seconds = _number(now)
            if seconds is None:
                raise PolicyError(f"now is {now!r}; give seconds since the start, a finite number")
            self.now = max(self.now, seconds)

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
        can = self._open(allowed)
        stopped = False
        self._tick(now)
        # Reductions of ufuncs: the methods of arrays take twice as long on so few numbers.
        score = np.add.reduce(self._weight * self._values)
        later = self.to_come - 1.0
        best = model = int(score.argmin())
        taken = self._taken(model)
        # Mostly the cheapest model can take it, and only its own limits need a look.
        if self._owing or not can[model] or not self._fits(self._pools[model], taken, later):
            model = self._next_best(score, can, later)
            if model < 0:
                raise PolicyError(self._full(can))
            taken, stopped = self._taken(model), bool(score[best] < score[model])
        return self._booked(model, taken, stopped=stopped, learn=True)

    def _taken(self, model: int) -> list[float]:
        """What the query that `_values` holds takes of every family, of one model's pool."""
        values = self._values[:, model].tolist()
        return [sign * values[row] for row, sign in self._reads]

    def _fits(self, pools: tuple[int, ...], taken: list[float], later: float) -> bool:
        """Whether so much is left of some pools, a reserve for each query still to come aside."""
        left, least, slack = self._left, self._least, self._slack
        for pool, use in zip(pools, taken, strict=True):
            if use > left[pool] - least[pool] * later + slack[pool]:
                return False
        return True

    def _next_best(self, score: Floats, can: Bools, later: float) -> int:
        """The cheapest model that keeps the limits, or goes least beyond; -1 if none is left."""
        use = self._sign * self._values[self._of]
        room = self._left - self._least * later + self._slack
        beyond = use - room[self._pool]
        fits = beyond <= 0.0
        wanted = np.logical_and(can, np.logical_and.reduce(fits[self._strict]))
        if not wanted.any():
            return -1
        for part, pools in self._owing:
            owed = np.ceil(-self._left[part] - self._slack[part])  # whole requests
            if owed[owed > 0].sum() > later:
                owing = np.logical_and(wanted, -self._left[pools] > self._slack[pools])
                wanted = owing if owing.any() else wanted
        soft = np.logical_and(wanted, np.logical_and.reduce(fits[self._loose]))
        if soft.any():
            return int(np.where(soft, score, math.inf).argmin())
        # Nothing keeps all limits: what goes least beyond one, in its queries' worth.
        size = self._size[self._pool[self._loose]]
        worst = (beyond[self._loose] / size).max(axis=0, initial=-math.inf)
        return int(np.where(wanted, worst, math.inf).argmin())

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

    def _booked(self, model: int, taken: list[float], *, stopped: bool, learn: bool) -> Decision:
        policy, pools = self.policy, self._pools[model]
        if learn and policy.update == "mirror":
            self._prices -= self._gain * (self._left / self.to_come)
        elif learn and policy.update == "queue":
            self._prices -= self._gain * self._target
        self.seen += 1
        self._charge(pools, taken, learn=learn)
        return Decision(model, policy.models[model], stopped, pools, tuple(taken))

    def _charge(self, pools: tuple[int, ...], taken: list[float], *, learn: bool) -> None:
        follow = learn and self.policy.update != "fixed"
        for pool, use in zip(pools, taken, strict=True):
            self._left[pool] -= use
            self._spent[pool] += use
            if follow:
                self._prices[pool] += self._gain[pool] * use
        if follow:
            np.maximum(self._prices, 0.0, out=self._prices)
            self._reprice()

    def _reprice(self) -> None:
        self._weight = self._base + self._sum.dot(self._prices[self._pool])

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
        values = [_number(value) for _, value in pairs]
        if None in values:
            raise PolicyError(f"limit {name!r}: found {amount!r}; give finite numbers")
        return [
            (start + r, value, account.sign)
            for (r, _), value in zip(pairs, values, strict=True)
            if value is not None
        ]

    def _concurrent(self, asked: float | Mapping[str, float] | None) -> Floats | None:
        """Requests of a batch that each model takes, ``(m,)``; None for any number."""
        if asked is None:
            return None
        most = np.full(self.policy.n_models, math.inf)
        if isinstance(asked, Mapping):
            for name, value in asked.items():
                most[self._model(name)] = value
        else:
            most[:] = asked
        if not (most >= 0).all():
            raise PolicyError(f"concurrent is {asked}; give numbers of requests, 0 or more")
        return most

    def _batch_problem(
        self, grids: list[Floats], n: int, concurrent: Floats | None, allowed: Bools | None
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
            each = np.arange(m, dtype=np.int32)[None, :]
            rows.append(Rows("concurrent", np.ones((1, 1)), np.minimum(concurrent, n), each))
        try:
            return RoutingProblem(objective, tuple(rows), policy.models, policy.maximize)
        except ProblemError:
            return None


def _number(value: Any) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
