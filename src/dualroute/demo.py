"""The main job on the embedded simulated workload, from texts to certificate."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dualroute import registry
from dualroute.errors import TableError
from dualroute.evaluation import EqualCost, Realised, at_equal_cost, realised
from dualroute.formulation import Budget, Capacity, Limit, QualityFloor, Restriction
from dualroute.routing import Plan, solve, verify
from dualroute.solver import SolveOptions
from dualroute.tables import Queries, write_outcomes, write_queries
from dualroute.workload import Workload, simulate

_RIVAL_BUDGETS = np.geomspace(0.5, 2.0, 25)
_USD_PER_QUERY = 0.0009
_FLOOR = {"support": 0.84}
_EVEN_SHARES = 1.5
_GAP = 1e-6
_EXACT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Demo:
    """What the demo did.

    Attributes
    ----------
    log
        The simulated log that the predictor learned from.
    workload
        The simulated batch: texts, and what every model would really do.
    plan
        Routed on predictions by the native solver.
    exact
        The same problem in HiGHS.
    rival
        The lambda rule on the same predictions, under the same budget and capacities.
    realised, exact_realised
        What the plan, and that of HiGHS, are worth on the simulated truth; None without a
        routing.
    against_rival
        Plan and lambda rule at equal realised cost; None if either found no routing.
    clairvoyant
        The optimum on the truth under the same limits: what prediction error costs.
    predict_seconds
        Time to fit and to predict.
    """

    log: Workload
    workload: Workload
    plan: Plan
    exact: Plan
    rival: Plan
    realised: Realised | None
    exact_realised: Realised | None
    against_rival: EqualCost | None
    clairvoyant: Plan
    predict_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the plan's own fields at the top."""
        return {
            **self.plan.to_dict(),
            "simulated": True,
            "note": self.workload.note,
            "predict_seconds": self.predict_seconds,
            "realised": self.realised and asdict(self.realised),
            "highs": self.exact.to_dict(),
            "highs_realised": self.exact_realised and asdict(self.exact_realised),
            "lambda": self.rival.to_dict(),
            "against_lambda_at_equal_cost": self.against_rival and asdict(self.against_rival),
            "optimum_on_truth": self.clairvoyant.to_dict(),
        }

    def save(self, folder: Path) -> None:
        """Write what the demo worked on, to try the other commands with.

        ``history.csv`` (outcomes and texts of the log), ``queries.csv`` (texts of the batch)
        and ``truth.csv`` (what every model would really do with the batch).

        Raises
        ------
        TableError
            If the folder cannot be written to.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TableError(f"{folder}: cannot be made ({error.strerror})") from None
        past, batch = self.log.outcomes, self.workload.outcomes
        texts = np.asarray(self.log.texts, object)
        with_texts = replace(past, attributes={**past.attributes, "text": texts})
        write_outcomes(folder / "history.csv", with_texts)
        write_outcomes(folder / "truth.csv", batch)
        attributes = dict(batch.attributes)
        write_queries(
            folder / "queries.csv", Queries(batch.queries, self.workload.texts, attributes)
        )


def run_demo(
    n_queries: int = 5000,
    *,
    n_history: int = 6000,
    seed: int = 0,
    predictor: str = "retrieval",
    options: SolveOptions | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Demo:
    """Simulate, predict from the texts, solve under budget, floor and capacities, compare.

    Most quality within a budget of 0.9 USD per thousand queries, a floor on the mean quality of
    one tenant, and room for 1.5 times the even share of requests at every model. The rival, the
    lambda rule, has the same budget and capacities and is excused from the floor; it is run at
    many budgets, so that both can be compared at equal realised cost.

    Parameters
    ----------
    n_queries, n_history
        Size of the batch, and of the log that the predictor learns from.
    seed
        Of workload, solvers and bootstrap.
    predictor
        A registered name.
    options
        For the native solver; by default it stops at a gap of 1e-6.
    tell
        Called with a line before each step.
    """
    options = replace(options or SolveOptions(mip_rel_gap=_GAP), seed=seed)
    tell(f"simulating {n_history + n_queries} queries")
    log, batch = _split(simulate(n_history + n_queries, seed), n_history)
    tell(f"predicting {n_queries} queries from a log of {n_history}")
    started = time.perf_counter()
    fitted = registry.load("predictors", predictor)().fit(log.texts, log.outcomes)
    predicted = replace(
        fitted.predict(batch.texts),
        queries=batch.outcomes.queries,
        attributes=batch.outcomes.attributes,
    )
    predict_seconds = time.perf_counter() - started

    usd = _USD_PER_QUERY * n_queries
    budget = Budget(usd)
    capacity = Capacity(math.ceil(_EVEN_SHARES * n_queries / predicted.n_models))
    limits: list[Limit | Restriction] = [budget, QualityFloor(mean=_FLOOR, by="tenant"), capacity]
    tell("solving with the native Lagrangian solver")
    plan = solve(predicted, maximize="quality", limits=limits, options=options)
    tell(f"solving with HiGHS, at most {_EXACT_SECONDS:g} s")
    exact = solve(
        predicted,
        maximize="quality",
        limits=limits,
        solver="highs",
        options=replace(options, time_limit=_EXACT_SECONDS),
    )
    tell("calibrating the lambda rule")
    rivals = [
        solve(
            predicted,
            maximize="quality",
            limits=[Budget(usd * factor), capacity],
            solver="lambda",
        )
        for factor in _RIVAL_BUDGETS.tolist()
    ]
    rival = solve(predicted, maximize="quality", limits=[budget, capacity], solver="lambda")
    if rival.assignment is not None:  # judged by better prices than its own
        rival = replace(
            verify(predicted, rival.assignment, maximize="quality", limits=[budget, capacity]),
            solution=rival.solution,
        )
    tell("judging on the simulated truth")
    routings = [trial.assignment for trial in rivals if trial.assignment is not None]
    truth = batch.outcomes
    return Demo(
        log=log,
        workload=batch,
        plan=plan,
        exact=exact,
        rival=rival,
        realised=None if plan.assignment is None else realised(truth, plan.assignment),
        exact_realised=None if exact.assignment is None else realised(truth, exact.assignment),
        against_rival=(
            at_equal_cost(truth, plan.assignment, routings, seed=seed)
            if plan.assignment is not None and routings
            else None
        ),
        clairvoyant=solve(truth, maximize="quality", limits=limits, options=options),
        predict_seconds=predict_seconds,
    )


def _split(whole: Workload, n_history: int) -> tuple[Workload, Workload]:
    cut = [np.arange(n_history), np.arange(n_history, len(whole.texts))]
    log, batch = (
        replace(
            whole,
            texts=tuple(whole.texts[i] for i in part),
            kinds=whole.kinds[part],
            difficulty=whole.difficulty[part],
            outcomes=whole.outcomes.take(part),
        )
        for part in cut
    )
    return log, batch
