"""A worker process: answers, what is told on the way, deadlines, Ctrl-C, and bad ends."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dualroute.errors import OptionError, RoutingError
from dualroute.worker import Worker, largest_peak

SOURCE = """
import os, sys, time
import numpy as np
from dualroute.errors import OptionError

def work(request, tell):
    what, *rest = request
    if what == "echo":
        return rest
    if what == "pid":
        return os.getpid()
    if what == "count":
        for k in range(rest[0]):
            tell(k)
        return "done"
    if what == "sleep":
        tell("asleep")
        time.sleep(rest[0])
        return "awake"
    if what == "print":
        print("noise")
        os.write(1, b"more noise")
        return "quiet"
    if what == "ones":
        return float(np.ones(rest[0]).sum())
    if what == "option":
        raise OptionError("no such option")
    if what == "defect":
        raise KeyError("oops")
    if what == "die":
        print("last words", file=sys.stderr)
        os._exit(3)
    if what == "killed":
        os.kill(os.getpid(), 9)
"""


@pytest.fixture
def worker(tmp_path, monkeypatch):
    (tmp_path / "echoing.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Worker("echoing", threads=1)
    yield made
    made.close()


def test_one_process_serves_all_calls(worker):
    first = worker.call(("pid",), seconds=30).answer
    assert worker.call(("echo", 1, "a"), seconds=30).answer == [1, "a"]
    assert worker.call(("pid",), seconds=30).answer == first != os.getpid()


def test_what_is_told_arrives_in_order_before_the_answer(worker):
    heard = []
    assert worker.call(("count", 50), seconds=30, heard=heard.append).answer == "done"
    assert heard == list(range(50))


def test_calls_from_several_threads_take_turns(worker):
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda k: worker.call(("echo", k), seconds=30).answer, range(20)))
    assert answers == [[k] for k in range(20)]


def test_what_libraries_print_is_no_answer(worker, capfd):
    assert worker.call(("print",), seconds=30).answer == "quiet"
    assert capfd.readouterr() == ("", "")


def test_a_late_process_is_killed_and_the_next_call_has_another(worker):
    first = worker.call(("pid",), seconds=30).answer
    heard = []
    started = time.perf_counter()
    reply = worker.call(("sleep", 60), seconds=0.3, heard=heard.append)
    assert time.perf_counter() - started < 10
    assert reply.late
    assert reply.answer is None
    assert heard == ["asleep"]
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert worker.call(("pid",), seconds=30).answer != first


def test_ctrl_c_ends_the_process(worker):
    first = worker.call(("pid",), seconds=30).answer
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    reply = worker.call(("sleep", 60), seconds=60)
    assert reply.interrupted
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_what_a_listener_raises_ends_the_call_and_the_process(worker):
    def refuse(told):
        raise ValueError(told)

    with pytest.raises(ValueError, match="asleep"):
        worker.call(("sleep", 60), seconds=60, heard=refuse)
    assert worker.call(("echo", 2), seconds=30).answer == [2]


def test_errors_cross_over(worker):
    with pytest.raises(OptionError, match="no such option"):
        worker.call(("option",), seconds=30)
    with pytest.raises(RoutingError, match="KeyError: 'oops'"):
        worker.call(("defect",), seconds=30)


def test_an_end_without_an_answer_is_told_with_its_reason(worker):
    with pytest.raises(RoutingError, match=r"echoing ended without an answer \(last words\)"):
        worker.call(("die",), seconds=30)
    with pytest.raises(RoutingError, match=r"by SIGKILL \(out of memory\?\)"):
        worker.call(("killed",), seconds=30)
    assert worker.call(("echo", 3), seconds=30).answer == [3]


def test_a_module_that_is_not_there():
    with pytest.raises(RoutingError, match="no_such_module"):
        Worker("no_such_module").call(("echo",), seconds=30)


def test_the_peak_is_that_of_the_call(worker):
    worker.call(("echo",), seconds=30)
    largest_peak(forget=True)
    reply = worker.call(("ones", 10_000_000), seconds=30)  # 80 MB
    assert reply.answer == 1e7
    assert 60e6 < reply.peak_bytes < 200e6
    assert largest_peak(forget=True) == reply.peak_bytes
    assert worker.call(("echo",), seconds=30).peak_bytes < 20e6
