"""Work in parallel: on the cores of this computer, or on a Dask cluster."""

from __future__ import annotations

import contextlib
import pickle
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from ..models.errors import AerloomError

__all__ = ["HERE", "Workers"]

Result = TypeVar("Result")
PATIENCE = 3  #: times in a row that workers may die with nothing done in between
WAIT = 10  #: seconds for a scheduler, and for its first worker


@dataclass(frozen=True)
class Workers:
    """Who does the work: ``jobs`` processes of this computer (None: one for each core), or the workers of the Dask cluster
    whose ``scheduler`` has the address ``tcp://host:port``. Their Python must have aerloom in the same version."""

    jobs: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise AerloomError(f"jobs must be at least 1, not {self.jobs}")
        if self.scheduler is not None and not re.fullmatch(r"\w+://.+:\d+", self.scheduler):
            raise AerloomError(f"a scheduler has an address as tcp://host:port, not {self.scheduler!r}")
        if self.jobs is not None and self.scheduler is not None:
            raise AerloomError("jobs are processes of this computer; a scheduler's workers are as many as there are")

    def each(self, work: Callable[[Any], Result], items: Sequence[Any], *, threads: bool = False
             ) -> Iterator[tuple[int, Result]]:
        """``(number of the item, work(item))`` for every item, exactly once, as they are done.

        ``work`` is a function that can be pickled, as by ``functools.partial``; a worker unpickles it once, so that what
        it holds stays the same object from item to item. ``threads``: on this computer it shares the process; for work
        that lets others run (large arrays, compiled code). What a worker that dies leaves undone is done by others.

        Raises :class:`AerloomError` where the cluster cannot be reached or workers die again and again, and whatever
        ``work`` raises.
        """
        if self.scheduler is None and (self.jobs == 1 or len(items) <= 1):
            for n, item in enumerate(items):
                yield n, work(item)
            return
        left, function, deaths = dict(enumerate(items)), pickle.dumps(work), 0
        with self._backend(threads) as parallel:
            while left:
                before = len(left)
                try:
                    for n, result in parallel(function, left):
                        if left.pop(n, self) is not self:  # of work that is done twice, the first counts
                            yield n, result
                except _dead() as e:
                    deaths = 1 if len(left) < before else deaths + 1
                    if deaths >= PATIENCE:
                        raise AerloomError(f"workers die again and again ({type(e).__name__}: {_first_line(e)})") from e

    def map(self, work: Callable[[Any], Result], items: Sequence[Any], *, threads: bool = False,
            progress: Callable[[int], Any] | None = None) -> list[Result]:
        """The results in the order of the items; ``progress`` is called with the number done. Else as :meth:`each`."""
        results: dict[int, Result] = {}
        for n, result in self.each(work, items, threads=threads):
            results[n] = result
            if progress is not None:
                progress(len(results))
        return [results[n] for n in range(len(items))]

    @contextlib.contextmanager
    def _backend(self, threads: bool) -> Iterator[Callable[[bytes, dict[int, Any]], Iterator[tuple[int, Any]]]]:
        import joblib

        def parallel(function: bytes, left: dict[int, Any]) -> Iterator[tuple[int, Any]]:
            # Bytes, as joblib scatters larger objects over Dask's workers, where they are lost with the worker
            calls = (joblib.delayed(_call)(function, n, pickle.dumps(item)) for n, item in list(left.items()))
            done: Iterator[tuple[int, Any]] = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(calls)
            yield from done

        n_jobs = self.jobs or -1
        if self.scheduler is None:
            with joblib.parallel_config("threading" if threads else "loky"):
                yield parallel
        else:
            with _client(self.scheduler) as client, joblib.parallel_config("dask", client=client):
                yield parallel


HERE = Workers(1)  #: this process alone


@lru_cache(maxsize=4)
def _work(function: bytes) -> Callable[[Any], Any]:
    loaded: Callable[[Any], Any] = pickle.loads(function)
    return loaded


def _call(function: bytes, n: int, item: bytes) -> tuple[int, Any]:
    return n, _work(function)(pickle.loads(item))


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        import distributed
    except ImportError:
        raise AerloomError("a scheduler needs dask.distributed: pip install 'aerloom[cluster]'") from None
    try:
        client: Any = distributed.Client(address, timeout=WAIT, set_as_default=False)
    except (OSError, ValueError) as e:
        raise AerloomError(f"no Dask scheduler answers at {address} ({_first_line(e)})") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WAIT)
        except TimeoutError:
            raise AerloomError(f"the Dask scheduler at {address} has no workers; start some with: dask worker {address}"
                               ) from None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)  # a chip's image is what it is
            yield client


def _dead() -> tuple[type[BaseException], ...]:
    """What is raised when workers die."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    out: list[type[BaseException]] = [BrokenProcessPool]
    with contextlib.suppress(ImportError):
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        out += [KilledWorker, FutureCancelledError]
    return tuple(out)


def _first_line(e: BaseException) -> str:
    return (str(e) or type(e).__name__).splitlines()[0]
