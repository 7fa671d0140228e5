"""A snapshot of etcd in a file: the store as it was at one revision, with its own SHA-256 at the end.

The format is etcd's: `etcdctl snapshot status FILE` and `etcdctl snapshot restore FILE` understand it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import grpc
from aetcd import rpc

from knarr.client.channel import UNLIMITED, Options, open_plain_channel
from knarr.service.errors import CommandError

# The database is a whole number of pages; what etcd appends makes a file longer by the length of a SHA-256.
PAGE_BYTES = 512
DIGEST_BYTES = hashlib.sha256().digest_size
READ_BYTES = 1 << 20
# A stream that says nothing for so long is given up.
SILENCE_SECONDS = 30.0
OPTIONS: Options = [("grpc.max_receive_message_length", UNLIMITED)]
# What is done, and what there is in all, in bytes.
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """For whom nobody watches."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a snapshot holds. ``size_bytes`` is the file's."""

    revision: int
    keys: int
    size_bytes: int


async def take(endpoint: str, path: Path, progress: Progress) -> Facts:
    """Streams a snapshot from the etcd at a gRPC target into a file, which appears only when it is whole.

    Raises CommandError when etcd does not answer, the stream breaks, or what came does not carry its own digest.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        with _open_private(part) as file:
            await _receive(endpoint, file, progress)
            file.flush()
            os.fsync(file.fileno())
        facts = check(part)
        part.rename(path)
        return facts
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _open_private(path: Path) -> IO[bytes]:
    """A new file for nobody else: a store holds Secrets."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path.open("wb")


async def _receive(endpoint: str, file: IO[bytes], progress: Progress) -> None:
    done = 0
    async with open_plain_channel(endpoint, OPTIONS) as channel:
        stream = rpc.MaintenanceStub(channel).Snapshot(rpc.SnapshotRequest())
        try:
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    answer = await stream.read()
                if answer is grpc.aio.EOF:
                    return
                file.write(answer.blob)
                done += len(answer.blob)
                progress(done, done + answer.remaining_bytes)
        except TimeoutError:
            raise CommandError(f"etcd sent nothing for {SILENCE_SECONDS:.0f} s; see that it runs well, then try again") from None
        except grpc.aio.AioRpcError as error:
            raise CommandError(f"etcd broke off: {error.details() or error.code().name}; see that it runs, then try again") from error
        finally:
            stream.cancel()


def check(path: Path) -> Facts:
    """Reads a snapshot whole; CommandError when it is none, is damaged or was cut off."""
    try:
        size = path.stat().st_size
        if size % PAGE_BYTES != DIGEST_BYTES:
            raise CommandError(f"{path} is no whole snapshot of etcd: its length is {size} bytes; take it again with `knarr backup`")
        digest, left = hashlib.sha256(), size - DIGEST_BYTES
        with path.open("rb") as file:
            while left and (piece := file.read(min(READ_BYTES, left))):
                digest.update(piece)
                left -= len(piece)
            if file.read() != digest.digest():
                raise CommandError(f"{path} is damaged: its content and the digest at its end differ; use another copy")
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from error
    return inspect(path)


def inspect(path: Path) -> Facts:
    """What a snapshot, or the database of an etcd that does not run, holds; CommandError when it cannot be read."""
    found = json.loads(_etcdctl("snapshot", "status", str(path), "--write-out=json"))
    return Facts(found["revision"], found["totalKey"], path.stat().st_size)


def unpack(path: Path, folder: Path, name: str, peer_url: str) -> None:
    """Makes the data directory of a store of one member from a snapshot; ``folder`` must not exist.

    The store gets an identity of its own, by which those who knew the one before can tell that it is another.
    """
    _etcdctl(
        "snapshot", "restore", str(path), f"--data-dir={folder}", f"--name={name}", f"--initial-advertise-peer-urls={peer_url}",
        f"--initial-cluster={name}={peer_url}", f"--initial-cluster-token={uuid.uuid4()}",
    )  # fmt: skip


def _etcdctl(*arguments: str) -> str:
    program = shutil.which("etcdctl")
    if program is None:
        raise CommandError("etcdctl is not installed; run `make install`, or `apt-get install etcd-client`")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, env={**os.environ, "ETCDCTL_API": "3"})
    if done.returncode != 0:
        raise CommandError(f"etcdctl {' '.join(arguments[:2])} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
