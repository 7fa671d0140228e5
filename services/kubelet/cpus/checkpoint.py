"""The file in which a kubelet finds again who has which processors: Kubernetes' ``cpu_manager_state``. Blocking; raises OSError.

A kubelet that comes anew must not give to one pod what another one has, whether or not it still knows that pod.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from knarr.service.files import PRIVATE, write_whole
from services.kubelet.cpu_policy import STATIC, parse_cpus, write_cpus
from services.kubelet.cpus.ledger import Ledger

NAME = "cpu_manager_state"


class BadCheckpoint(Exception):
    """The file is no longer what was written."""


def read_checkpoint(folder: Path) -> tuple[str, Ledger] | None:
    """The policy by which it was written, and the ledger; None where there is no file. Raises BadCheckpoint."""
    try:
        text = (folder / NAME).read_bytes()
    except FileNotFoundError:
        return None
    try:
        told: dict[str, Any] = json.loads(text)
        if told.pop("checksum") != _checksum(told):
            raise BadCheckpoint("checkpoint is corrupted")
        entries = told.get("entries", {})
        exclusive = {uid: {name: parse_cpus(cpus) for name, cpus in containers.items()} for uid, containers in entries.items()}
        return str(told["policyName"]), Ledger(parse_cpus(told["defaultCpuSet"]), exclusive)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BadCheckpoint("checkpoint is corrupted") from error


def write_checkpoint(folder: Path, ledger: Ledger) -> None:
    """Whole or not at all, on the disk when it returns."""
    entries = {uid: {name: write_cpus(cpus) for name, cpus in found.items()} for uid, found in ledger.exclusive.items()}
    told: dict[str, Any] = {"policyName": STATIC, "defaultCpuSet": write_cpus(ledger.shared)}
    if entries:
        told["entries"] = entries
    write_whole(folder / NAME, json.dumps({**told, "checksum": _checksum(told)}).encode(), mode=PRIVATE)


def _checksum(told: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(told, sort_keys=True).encode())
