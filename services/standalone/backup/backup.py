"""``knarr backup FILE`` and ``knarr restore FILE``: the state of a one-machine cluster, out and in again."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from services.standalone import process
from services.standalone.backup import revisions, snapshot
from services.standalone.etcd_process import DATA, NAME, PEER_URL, EtcdProcess
from services.standalone.process import ProcessError
from services.standalone.settings import Files

PROGRESS_SECONDS = 0.2
MARGIN = 1000


def backup(files: Files, path: Path) -> None:
    """Writes a snapshot of the running cluster's state; prints what it holds."""
    if process.find(files) is None:
        raise ProcessError(f"no cluster runs from {files.root}; start it (`knarr up`), then take the backup")
    if path.exists():
        raise ProcessError(f"{path} is there already; choose another name, or remove it first")
    started = time.monotonic()
    facts = asyncio.run(snapshot.take(EtcdProcess(files.etcd).endpoint, path, Meter("MB", 1e6)))
    print(f"{path}: {_described(facts)}, in {time.monotonic() - started:.1f} s")
    print(f"  `knarr restore {path}` makes a cluster of it; certificates and tokens are in {files.pki} and are not part of it")


def restore(files: Files, path: Path, *, replace: bool) -> None:
    """Makes a snapshot the state of a cluster that does not run; what it had is moved aside."""
    if process.find(files) is not None:
        raise ProcessError("the cluster runs; stop it first: `knarr down`")
    facts = snapshot.check(path)
    present, fresh = files.etcd / DATA, files.etcd / f"{DATA}.restoring"
    if (present / "member").exists() and not replace:
        raise ProcessError(
            f"{files.root} has a state already; `knarr restore --replace {path}` moves it aside, or choose another --data-dir"
        )
    files.prepare()
    files.etcd.mkdir(exist_ok=True)
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        snapshot.unpack(path, fresh, NAME, PEER_URL)
        told = _follow_on(fresh, present, facts)
        aside = _set_aside(present)
        fresh.rename(present)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    print(f"restored {_described(facts)}")
    if aside is not None:
        print(f"  what was there is kept in {aside}; remove it when it is no longer needed")
    print(f"  {told}")
    print("  `knarr up` starts the cluster and its workloads")


def _follow_on(fresh: Path, present: Path, facts: snapshot.Facts) -> str:
    """Lets the restored store begin after the revisions of the present one; answers what clients have to know."""
    database = present / "member/snap/db"
    unknown = "clients that kept a watch or a list of before must be started anew"
    if not database.exists():
        return unknown
    try:
        last = snapshot.inspect(database).revision
    except ProcessError as error:
        return f"{unknown}: the state that was there cannot be read ({error})"
    if last - facts.revision > revisions.LIMIT:
        return f"{unknown}: the state that was there is {last - facts.revision} revisions ahead"
    # What was written last may be in its log only.
    asyncio.run(revisions.advance(fresh, max(last, facts.revision) + MARGIN, Meter("revisions", 1)))
    return "revisions go on after those of the state that was there: clients that kept a watch or a list begin anew by themselves"


def _set_aside(folder: Path) -> Path | None:
    """Where the folder was moved to; None when there was none."""
    if not folder.exists():
        return None
    stem = f"{folder.name}.before-restore-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = (stem if not number else f"{stem}-{number}" for number in range(1000))
    aside = next(folder.with_name(name) for name in names if not folder.with_name(name).exists())
    folder.rename(aside)
    return aside


def _described(facts: snapshot.Facts) -> str:
    return f"{facts.keys} keys as of revision {facts.revision} ({facts.size_bytes / 1e6:.1f} MB)"


class Meter:
    """Shows on a terminal how much is done; elsewhere it is silent."""

    def __init__(self, unit: str, size: float) -> None:
        """``size`` is how many of what is counted make one ``unit``."""
        self._unit, self._size = unit, size
        self._shown = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if sys.stdout.isatty() and (now - self._shown >= PROGRESS_SECONDS or done >= total):
            self._shown = now
            end = "\r\033[K" if done >= total else "\033[K"
            print(f"\r  {done / self._size:.0f} of {total / self._size:.0f} {self._unit}", end=end, flush=True)
