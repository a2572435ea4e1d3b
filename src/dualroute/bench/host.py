"""Where figures are measured: the machine, the versions, the commit."""

import math
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """Where figures were measured, and with what; `commit` only in a checkout."""

    processor: str
    cpus: int
    memory_bytes: int | None
    system: str
    versions: dict[str, str]
    commit: str | None


def machine() -> Machine:
    """What runs here: the machine, Python, and the versions that matter."""
    versions = {"python": platform.python_version()}
    for name in ("dualroute", "numpy", "scipy", "numba", "highspy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cpus=len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1,
        memory_bytes=_of_system("SC_PAGE_SIZE", "SC_PHYS_PAGES"),
        system=platform.platform(),
        versions=versions,
        commit=_commit(),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()


def _of_system(*names: str) -> int | None:
    try:
        return math.prod(os.sysconf(name) for name in names)
    except (AttributeError, OSError, ValueError):
        return None


def _commit() -> str | None:
    """The commit of the checkout that this file belongs to, marked where it has changes."""
    here = Path(__file__).resolve()

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
