"""A gateway that moves to new prices every five minutes, while its policy follows in between.

A stream of queries comes over an hour, faster and dearer in the second half. Every five minutes a
plan of the last queries, under what is left for the rest of the hour, gives new prices; between
plans the policy corrects them query by query. Beside it: the first prices for the whole hour, once
corrected and once left as they are. All data are simulated, and predictions come true.

    python examples/prices_every_five_minutes.py
"""

import numpy as np

from dualroute import Budget, Capacity, Policy, SolveOptions, solve
from dualroute.workload import simulate

MINUTES, EVERY = 60, 5
FIRST, SECOND = 20, 40  # queries a minute in either half of the hour
BUDGET, ROOM = 0.55, 900.0  # USD, and requests of each model
QUICK = SolveOptions(mip_rel_gap=1e-3, time_limit=2.0)


def planned(outcomes, budget, room, to_come, update="mirror"):
    """The policy of a plan of known queries, for as many as are to come."""
    share = outcomes.n_queries / to_come
    limits = [Budget(max(budget, 1e-9) * share),
              Capacity({name: max(left, 0.0) * share for name, left in room.items()})]  # fmt: skip
    plan = solve(outcomes, maximize="quality", limits=limits, options=QUICK)
    if plan.assignment is None:
        return None
    return Policy.of(plan, horizon=to_come, update=update)


def run(outcomes, minute, yesterday, *, renew, update="mirror"):
    """Route the hour; quality per query and what was spent."""
    n = outcomes.n_queries
    room = dict.fromkeys(outcomes.models, ROOM)
    policy = planned(yesterday, BUDGET, room, n, update)
    stream, spent, quality = policy.start(outcomes.models), 0.0, 0.0
    for i in range(n):
        if renew and i and minute[i] != minute[i - 1] and minute[i] % EVERY == 0:
            recent = outcomes.take(np.arange(max(0, i - 400), i))
            fresh = planned(recent, BUDGET - spent, room, n - i, update)
            stream = stream if fresh is None else fresh.start(outcomes.models)
        told = {name: outcomes.column(name)[i] for name in stream.policy.columns}
        decision = stream.route(told)
        j = decision.model
        spent += float(outcomes.column("cost")[i, j])
        quality += float(outcomes.column("quality")[i, j])
        room[decision.name] -= 1
        stream.observe(decision, {name: float(values[j]) for name, values in told.items()})
    return quality / n, spent


def main() -> None:
    minute = np.repeat(np.arange(MINUTES), np.where(np.arange(MINUTES) < 30, FIRST, SECOND))
    hour = simulate(minute.size, seed=3).outcomes
    # The second half asks for longer answers.
    cost = hour.column("cost") * np.where(minute < 30, 1.0, 1.6)[:, None]
    hour = type(hour)(hour.models, {"cost": cost, "quality": hour.column("quality")})
    yesterday = simulate(1000, seed=4).outcomes
    best = solve(hour, maximize="quality", limits=[Budget(BUDGET), Capacity(ROOM)], options=QUICK)
    print(f"{hour.n_queries} queries, {BUDGET} USD; for one who knows the hour: quality "
          f"{best.certified_bound / hour.n_queries:.4f} at most")  # fmt: skip
    for words, settings in (
        ("new prices every five minutes", {"renew": True}),
        ("the first prices, corrected", {"renew": False}),
        ("the first prices as they are", {"renew": False, "update": "fixed"}),
    ):
        quality, spent = run(hour, minute, yesterday, **settings)
        print(f"{words:32} quality {quality:.4f}, spent {spent:.4f}")


if __name__ == "__main__":
    main()
