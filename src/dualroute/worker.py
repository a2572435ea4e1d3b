"""Calls that run in a process of their own: killed when late, kept for the next call.

A worker process imports one module and answers with its function ``work(request, tell)``.
Libraries that cannot share a process with others, print, ignore Ctrl-C or outrun their time limit
are used in this way: the parent waits, hears what is told on the way, and ends the process where
it has to. Requests and answers are pickled; both ends are ours.
"""

import atexit
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, BinaryIO

from dualroute import errors, memory
from dualroute.errors import RoutingError

_LOOK_EVERY = 0.1
_LAST_WORDS = 2.0  # seconds for them to arrive
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Reply:
    """How a call ended.

    Attributes
    ----------
    answer
        What ``work`` returned; None if it was late or interrupted.
    late, interrupted
        Whether the process was killed at the deadline, or for Ctrl-C.
    peak_bytes
        By how much the call raised the process's memory at most; nan if unknown.
    """

    answer: Any
    late: bool = False
    interrupted: bool = False
    peak_bytes: float = float("nan")


class Worker:
    """One process that serves calls of one module, started at the first of them.

    Parameters
    ----------
    module
        Its name; it has a function ``work(request, tell)``.
    threads
        Threads that numerical libraries there may use; as they like if not given.
    """

    def __init__(self, module: str, threads: int | None = None) -> None:
        self._module, self._threads = module, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._heard: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._said: deque[bytes] = deque(maxlen=20)
        self._memory: threading.Thread | None = None
        self._owner = 0
        self._lock = threading.Lock()  # calls from several threads take turns

    def call(
        self, request: Any, *, seconds: float, heard: Callable[[Any], None] | None = None
    ) -> Reply:
        """Have a request worked on.

        Parameters
        ----------
        request
            Anything that can be pickled.
        seconds
            After that long the process is killed; its start does not count.
        heard
            Called with whatever is told on the way; what it raises ends the process.

        Raises
        ------
        RoutingError
            What ``work`` raised, or that the process ended without an answer.
        """
        with self._lock:
            try:
                return self._called(request, seconds, heard)
            except KeyboardInterrupt:
                self.close()
                return Reply(None, interrupted=True)
            except BaseException:
                self.close()
                raise

    def _called(self, request: Any, seconds: float, heard: Callable[[Any], None] | None) -> Reply:
        process = self._running()
        assert process.stdin is not None
        try:
            pickle.dump(request, process.stdin, pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        deadline = time.perf_counter() + seconds
        while True:
            kind, content = self._next(deadline)
            if kind == "told":
                if heard is not None:
                    heard(content)
            elif kind == "answer":
                _LARGEST[0] = max(_LARGEST[0], content[1])
                return Reply(content[0], peak_bytes=content[1])
            elif kind == "late":
                self.close()
                return Reply(None, late=True)
            elif kind == "raised":
                raise getattr(errors, content[0])(content[1])
            else:
                raise self._ended()

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            if self._process.stdin is not None:
                with suppress(OSError):
                    self._process.stdin.close()
            self._process.wait()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        forked = self._owner != os.getpid()
        if self._process is not None and not forked and self._process.poll() is None:
            return self._process
        self.close()
        threads = {} if self._threads is None else dict.fromkeys(_POOLS, str(self._threads))
        self._owner, self._said = os.getpid(), deque(maxlen=20)
        self._heard = queue.SimpleQueue()
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "dualroute.worker", self._module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | threads,
        )
        listener = threading.Thread(target=_listen, args=(process.stdout, self._heard), daemon=True)
        self._memory = threading.Thread(
            target=_remember, args=(process.stderr, self._said), daemon=True
        )
        listener.start()
        self._memory.start()
        _OPEN.add(self)
        while True:
            kind, content = self._next(float("inf"))
            if kind == "ready":
                return process
            if kind == "raised":
                raise getattr(errors, content[0])(content[1])
            raise self._ended()

    def _next(self, deadline: float) -> tuple[str, Any]:
        while True:
            with suppress(queue.Empty):
                # In short waits, between which Ctrl-C is heard.
                return self._heard.get(timeout=_LOOK_EVERY)
            if time.perf_counter() > deadline:
                return "late", None

    def _ended(self) -> RoutingError:
        assert self._process is not None
        status = self._process.wait()
        if self._memory is not None:
            self._memory.join(_LAST_WORDS)  # what it said may come after its end
        lines = [line.decode(errors="replace").strip() for line in self._said]
        said = next((f" ({line})" for line in reversed(lines) if line), "")
        if status < 0:
            name = signal.Signals(-status).name
            said = f" by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}{said}"
        return RoutingError(f"the process of {self._module} ended without an answer{said}")


_OPEN: set[Worker] = set()
_LARGEST = [0.0]  # peak of a call, in bytes


def largest_peak(*, forget: bool = False) -> float:
    """The most memory any call from this process took in a worker, in bytes, since forgotten."""
    most = _LARGEST[0]
    if forget:
        _LARGEST[0] = 0.0
    return most


@atexit.register
def _close_all() -> None:
    for worker in _OPEN:
        worker.close()


def _listen(pipe: BinaryIO, heard: "queue.SimpleQueue[tuple[str, Any]]") -> None:
    with pipe, suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
        while True:
            heard.put(pickle.load(pipe))
    heard.put(("ended", None))


def _remember(pipe: BinaryIO, said: "deque[bytes]") -> None:
    with pipe, suppress(OSError, ValueError):
        said.extend(pipe)


def _serve(module: str) -> None:
    """The life of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer

    def send(kind: str, content: Any = None) -> None:
        pickle.dump((kind, content), out, pickle.HIGHEST_PROTOCOL)
        out.flush()

    def raised(error: Exception) -> None:
        known = hasattr(errors, type(error).__name__)
        name = type(error).__name__ if known else "RoutingError"
        send("raised", (name, str(error) if known else f"{type(error).__name__}: {error}"))

    try:
        work = import_module(module).work
    except Exception as error:
        raised(error)
        return
    send("ready")
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        before = memory.start_of_peak()
        try:
            answer = work(request, lambda content: send("told", content))
        except Exception as error:
            raised(error)
            continue
        del request
        send("answer", (answer, memory.peak_bytes() - before))
        del answer


if __name__ == "__main__":
    _serve(sys.argv[1])
    os._exit(0)  # a solver's own threads would keep the process
