"""An iterator that computes in a thread of its own, a little ahead of who reads it."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import TypeVar, cast

T = TypeVar("T")
EXIT_S = 5.0
"""How long the end of the program waits for an item in work, at most."""
_END = object()
_at_work: dict[threading.Thread, Callable[[], None]] = {}
"""The threads, and how each is told to stop."""


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(source: Generator[T, None, None], limit: int, name: str) -> Generator[T, None, None]:
    """The items of `source`, computed in a thread that starts with the first one asked for.

    Args:
        source: runs in that thread only, until the iterator has ended or is closed.
        limit: number of items that may lie ready. The thread waits while there are so many, so a slow reader
            holds it back.
        name: of the thread.

    Raises:
        Exception: what `source` raised, after the items before it.

    Closing the iterator lets `source` finish the item in work; when `close` returns the thread has ended.
    """
    items: SimpleQueue[object] = SimpleQueue()
    room = threading.Semaphore(limit)
    closed = threading.Event()

    def work() -> None:
        try:
            while room.acquire() and not closed.is_set():
                item = next(source, _END)
                if closed.is_set():  # nobody reads it, or the program ends
                    break
                items.put(item)
                if item is _END:
                    break
        except BaseException as error:  # the reader's thread raises it
            items.put(_Failure(error))

    def end() -> None:
        closed.set()
        room.release()

    def end_at_exit() -> None:
        end()
        # A reader that is one of these threads waits for an item, and is to stop too. Others had better go on waiting:
        # what they do next is no work for a program that ends.
        if reader in _at_work:
            items.put(_END)

    reader = threading.current_thread()
    thread = threading.Thread(target=work, name=name, daemon=True)
    _at_work[thread] = end_at_exit
    # Always the latest to be registered, and so the first to run: the parts that the work needs are still there.
    atexit.unregister(_end_all)
    atexit.register(_end_all)
    thread.start()
    try:
        while (item := items.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            room.release()
            yield cast(T, item)
    finally:
        end()
        thread.join()
        del _at_work[thread]
        source.close()


def _end_all() -> None:
    """Daemon threads are not waited for at exit, and who computes then is torn apart: so let them stop."""
    threads = dict(_at_work)
    for end in threads.values():
        end()
    for thread in threads:
        thread.join(EXIT_S)
