"""How dualroute compiles: one decorator for every kernel, and Ctrl-C held back while numba works.

Importing this module imports numba. An interrupt in the middle of an import, of a compilation or
of a read from numba's cache would leave a module half made, or be lost in a callback of LLVM
("Exception ignored ..."). It is kept instead, and raised as soon as numba is done.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class _Interrupts:
    """Holds back the interrupts of the main thread; `hold` and `let` may be nested."""

    def __init__(self) -> None:
        self._depth = 0
        self._handler: Any = None
        self._came = False

    def hold(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python interrupts none but the main thread
        if self._depth == 0:  # an interrupt before the handler is there finds nothing changed
            self._came = False
            self._handler = signal.getsignal(signal.SIGINT)
            if callable(self._handler):
                signal.signal(signal.SIGINT, self._keep)
        self._depth += 1

    def let(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._depth -= 1
        if self._depth == 0 and callable(self._handler):
            signal.signal(signal.SIGINT, self._handler)
            if self._came:
                signal.raise_signal(signal.SIGINT)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._came = True


_interrupts = _Interrupts()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C until the end of the block; in any thread but the main one, nothing."""
    _interrupts.hold()
    try:
        yield
    finally:
        _interrupts.let()


with interrupts_held():
    import numba
    from numba.core import event


class _WhileCompiling(event.Listener):  # type: ignore[misc]  # numba has no types
    """Hears of every compilation and every read from the cache: both take numba's lock."""

    def on_start(self, event: event.Event) -> None:
        _interrupts.hold()

    def on_end(self, event: event.Event) -> None:
        _interrupts.let()


event.register("numba:compiler_lock", _WhileCompiling())

# None is compiled with ``fastmath``: sums are taken in the order written.
compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
# Inlined where it is called: only there LLVM sees that what is written overlaps nothing read.
inlined = numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")
