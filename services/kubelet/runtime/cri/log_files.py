"""Where containers' logs lie, as Kubernetes has it: ``<namespace>_<pod>_<uid>/<container>/<attempt>.log``, rotated ones beside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from services.kubelet.runtime.cri.log_lines import entry_of, tail_start
from services.kubelet.runtime.logs.entries import Entry, TailSearch
from services.kubelet.runtime.logs.files import LogFiles, ReadAt
from services.kubelet.runtime.plan import PodRef

ROTATED = "%Y%m%d-%H%M%S.%f"


def pod_logs(logs: Path, pod: PodRef) -> Path:
    return logs / f"{pod.namespace}_{pod.name}_{pod.uid}"


def log_path(logs: Path, pod: PodRef, container: str, attempt: int) -> Path:
    return pod_logs(logs, pod) / container / f"{attempt}.log"


def rotated_path(path: Path, now: datetime) -> Path:
    """What a log is called from now on; names sort by time, and what is rotated later behind all others, also where the clock was set
    back. Blocks."""
    return path.with_name(f"{path.name}.{max([now.astimezone(UTC), *_moments_behind(path)]):{ROTATED}}")


def _moments_behind(path: Path) -> Iterator[datetime]:
    for file in generations(path):
        with contextlib.suppress(ValueError):
            yield datetime.strptime(file.name.removeprefix(f"{path.name}."), ROTATED).replace(tzinfo=UTC) + timedelta(microseconds=1)


class LineLog(LogFiles):
    """The files of ``path`` and its rotated ones, a line for each entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest_first(self) -> Iterator[Path]:
        yield self._path
        # Asked only now: a file gets its last name when it is rotated.
        yield from (path for path in reversed(generations(self._path)) if path != self._path)

    def cut(self, data: bytes, *, ended: bool = False) -> tuple[list[Entry], bytes]:
        *lines, rest = data.split(b"\n")
        return [entry for line in lines if (entry := entry_of(line)) is not None], rest

    def tail_start(self, read: ReadAt, size: int, search: TailSearch) -> int | None:
        return tail_start(read, size, search)


def generations(path: Path) -> list[Path]:
    """All files of a log that are there, oldest first, the one that is written to last. What is no file, or a link, is none of it."""
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        older = sorted(name for name in names if name.startswith(f"{path.name}."))
        return [path.with_name(name) for name in [*older, *([path.name] if path.name in names else [])]]
    return []


def remove_logs(logs: Path, pod: PodRef, container: str, attempt: int) -> None:
    """All files of one container's log, and its folder with the last of them; what is gone is success."""
    path = log_path(logs, pod, container, attempt)
    for file in generations(path):
        with contextlib.suppress(OSError):
            file.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()
