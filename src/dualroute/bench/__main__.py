"""The child process of a benchmark: one case in, its row out."""

import json
import sys

from dualroute.bench.child import answer
from dualroute.bench.frontiers import FrontierCase, measure_frontier
from dualroute.bench.planning import PlanCase, measure_plan
from dualroute.bench.prediction import PredictionCase, measure_prediction
from dualroute.bench.scale import Case, ScaleOptions, measure

given = json.load(sys.stdin)
if sys.argv[1] == "predict":
    answer(measure_prediction(PredictionCase(**given)))
if sys.argv[1] == "frontier":
    answer(measure_frontier(FrontierCase(**given)))
if sys.argv[1] == "plan":
    answer(measure_plan(PlanCase(**given)))
shared = given.pop("options")
answer(measure(Case(**given, options=ScaleOptions(**{**shared, "gaps": tuple(shared["gaps"])}))))
