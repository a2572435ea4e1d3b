"""Tomorrow's replicas from yesterday's log: how many of each model to run, hour by hour.

The log is simulated. Three models are hosted by us, in replicas that share 24 GPUs; a fourth is
bought by the call. Tomorrow is expected to be like yesterday with 20 % more traffic, and may
(one chance in four) be half as busy again: replicas have to do for both.

    python examples/replicas_for_tomorrow.py
"""

import numpy as np

from dualroute import AllowedModels, Outcomes, QualityFloor, SolveOptions
from dualroute.planning import Replicas, Traffic, plan_replicas, traffic_by
from dualroute.planreport import replica_report
from dualroute.report import print_report
from dualroute.workload import simulate

HOSTED = ("mixtral-8x7b-instruct", "mistral-large-2407", "gpt-4o-mini-2024-07-18")
BOUGHT = "gpt-4o-2024-08-06"
SHIFTS = 6  # four hours each


def hosted_for_nothing(outcomes: Outcomes) -> Outcomes:
    """The same outcomes, calls to our own replicas free: what they cost is the replica."""
    cost = outcomes.column("cost").copy()
    cost[:, [outcomes.model_index(name) for name in HOSTED]] = 0.0
    shift = outcomes.attribute("hour") // (24 // SHIFTS)
    return Outcomes(
        outcomes.models,
        {"cost": cost, "quality": outcomes.column("quality")},
        outcomes.queries,
        {"shift": shift},
    )


def main() -> None:
    log = hosted_for_nothing(simulate(3000, seed=7).outcomes)
    print(f"simulated log of {log.n_queries} queries; each stands for 100")
    usual = [
        Traffic(one.period, one.outcomes, "as yesterday + 20 %", 120.0)
        for one in traffic_by(log, "shift")
    ]
    busy = [Traffic(one.period, one.outcomes, "a busy day", 180.0) for one in usual]
    plan = plan_replicas(
        usual + busy,
        [
            Replicas(HOSTED[0], size=10_000, price=2.0, most=12, gpus=1, switching=0.5),
            Replicas(HOSTED[1], size=6_000, price=9.0, most=8, gpus=4, switching=2.0),
            Replicas(HOSTED[2], size=8_000, price=4.0, most=12, gpus=2, switching=1.0),
        ],
        limits=[QualityFloor(mean=0.75), AllowedModels([*HOSTED, BOUGHT])],
        gpus=24,
        probabilities={"as yesterday + 20 %": 0.75, "a busy day": 0.25},
        options=SolveOptions(mip_rel_gap=1e-3, time_limit=60),
    )
    print_report(replica_report(plan))
    assert plan.counts is not None
    print(f"most GPUs in use: {int((plan.counts @ np.array([1, 4, 2])).max())} of 24")


if __name__ == "__main__":
    main()
