"""Peak memory of this process, as Linux keeps it; nan where nothing tells."""

import math
from contextlib import suppress
from pathlib import Path


def start_of_peak() -> float:
    """Memory in use, in bytes, with the record of its peak started again from here.

    The peak of `resource.getrusage` will not do: it begins with that of the parent process.
    """
    with suppress(OSError):  # the peak then counts from the start of the process
        Path("/proc/self/clear_refs").write_text("5", "utf-8")
    return _in_bytes("VmRSS")


def peak_bytes() -> float:
    """The most memory that was in use since `start_of_peak`, in bytes."""
    return _in_bytes("VmHWM")


def _in_bytes(name: str) -> float:
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return math.nan
    return float(next(line for line in lines if line.startswith(name)).split()[1]) * 1024
