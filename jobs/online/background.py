"""A generator that works ahead in a thread, so that reading, encoding and writing overlap; so far and no further."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")
_END = object()


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

    def stop(self) -> None:
        self._stopped.set()
        while self._thread.is_alive():  # it may wait for room in the queue
            try:
                self._queue.get(timeout=0.01)
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
    """Iterate over `items`, of which a thread prepares up to `ahead` beforehand; what it raises is raised here.

    When the block is left early, `cancel` is called to end what the thread may be waiting for.
    """
    worker = _Worker(items, ahead)
    try:
        yield iter(worker)
    except BaseException:
        cancel()
        raise
    finally:
        worker.stop()
