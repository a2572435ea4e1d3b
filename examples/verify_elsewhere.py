"""Certify a routing that some other system made: which limits hold, how far from optimal."""

import numpy as np

from dualroute import Capacity, QualityFloor, verify
from dualroute.workload import simulate

outcomes = simulate(3000, seed=2).outcomes

# A threshold rule, as many routers use: hard-looking (long) queries to the large model.
long_text = outcomes.column("input_tokens")[:, 0] > 100
small = outcomes.model_index("gpt-4o-mini-2024-07-18")
large = outcomes.model_index("gpt-4o-2024-08-06")
routing = np.where(long_text, large, small)

limits = [QualityFloor(mean=0.80), Capacity(1800)]
checked = verify(outcomes, routing, minimize="cost", limits=limits)
print(checked.certificate.verdict)
print(f"cost {checked.problem.value(routing):.3f} USD, no routing costs less than "
      f"{checked.certified_bound:.3f} USD")  # fmt: skip

# The gap has two parts, both at least zero: queries that pay more than their cheapest model at
# the limits' prices, and priced room in limits that is left unused.
certificate = checked.certificate
print(f"regret {certificate.regret:.3f} USD, idle limits {certificate.idle:.3f} USD")
