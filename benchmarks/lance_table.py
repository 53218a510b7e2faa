"""An open table of LanceDB without Outcrop, through both of its interfaces, with its indexes in memory before the first query."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any


class LanceTable:
    """`asynchronous` answers in less time than `synchronous`; what it is asked runs in an event loop on a thread beside."""

    def __init__(self, folder: Path, name: str) -> None:
        import lancedb

        self.synchronous = lancedb.connect(folder).open_table(name)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.asynchronous = self.waited(_opened(folder, name))
        for index in self.synchronous.list_indices():
            self.synchronous.prewarm_index(index.name)

    def waited(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What comes of it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Stop the loop."""
        self._loop.call_soon_threadsafe(self._loop.stop)


async def _opened(folder: Path, name: str) -> Any:
    import lancedb

    return await (await lancedb.connect_async(folder)).open_table(name)
