"""``knarr backup FILE`` and ``knarr restore FILE``: the state of a one-machine cluster, out and in again."""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from knarr.service.errors import CommandError
from services.standalone import process
from services.standalone.backup import revisions, snapshot
from services.standalone.backup.snapshot import Progress, silent
from services.standalone.etcd_process import NAME, PEER_URL, EtcdProcess
from services.standalone.files import Files
from services.standalone.lock import held
from services.standalone.settings import MEMORY, ClusterSettings
from services.standalone.store import DATA, UNFINISHED, has_state

MARGIN = 1000


def backup(files: Files, path: Path, progress: Progress = silent) -> dict[str, object]:
    """Writes a snapshot of the running cluster's state; prints what it holds, and answers that. ``progress`` counts bytes."""
    if process.find(files) is None:
        raise CommandError(f"no cluster runs from {files.root}; start it (`knarr up`), then take the backup")
    if ClusterSettings.saved(files.root).store == MEMORY:
        raise CommandError(f"the cluster of {files.root} keeps its objects in memory; `kubectl get -o yaml` writes some down")
    if path.exists():
        raise CommandError(f"{path} is there already; choose another name, or remove it first")
    started = time.monotonic()
    facts = asyncio.run(snapshot.take(EtcdProcess(files.etcd).endpoint, path, progress))
    print(f"{path}: {_described(facts)}, in {time.monotonic() - started:.1f} s")
    print(f"  `knarr restore {path}` makes a cluster of it; certificates and tokens are in {files.pki} and are not part of it")
    return {"file": str(path), **asdict(facts)}


def restore(files: Files, path: Path, *, replace: bool, progress: Progress = silent) -> dict[str, object]:
    """Makes a snapshot the state of a cluster that does not run; what it had is moved aside. Prints what that is, and answers it.
    ``progress`` counts revisions."""
    if process.find(files) is not None:
        raise CommandError("the cluster runs; stop it first: `knarr down`")
    facts = snapshot.check(path)
    files.prepare()
    with held(files.root):
        told, aside = _put_in_place(files, path, facts, replace, progress)
    print(f"restored {_described(facts)}")
    if aside is not None:
        print(f"  what was there is kept in {aside}; remove it when it is no longer needed")
    print(f"  {told}")
    print("  `knarr up` starts the cluster and its workloads")
    return {"file": str(path), **asdict(facts), "aside": str(aside or "")}


def _put_in_place(files: Files, path: Path, facts: snapshot.Facts, replace: bool, progress: Progress) -> tuple[str, Path | None]:
    """What clients have to know, and where the state that was there has been moved; None when there was none."""
    present, fresh = files.etcd / DATA, files.etcd / f"{DATA}.restoring"
    if has_state(files.etcd) and not replace:
        raise CommandError(
            f"{files.root} has a state already; `knarr restore --replace {path}` moves it aside, or choose another --data-dir"
        )
    files.etcd.mkdir(exist_ok=True)
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        snapshot.unpack(path, fresh, NAME, PEER_URL)
        told = _follow_on(fresh, present, facts, progress)
        aside = _set_aside(present)
        fresh.rename(present)
        (files.etcd / UNFINISHED).unlink(missing_ok=True)
        return told, aside
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _follow_on(fresh: Path, present: Path, facts: snapshot.Facts, progress: Progress) -> str:
    """Lets the restored store begin after the revisions of the present one; answers what clients have to know."""
    database = present / "member/snap/db"
    unknown = "clients that kept a watch or a list of before must be started anew"
    if not database.exists():
        return unknown
    try:
        last = snapshot.inspect(database).revision
    except CommandError as error:
        return f"{unknown}: the state that was there cannot be read ({error})"
    if last - facts.revision > revisions.LIMIT:
        return f"{unknown}: the state that was there is {last - facts.revision} revisions ahead"
    # What was written last may be in its log only.
    asyncio.run(revisions.advance(fresh, max(last, facts.revision) + MARGIN, progress))
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
