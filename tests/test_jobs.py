"""Parallel work: every item once, whoever dies; on this computer's processes and on a real Dask cluster."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aerloom import AerloomError
from aerloom.host import jobs
from aerloom.host.jobs import Workers


def square(x: int) -> int:
    return x * x


def fail(x: int) -> int:
    raise AerloomError(f"no {x}")


def slow_square(folder: Path, x: int) -> int:
    """Says which process began it."""
    with (folder / "log").open("a") as file:
        file.write(json.dumps([x, os.getpid()]) + "\n")
    time.sleep(0.25)
    return x * x


def square_or_die(folder: Path, x: int) -> int:
    """The first process that meets 7 dies of it."""
    if x == 7 and not (folder / "dead").exists():
        (folder / "dead").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def die(x: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return x


@pytest.mark.parametrize("workers", [Workers(1), Workers(2), Workers()])
@pytest.mark.parametrize("threads", [False, True])
def test_every_item_in_order(workers: Workers, threads: bool) -> None:
    seen: list[int] = []
    assert workers.map(square, range(20), threads=threads, progress=seen.append) == [x * x for x in range(20)]
    assert seen == list(range(1, 21))
    assert workers.map(square, []) == []


def test_what_work_raises_is_raised() -> None:
    for workers in (Workers(1), Workers(2)):
        with pytest.raises(AerloomError, match="no 1"):
            workers.map(fail, [1, 1, 1])


def test_a_process_that_dies_leaves_its_work_to_others(tmp_path: Path) -> None:
    done = sorted(Workers(2).each(functools.partial(square_or_die, tmp_path), range(30)))
    assert done == [(x, x * x) for x in range(30)] and (tmp_path / "dead").exists()


def test_work_that_kills_every_process() -> None:
    with pytest.raises(AerloomError, match="workers die again and again"):
        Workers(2).map(die, [1, 2])


def test_words_for_bad_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AerloomError, match="jobs must be at least 1, not 0"):
        Workers(0)
    with pytest.raises(AerloomError, match="as many as there are"):
        Workers(2, "tcp://127.0.0.1:1")
    pytest.importorskip("distributed")
    monkeypatch.setattr(jobs, "WAIT", 1)
    with pytest.raises(AerloomError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        Workers(scheduler="tcp://127.0.0.1:1").map(square, [1])


Cluster = tuple[str, list[subprocess.Popen[bytes]]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A scheduler and two workers, each a process of its own, that talk over the loopback interface."""
    pytest.importorskip("distributed")
    file = tmp_path / "scheduler.json"
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path[1:]])}
    common = ["--host", "127.0.0.1", "--scheduler-file", str(file), "--no-dashboard"]

    def start(module: str, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", f"distributed.cli.{module}", *common, *options], cwd=tmp_path,
                                env=here, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with contextlib.ExitStack() as stack:
        def begin(module: str, *options: str) -> subprocess.Popen[bytes]:
            process = start(module, *options)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        begin("dask_scheduler", "--port", "0")
        until = time.monotonic() + 60
        while not file.exists() or not file.read_text():
            assert time.monotonic() < until, "the scheduler does not start"
            time.sleep(0.1)
        workers = [begin("dask_worker", "--nthreads", "1", "--no-nanny") for _ in range(2)]
        from distributed import Client

        address = json.loads(file.read_text())["address"]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, workers


def test_a_cluster_one_of_whose_workers_is_killed(cluster: Cluster, tmp_path: Path) -> None:
    address, workers = cluster
    results: list[tuple[int, int]] = []
    for result in Workers(scheduler=address).each(functools.partial(slow_square, tmp_path), range(40)):
        results.append(result)
        if len(results) == 8:
            workers[0].kill()
    assert sorted(results) == [(x, x * x) for x in range(40)]
    began = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {pid for _, pid in began} == {worker.pid for worker in workers}  # both had a share in it
    assert len(began) > 40  # and what the dead one had begun was begun again


def test_what_work_raises_on_a_cluster(cluster: Cluster) -> None:
    with pytest.raises(AerloomError, match="no 1"):
        Workers(scheduler=cluster[0]).map(fail, [1, 1])
    for worker in cluster[1]:
        worker.kill()
