"""Threads that wait so that nobody else has to: for a decoder, for a server."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")

AT_ONCE = 32
"""Requests to a server at the same time."""


def ahead(items: Iterator[Item], count: int = 2) -> Iterator[Item]:
    """The same items, of which a thread makes the next ones meanwhile: a film is decoded while a GPU encodes."""
    end: Any = object()
    with ThreadPoolExecutor(1) as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(count))
        while (item := coming.popleft().result()) is not end:
            coming.append(thread.submit(next, items, end))
            yield item


def in_order(calls: Iterator[Callable[[], Item]], count: int) -> Iterator[Item]:
    """What the calls return, in their order; `count` of them are always under way, each in a thread of its own."""
    with ThreadPoolExecutor(count) as threads:
        coming = deque(threads.submit(call) for call in islice(calls, count))
        while coming:
            done = coming.popleft().result()
            coming.extend(threads.submit(call) for call in islice(calls, 1))
            yield done


def side_by_side(calls: Sequence[Callable[[], Item]]) -> list[Item]:
    """What the calls return, in order; they wait at the same time, in threads that the process keeps."""
    return list(_threads(os.getpid()).map(lambda call: call(), calls))


@lru_cache(maxsize=1)
def _threads(_: int) -> ThreadPoolExecutor:
    """Of this process: one that was forked has none of its parent's."""
    return ThreadPoolExecutor(AT_ONCE)
