"""One case of a benchmark in a process of its own: its memory, kernels and threads are its own."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def in_child(kind: str, case: Any, threads: int) -> tuple[dict[str, Any] | None, str]:
    """What ``python -m dualroute.bench KIND`` answers to a case, or nothing and why."""
    done = subprocess.run(
        [sys.executable, "-m", "dualroute.bench", kind],
        input=json.dumps(asdict(case)),
        env=os.environ | dict.fromkeys(_POOLS, str(threads)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return json.loads(done.stdout), ""
    said = done.stderr.strip().splitlines()
    why = said[-1] if said else f"the process ended with status {done.returncode}"
    if done.returncode < 0:
        why = f"the process was ended by signal {-done.returncode} (out of memory?)"
    return None, why


def answer(row: Any) -> None:
    """Write a row to standard output, and leave: whatever still runs must not keep the process."""
    sys.stdout.write(json.dumps(asdict(row)))
    sys.stdout.flush()
    os._exit(0)  # a HiGHS that outran its limit would
