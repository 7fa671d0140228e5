"""The way to one member of etcd: where it is, TLS, and errors in words that say what to do."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from knarr.machinery.errors import StatusError, status_error
from services.apiserver.storage.wire.channel import Address, Channel, Limits, Tls
from services.apiserver.storage.wire.streams import RECEIVED_TOO_MUCH

# A page is asked for by its number of keys (see ``storage.pages``); one that comes to more than this is asked for anew in smaller pieces.
MESSAGE_LIMIT_BYTES = 256 * 1024 * 1024
RECEIVED_TOO_MUCH_DETAIL = RECEIVED_TOO_MUCH
NO_SPACE_DETAIL = "database space exceeded"
# etcd permits a ping every five seconds (its option --grpc-keepalive-min-time).
PERMITTED_PING_SECONDS = 5.0
PING_SECONDS, PING_ANSWER_SECONDS = 6.0, 3.0
DEFAULT_PORT = 2379

# With less than this on its disk, etcd cannot begin its next file.
FULL_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """PEM files for TLS towards etcd. Certificates are checked against ``server_name``, or else each against its endpoint's host."""

    ca_file: Path
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str = ""


def address(endpoint: str) -> Address:
    """Where a ``host:port`` (a leading ``http://`` or ``https://`` is dropped) or a ``unix:<path>`` leads."""
    if endpoint.startswith("unix:"):
        # gRPC's authority of a Unix socket, which etcd's own tools want behind its path, is none of it.
        return Address(path=endpoint.removeprefix("unix:").removeprefix("//"))
    port = endpoint.rstrip("/").rpartition(":")[2]
    return Address(host_of(endpoint), int(port) if port.isdecimal() else DEFAULT_PORT)


def host_of(endpoint: str) -> str:
    """The host of ``host:port``, without the brackets of an IPv6 address."""
    return endpoint.removeprefix("http://").removeprefix("https://").rpartition(":")[0].strip("[]")


def transport(endpoints: Sequence[str], tls: EtcdTls | None) -> str:
    """The way to etcd in a word: ``unix``, ``mutual-tls``, ``tls`` (nothing is shown to it) or ``plain``."""
    if all(endpoint.startswith("unix:") for endpoint in endpoints):
        return "unix"
    if tls is None:
        return "plain"
    return "mutual-tls" if tls.cert_file is not None else "tls"


def connect(endpoint: str, tls: EtcdTls | None) -> Channel:
    """The way to a member; nothing is sent yet. Raises OSError or ssl.SSLError for files that cannot be used."""
    limits = Limits(MESSAGE_LIMIT_BYTES, PING_SECONDS, PING_ANSWER_SECONDS)
    if tls is None:
        return Channel(address(endpoint), None, limits)
    context = ssl.create_default_context(cafile=str(tls.ca_file))
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    context.set_alpn_protocols(["h2"])
    return Channel(address(endpoint), Tls(context, tls.server_name or host_of(endpoint)), limits)


def place(endpoints: Sequence[str], data_folders: Sequence[Path]) -> str:
    """Where etcd is, in words, and that its disk is full when it is: then it dies or hangs, and cannot say why itself."""
    where, full = ", ".join(endpoints), full_disks(data_folders)
    return f"{where}, whose disk is full ({full}: delete something there)," if full else where


def full_disks(data_folders: Sequence[Path]) -> str:
    """Which of these folders have too little room left for etcd to go on, in words; empty when all have enough, or cannot be looked at."""
    found = [(free, folder) for folder in data_folders if (free := _free_bytes(folder)) < FULL_BYTES]
    return ", ".join(f"{free >> 20} MiB are free in {folder}" for free, folder in found)


def _free_bytes(folder: Path) -> int:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return FULL_BYTES


def store_error(error: grpc.aio.AioRpcError, where: str) -> StatusError:
    """What a client hears when etcd does not answer a question, or refuses a write.

    No delay is named after which to try again: clients would repeat by themselves, ten times over, and their user would wait that long
    for the reason.
    """
    detail = error.details() or error.code().name
    if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
        return status_error("Timeout", f"etcd at {where} did not answer in time; see that it runs, then try again")
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        message = f"etcd at {where} is away ({detail}); start it or mend the connection, then try again"
        return status_error("ServiceUnavailable", message)
    if NO_SPACE_DETAIL in detail:
        return status_error("ServiceUnavailable", f"{out_of_space(where)}. Nothing was written")
    if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED) and "too large" in detail:
        return status_error("RequestEntityTooLarge", f"etcd: {detail}")
    return status_error("InternalError", f"etcd at {where}: {detail}")


def unknown_outcome(error: grpc.aio.AioRpcError, where: str) -> StatusError:
    """What a client hears of a write that has left and was not answered: it may have been carried out, or may be yet."""
    silent = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    what = "did not answer in time" if silent else f"was lost before it answered ({error.details() or error.code().name})"
    message = (
        f"etcd at {where} {what}; it is not known whether the write was stored. "
        "See that etcd runs, then read the object before you try again"
    )
    return status_error("Timeout", message)


def unknown_for_space(where: str) -> StatusError:
    """What a client hears of the write that filled etcd, if it may be the one: that is stored, and answered as if it were not."""
    message = f"{out_of_space(where)}. It is not known whether the write was stored; read the object before you try again"
    return status_error("Timeout", message)


def unreachable(where: str) -> StatusError:
    """What a client hears of a write that never left."""
    message = f"etcd at {where} cannot be reached; nothing was written. Start it or mend the connection, then try again"
    return status_error("ServiceUnavailable", message)


def out_of_disk(endpoints: Sequence[str], full: str) -> str:
    """What is wrong with an etcd that does not answer while its disk is full (``full_disks``), and the way back."""
    where = ", ".join(endpoints)
    return f"etcd at {where} does not answer, and its disk is full ({full}). Make room there: it comes back by itself (docs/install.md)"


def out_of_space(where: str) -> str:
    """What is wrong while etcd's alarm of no space stands, and the way back."""
    return (
        f"etcd at {where} is full: its data has reached its quota, and it takes deletions only. Delete what is not needed, "
        "then compact and defragment etcd and disarm its alarm (docs/install.md)"
    )
