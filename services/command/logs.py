"""``knarr logs``: what a cluster has written, or one of its components, and what it writes from now on."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import orjson

from knarr.service.errors import CommandError
from services.standalone.files import Files

ETCD = "etcd"
COMPONENTS = ("apiserver", "cloud", "controller", "dns", ETCD, "kubelet", "proxy", "scheduler")
LOOK_SECONDS = 0.2
# As TextFormatter of knarr/service/logs.py begins a line: time, level, logger.
_HEAD = re.compile(r"\d\d:\d\d:\d\d\.\d{3} \w+ +(\S+)")


def log_of(files: Files, component: str) -> Path:
    """Where a component writes; CommandError where nothing was ever written."""
    path = files.etcd / "etcd.log" if component == ETCD else files.log
    if not path.exists():
        raise CommandError(f"there is no {path}; start the cluster first: `knarr up`")
    return path


class Of:
    """Tells which lines are a component's; those of a traceback follow the line that they belong to."""

    def __init__(self, component: str) -> None:
        self._all = component in ("", ETCD)
        self._logger, self._extra = f"services.{component}", f"component={component}"
        self._component = component
        self._wanted = self._all

    def __call__(self, line: str) -> bool:
        if self._all:
            return True
        if line.startswith("{"):
            with suppress(orjson.JSONDecodeError):
                fields = orjson.loads(line)
                self._wanted = self._is_own(str(fields.get("logger", ""))) or fields.get("component") == self._component
        elif head := _HEAD.match(line):
            self._wanted = self._is_own(head[1]) or self._extra in line.split()
        return self._wanted

    def _is_own(self, logger: str) -> bool:
        return logger == self._logger or logger.startswith(f"{self._logger}.")


class Log:
    """A log file, which may be begun anew while it is read; what it held before lies beside it as FILE.1. A context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO = path.open("rb")

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def kept(self) -> Iterator[str]:
        """All lines that are there."""
        with suppress(FileNotFoundError), self._path.with_name(f"{self._path.name}.1").open("rb") as former:
            # It became the former one just now.
            if os.fstat(former.fileno()).st_ino != os.fstat(self._file.fileno()).st_ino:
                yield from map(_text, former)
        yield from self._whole_lines()

    def coming(self, wait: Callable[[], object] = lambda: time.sleep(LOOK_SECONDS)) -> Iterator[str]:
        """Each line that is written from now on, for ever; ``wait`` is called when there is none."""
        while True:
            yield from self._whole_lines()
            if self._was_replaced():
                yield from self._whole_lines()
                self._file.close()
                self._file = self._path.open("rb")
            else:
                wait()

    def _whole_lines(self) -> Iterator[str]:
        """Up to the end; half a line is read again when it is whole."""
        while line := self._file.readline():
            if not line.endswith(b"\n"):
                self._file.seek(-len(line), os.SEEK_CUR)
                return
            yield _text(line)

    def _was_replaced(self) -> bool:
        opened = os.fstat(self._file.fileno())
        if opened.st_size < self._file.tell():
            return True
        with suppress(FileNotFoundError):
            return self._path.stat().st_ino != opened.st_ino
        return False


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\n")


def show(files: Files, component: str, tail: int | None, follow: bool, tell: Callable[[str], object]) -> None:
    """Tells the last ``tail`` lines of a component (empty: of all), or all, and with ``follow`` goes on until it is interrupted."""
    is_wanted = Of(component)
    with Log(log_of(files, component)) as log:
        for line in deque((line for line in log.kept() if is_wanted(line)), maxlen=tail):
            tell(line)
        if follow:
            for line in log.coming():
                if is_wanted(line):
                    tell(line)
