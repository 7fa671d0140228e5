"""Lets a restored store go on after the last revision of the state it replaces.

Otherwise revisions would be given a second time, for other content, and a client that kept its place in a watch could go on from
it without learning that the world is another. So it hears that its place is too old, and begins anew.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from aetcd import rpc

from knarr.client.channel import open_plain_channel
from knarr.service.tasks import cancel
from services.standalone.backup.snapshot import Progress
from services.standalone.etcd_process import EtcdProcess
from services.standalone.store import DATA

KEY = b"knarr/restore"
WRITERS = 256
# A restored state may get so many revisions at most; more would take minutes.
LIMIT = 300_000


async def advance(data: Path, revision: int, progress: Progress) -> None:
    """Brings the store in a data directory past ``revision``, and forgets what it was before. Nobody else may use it."""
    with tempfile.TemporaryDirectory(prefix="knarr-") as folder:
        etcd = _etcd_of(data, Path(folder))
        running = asyncio.create_task(etcd.run(), name="etcd")
        try:
            await etcd.wait_accepting()
            async with open_plain_channel(etcd.endpoint) as channel:
                await _write_until(rpc.KVStub(channel), revision, progress)
        finally:
            await cancel([running])


def _etcd_of(data: Path, folder: Path) -> EtcdProcess:
    """An etcd on the data with its sockets in a folder whose path is short: that of a socket is limited."""
    (folder / DATA).symlink_to(data.absolute())
    return EtcdProcess(folder)


async def _write_until(store: rpc.KVStub, revision: int, progress: Progress) -> None:
    request = rpc.PutRequest(key=KEY)
    first = (await store.Put(request, wait_for_ready=True)).header.revision
    reached = first

    async def write() -> None:
        nonlocal reached
        while reached < revision:
            reached = max(reached, (await store.Put(request)).header.revision)
            progress(reached - first, max(revision, reached) - first)

    await asyncio.gather(*(write() for _ in range(WRITERS)))
    last = (await store.DeleteRange(rpc.DeleteRangeRequest(key=KEY))).header.revision
    await store.Compact(rpc.CompactionRequest(revision=last, physical=True))
