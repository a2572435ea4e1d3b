"""Rules that route a stream one query at a time: the policy, and baselines of the literature.

The baselines are reconstructions in one form, on the same predictions and with the same hard stops.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from dualroute.arrays import Bools, Floats, Ints
from dualroute.errors import OptionError
from dualroute.policy import Policy
from dualroute.stream import Decision, Stream


@runtime_checkable
class Router(Protocol):
    """A rule at work on one stream: `Stream`, or what does the same."""

    def route(self, told: Floats, *, allowed: Bools | None = None) -> Decision:
        """Where a query goes that is told by ``(c, m)`` predictions, as `Policy.columns` orders.

        Raises
        ------
        PolicyError
            If no model can take it.
        """
        ...

    def observe(self, decision: Decision, seen: Mapping[str, float]) -> None:
        """What the query really took of the model chosen, by column."""
        ...

    def down(self, model: str) -> None:
        """A model is out."""
        ...

    def up(self, model: str) -> None:
        """It is back."""
        ...


@runtime_checkable
class Contender(Protocol):
    """A rule that is yet to meet a stream. What it may know is the policy of a plan before it."""

    def start(self, policy: Policy, seed: int) -> Router:
        """The rule at work, at the beginning of the stream."""
        ...


@dataclass(frozen=True, slots=True)
class Mirror:
    """Dual mirror descent from the plan's prices: the policy of this package.

    Attributes
    ----------
    step, reserve
        As in `Policy`; None keeps the policy's own.
    """

    step: float | None = None
    reserve: bool | None = None

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream of the policy."""
        step = policy.step if self.step is None else self.step
        reserve = policy.reserve if self.reserve is None else self.reserve
        return replace(policy, update="mirror", step=step, reserve=reserve).start()


@dataclass(frozen=True, slots=True)
class VirtualQueue:
    """MESS+ [1]_, a reconstruction: a virtual queue per limit prices it, from zero on.

    The drift-plus-penalty rule of Lyapunov optimization, here with every limit in a queue and
    with the hard stops at capacities and spent budgets; it knows no plan and holds nothing back.

    Attributes
    ----------
    step
        One over the weight ``V`` of the objective.

    References
    ----------
    .. [1] Woisetschläger et al. (2025), MESS+: dynamically learned inference-time LLM routing in
       model zoos with service level guarantees, arXiv 2505.19947.
    """

    step: float = 1.0

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream with queues for prices."""
        empty = tuple(replace(a, price=np.zeros(a.limit.size)) for a in policy.accounts)
        return replace(
            policy, accounts=empty, update="queue", step=self.step, reserve=False
        ).start()


@dataclass(frozen=True, slots=True)
class FixedPrices:
    """PORT [1]_, a reconstruction: dual prices learned once before the stream, never updated.

    References
    ----------
    .. [1] Wu & Silwal (2025), Efficient training-free online routing for high-volume multi-LLM
       serving, arXiv 2509.02718.
    """

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream at the plan's prices."""
        return replace(policy, update="fixed", reserve=False).start()


@dataclass(frozen=True, slots=True)
class FixedLambda:
    """The lambda rule as a stream, a reconstruction: capacities have no price, they only spill.

    The limits on the whole stream keep the prices of a plan without the capacities where the
    simulation has made one, and of the plan otherwise.
    """

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream at fixed prices, none of them on a capacity."""
        accounts = tuple(
            replace(account, price=np.zeros(account.limit.size)) if account.strict else account
            for account in policy.accounts
        )
        return replace(policy, accounts=accounts, update="fixed", reserve=False).start()


@dataclass(frozen=True, slots=True)
class LinUcb:
    """MetaLLM [1]_ as a stream, a reconstruction: LinUCB on the predictions of each model.

    One linear model per language model, of what a query is worth there at the plan's prices, in a
    constant and the columns the policy reads, each over its mean so far; it learns from the
    outcome of the model chosen alone.

    Attributes
    ----------
    exploration
        Standard deviations added to the expected worth, in units of its spread.

    References
    ----------
    .. [1] Nguyen et al. (2024), MetaLLM, arXiv 2407.10834.
    """

    exploration: float = 1.5

    def start(self, policy: Policy, seed: int) -> "_Bandit":
        """A bandit with nothing learned."""
        return _Bandit(policy, self.exploration)


@dataclass(slots=True, eq=False)
class _Bandit:
    """LinUCB's choice, with the hard stops of a stream."""

    policy: Policy
    exploration: float
    _stream: Stream = field(init=False)
    _inverse: Floats = field(init=False)  # (m, d, d)
    _response: Floats = field(init=False)  # (m, d)
    _scale: Floats = field(init=False)  # (c, 1)
    _met: int = field(default=0, init=False)
    _paid: list[float] = field(init=False)  # number, sum and sum of squares
    _rows: Ints = field(init=False)
    _features: Floats = field(init=False)

    def __post_init__(self) -> None:
        """A stream whose only term is the bandit's own score, at no prices."""
        policy, c = self.policy, len(self.policy.columns)
        free = tuple(replace(a, price=np.zeros(a.limit.size)) for a in policy.accounts)
        inner = replace(policy, terms={_SCORE: 1.0}, accounts=free, update="fixed", reserve=False)
        self._stream = inner.start()
        index = {name: row for row, name in enumerate(policy.columns)}
        self._rows = np.array([index[name] for name in inner.columns if name != _SCORE], np.intp)
        self._inverse = np.tile(np.eye(c + 1), (policy.n_models, 1, 1))
        self._response = np.zeros((policy.n_models, c + 1))
        self._scale = np.zeros((c, 1))
        self._paid = [0.0, 0.0, 0.0]

    def route(self, told: Floats, *, allowed: Bools | None = None) -> Decision:
        """The model of most optimistic worth among those that can take the query."""
        self._met += 1
        self._scale += (np.abs(told).mean(axis=1, keepdims=True) - self._scale) / self._met
        x = np.ones((told.shape[1], len(told) + 1))
        x[:, 1:] = (told / np.where(self._scale > 0, self._scale, 1.0)).T
        along = np.einsum("jde,je->jd", self._inverse, x)
        width = np.sqrt(np.maximum((along * x).sum(axis=1), 0.0))
        worth = (along * self._response).sum(axis=1)
        self._features = x
        score = -(worth + self.exploration * self._spread() * width)
        return self._stream.route(
            np.concatenate([score[None, :], told[self._rows]]), allowed=allowed
        )

    def observe(self, decision: Decision, seen: Mapping[str, float]) -> None:
        """Learn what the query was worth at the plan's prices."""
        self._stream.observe(decision, seen)
        policy, j = self.policy, decision.model
        paid = sum(weight * seen[name] for name, weight in policy.terms.items())
        for account in policy.accounts:
            pool = int(account.pool[j])
            if pool >= 0:
                use = account.sign * (seen[account.column] if account.column else 1.0)
                paid += float(account.price[pool]) * use
        self._paid = [
            old + new for old, new in zip(self._paid, (1.0, paid, paid * paid), strict=True)
        ]
        x = self._features[j]
        along = self._inverse[j] @ x
        self._inverse[j] -= np.outer(along, along) / (1.0 + x @ along)
        self._response[j] -= paid * x

    def _spread(self) -> float:
        """Standard deviation of what queries were worth so far; 1 before there are two."""
        number, total, squares = self._paid
        if number < 2:
            return 1.0
        return math.sqrt(max(squares / number - (total / number) ** 2, 0.0))

    def down(self, model: str) -> None:
        """A model is out."""
        self._stream.down(model)

    def up(self, model: str) -> None:
        """It is back."""
        self._stream.up(model)


@dataclass(frozen=True, slots=True)
class Batches:
    """OmniRouter [1]_ on a stream, a reconstruction: some queries at a time, by the optimizer.

    Each batch waits until it is full, and is solved under what is left of the capacities, and
    its share of what is left of the other limits.

    Attributes
    ----------
    size
        Queries of a batch.
    concurrent
        Requests each model takes of one batch, in even shares of it; None for any number.

    References
    ----------
    .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576.
    """

    size: int = 50
    concurrent: float | None = None

    def start(self, policy: Policy, seed: int) -> Stream:
        """A stream whose batches are optimized."""
        return replace(policy, update="fixed").start()


CONTENDERS: dict[str, type[Any]] = {
    "mirror": Mirror,
    "queue": VirtualQueue,
    "fixed": FixedPrices,
    "lambda": FixedLambda,
    "linucb": LinUcb,
    "batches": Batches,
}
_SCORE = "optimistic worth"


def named(
    wanted: Sequence[str | Contender] | Mapping[str, Contender],
) -> dict[str, Contender]:
    """Rules by what reports call them; two of one class are told apart by a number."""
    if isinstance(wanted, Mapping):
        return dict(wanted)
    found: dict[str, Contender] = {}
    for one in wanted:
        if isinstance(one, str) and one not in CONTENDERS:
            raise OptionError(f"no policy {one!r}; choose among {', '.join(CONTENDERS)}")
        name = one if isinstance(one, str) else type(one).__name__.lower()
        same = sum(other.partition("_")[0] == name for other in found)
        made = CONTENDERS[one]() if isinstance(one, str) else one
        found[f"{name}_{same + 1}" if same else name] = made
    return found
