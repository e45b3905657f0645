"""Reading in a thread of its own: what is slow there holds up nobody who reads elsewhere."""

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

from model_registry.web.problems import PageError, told

Found = TypeVar("Found")

REMEMBERED_SECONDS = 5.0
PATIENCE_SECONDS = 20.0


class Lane:
    """One thread that reads one thing after the other, with a short memory of its own.

    :param name: of the thread
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"model-pages-{name}")
        self._memory: dict[Hashable, tuple[float, Any]] = {}

    async def ask(self, key: Hashable, read: Callable[[], Found]) -> Found | PageError:
        """Return what ``read`` returns, or returned in the last seconds, or why it cannot be read, or not in time.

        :param key: what is read
        """
        work = asyncio.get_running_loop().run_in_executor(self._thread, lambda: self._remembered(key, read))
        try:
            return await asyncio.wait_for(work, PATIENCE_SECONDS)
        except TimeoutError:
            return PageError(504, f"MLflow gave no answer within {PATIENCE_SECONDS:.0f} s: try again later.")

    def _remembered(self, key: Hashable, read: Callable[[], Found]) -> Found | PageError:
        """Return what was read in the last seconds, a failure too, so that those who queue do not wait in turn."""
        now = time.monotonic()
        self._memory = {name: kept for name, kept in self._memory.items() if now - kept[0] < REMEMBERED_SECONDS}
        if key not in self._memory:
            found = told(read)
            self._memory[key] = (time.monotonic(), found)
        return cast("Found | PageError", self._memory[key][1])
