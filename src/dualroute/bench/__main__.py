"""The child process of `bench_scale`: one case as JSON on standard input, its row on output."""

import json
import os
import sys
from dataclasses import asdict

from dualroute.bench.measuring import measure
from dualroute.bench.scale import Case, ScaleOptions


def _main() -> None:
    given = json.load(sys.stdin)
    shared = given.pop("options")
    options = ScaleOptions(**{**shared, "gaps": tuple(shared["gaps"])})
    row = measure(Case(**given, options=options))
    sys.stdout.write(json.dumps(asdict(row)))
    sys.stdout.flush()
    os._exit(0)  # a HiGHS that outran its limit would keep the process


if __name__ == "__main__":
    _main()
