"""What a further GPU is worth: the plan again with more of them, certified on both sides.

A day of three shifts, three hosted models that share a pool of GPUs, and one model bought by the
call for what does not fit. With g GPUs the day costs between `bound` and `cost`; what one more is
worth lies between the differences of these. All data are simulated.

    python examples/worth_of_a_gpu.py
"""

from dualroute import AllowedModels, QualityFloor, SolveOptions
from dualroute.planning import Replicas, Traffic, plan_replicas
from dualroute.workload import simulate

BOUGHT = "gpt-4o-2024-08-06"
REPLICAS = (  # a call costs what the table says, and the replica its price beside
    Replicas("mixtral-8x7b-instruct", size=12_000, price=1.0, most=12, gpus=1),
    Replicas("gpt-4o-mini-2024-07-18", size=9_000, price=1.5, most=12, gpus=2),
    Replicas("gemini-1.5-flash", size=9_000, price=1.2, most=12, gpus=2),
)
SHIFTS = (("night", 300, 60.0), ("day", 600, 100.0), ("evening", 450, 80.0))


def main() -> None:
    traffic = [
        Traffic(name, simulate(n, seed=k).outcomes, weight=weight)
        for k, (name, n, weight) in enumerate(SHIFTS)
    ]
    models = [one.model for one in REPLICAS]
    print(f"{'GPUs':>4} {'cost a day':>11} {'bound':>9} {'one more is worth':>22}  day's replicas")
    before = None
    for gpus in range(0, 13, 2):
        plan = plan_replicas(
            traffic,
            REPLICAS,
            limits=[QualityFloor(mean=0.72), AllowedModels([*models, BOUGHT])],
            gpus=gpus,
            options=SolveOptions(mip_rel_gap=1e-3, time_limit=20),
        )
        if plan.counts is None:
            print(f"{gpus:4} {'too few':>11}")
            continue
        worth = ""
        if before is not None:  # two GPUs apart, so half the difference
            low = (before.certified_bound - plan.objective) / 2
            high = (before.objective - plan.certified_bound) / 2
            worth = f"{max(low, 0):.2f} to {max(high, 0):.2f}"
        day = ", ".join(f"{count} {name}" for name, count in
                        zip(models, plan.counts[1].tolist(), strict=True) if count)  # fmt: skip
        print(f"{gpus:4} {plan.objective:11.2f} {plan.certified_bound:9.2f} {worth:>22}  {day}")
        before = plan


if __name__ == "__main__":
    main()
