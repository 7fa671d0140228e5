"""Constant load on an HTTP server, and what came of it."""

from __future__ import annotations

import http.client
import threading
from collections import Counter


class Load:
    """Requests, one after the other in each thread, from when the block is entered until it is left."""

    def __init__(self, address: str, port: int, threads: int = 2) -> None:
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._where = (address, port)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"load-{number}") for number in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection(*self._where, timeout=5)
            try:
                connection.request("GET", "/")
                self.answers[connection.getresponse().read().decode().strip()] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            finally:
                connection.close()
