"""Route a batch at least cost under a quality floor and capacities; read the certificate."""

from dualroute import Capacity, QualityFloor, solve
from dualroute.workload import simulate

outcomes = simulate(2000, seed=1).outcomes  # simulated; or read_outcomes("log.csv")
plan = solve(outcomes, minimize="cost", limits=[QualityFloor(mean=0.90), Capacity(400)])

print(plan.certificate.verdict)
print(f"{plan.objective:.4f} USD; no routing costs less than {plan.certified_bound:.4f} USD")
for limit in plan.limits():
    print(f"{limit.name} {limit.pool}: {limit.slack:.4g} left, price {limit.price:.3g}")
for query, model in zip(outcomes.queries[:3], plan.routed[:3], strict=True):
    print(query, "->", model)
