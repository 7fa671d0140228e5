"""A client that asks an API server all the time, by the rules of Kubernetes' own clients, and counts what fails."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.02
# Reads whose connection breaks are repeated at most so often, as client-go does.
READ_ATTEMPTS = 10
REQUEST_SECONDS = 15.0


class ApiProbe:
    """Reads and writes one ConfigMap in turn, on one connection, from when the block is entered until it is left.

    A read whose connection breaks is repeated on a new one; a write is not, unless the connection was found broken before it
    was sent: a client cannot know whether it was carried out.
    """

    def __init__(self, address: str, port: int, data_dir: Path, name: str = "probe") -> None:
        self._where = (address, port)
        self._context = ssl.create_default_context(cafile=str(data_dir / "ca.crt"))
        self._token = (data_dir / "token").read_text().strip()
        self._name = name
        self._connection: http.client.HTTPSConnection | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="api-probe")
        self.reads = self.writes = self.repeated = 0
        self.failed_reads: list[str] = []
        self.failed_writes: list[str] = []
        # Reads that did not show what was written before.
        self.stale: list[str] = []
        self.longest_seconds = 0.0

    def __enter__(self) -> ApiProbe:
        body = {"metadata": {"name": self._name}, "data": {"count": "0"}}
        status, answer = self._send("POST", "/api/v1/namespaces/default/configmaps", body)
        assert status in (201, 409), answer
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._hang_up()

    def _work(self) -> None:
        count = 0
        while not self._stop.wait(PAUSE_SECONDS):
            started = time.monotonic()
            count += 1
            written = self._write(count)
            self._read(count if written else None)
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - started)

    def _write(self, count: int) -> bool:
        self.writes += 1
        try:
            status, answer = self._send("PATCH", self._path, {"data": {"count": str(count)}})
        except (OSError, http.client.HTTPException) as error:
            self._hang_up()
            self.failed_writes.append(f"{type(error).__name__}: {error}")
            return False
        if status != 200:
            self.failed_writes.append(f"{status}: {answer.get('message')}")
        return status == 200

    def _read(self, expected: int | None) -> None:
        self.reads += 1
        for _ in range(READ_ATTEMPTS):
            try:
                status, answer = self._send("GET", self._path)
            except (OSError, http.client.HTTPException):
                self._hang_up()
                self.repeated += 1
                time.sleep(PAUSE_SECONDS)
                continue
            if status != 200:
                self.failed_reads.append(f"{status}: {answer.get('message')}")
            elif expected is not None and answer["data"]["count"] != str(expected):
                self.stale.append(f"{answer['data']['count']} instead of {expected}")
            return
        self.failed_reads.append("the connection broke again and again")

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/default/configmaps/{self._name}"

    def _send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(*self._where, timeout=REQUEST_SECONDS, context=self._context)
            self._connection.connect()
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.getheader("Content-Type") != "application/json":
            return answer.status, {"message": content.decode(errors="replace")}
        return answer.status, json.loads(content)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
