"""An iterator that computes in a thread of its own, a little ahead of who reads it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from queue import SimpleQueue
from typing import TypeVar, cast

T = TypeVar("T")
_END = object()


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
                items.put(item)
                if item is _END:
                    break
        except BaseException as error:  # the reader's thread raises it
            items.put(_Failure(error))

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            room.release()
            yield cast(T, item)
    finally:
        closed.set()
        room.release()
        thread.join()
        source.close()
