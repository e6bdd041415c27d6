"""Work in a thread ahead of who needs it: generators, so far and no further, and what takes long to open."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
_END = object()
_POLL_SECONDS = 0.01


class _Worker(Generic[Item]):
    def __init__(self, items: Generator[Item, None, None], ahead: int) -> None:
        self._items = items
        self._queue: queue.Queue[object] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while (item := self._queue.get()) is not _END:
            yield item  # type: ignore[misc]  # all that is put there but _END
        if self._error is not None:
            raise self._error

    def stop(self, cancel: Callable[[], None]) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            cancel()  # again and again: one that comes before what it is to end is lost
            try:
                self._queue.get(timeout=_POLL_SECONDS)  # it may wait for room in the queue
            except queue.Empty:
                continue

    def _work(self) -> None:
        try:
            with closing(self._items):
                for item in self._items:
                    self._queue.put(item)
                    if self._stopped.is_set():
                        return
        except BaseException as error:  # raised again where the items are awaited
            self._error = error
        self._queue.put(_END)


@contextmanager
def ahead_of(
    items: Generator[Item, None, None], ahead: int, cancel: Callable[[], None] = lambda: None
) -> Iterator[Iterator[Item]]:
    """Iterate over `items`, of which a thread prepares up to `ahead` (0: all) beforehand; what it raises is raised.

    Who waits for them waits in Python, so that SIGTERM ends it at once. When the block is left before the last item,
    `cancel` is called to end what the thread may be waiting for.
    """
    worker = _Worker(items, ahead)
    try:
        yield iter(worker)
    finally:
        worker.stop(cancel)


@contextmanager
def entered_ahead(manager: AbstractContextManager[Item]) -> Iterator[Callable[[], Item]]:
    """Enter `manager` in a thread; what is yielded waits for it, and raises what it raised."""
    with ThreadPoolExecutor(1) as pool:
        entered = pool.submit(manager.__enter__)
        try:
            yield entered.result
        finally:
            if entered.exception() is None:
                manager.__exit__(None, None, None)
