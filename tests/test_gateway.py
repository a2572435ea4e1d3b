"""The gateway example against the real library, its providers stubs on loopback."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "litellm_router.py"


@pytest.mark.extras
def test_a_router_of_litellm_follows_the_policy(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), "40"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    served = dict(re.findall(r"^(gem\S+|gpt\S+) +(\d+)$", done.stdout, re.MULTILINE))
    assert sum(map(int, served.values())) == 40
    used = {
        name: (float(use), float(limit))
        for name, use, limit in re.findall(r"^capacity +(\S+) +used (\S+) of (\S+)$", done.stdout,
                                           re.MULTILINE)
    }  # fmt: skip
    for name, count in served.items():  # what the policy booked is what providers saw
        assert used[name][0] == int(count)
        assert used[name][0] <= used[name][1]
    # Half of the requests came while the second model was down.
    assert int(served.get("gpt-4o-mini-2024-07-18", 0)) <= 20
