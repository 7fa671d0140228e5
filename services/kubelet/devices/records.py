"""The file in which a kubelet finds again which claims were made ready on its node, or may have been. Blocking.

It says so before a driver is asked, and no more when the driver has said that all is undone: after a crash between any two lines nothing
stays ready that nobody gives back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from knarr.service.files import PRIVATE, write_whole

NAME = "device_claims.json"


class BadRecords(OSError):
    """The file is no longer what was written."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A device that a driver has made ready: for which requests (none: all), and by which names containers get it."""

    driver: str
    pool: str
    device: str
    requests: tuple[str, ...] = ()
    cdi: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """A claim that drivers have made ready (``ready``), or may have, and the uids of the pods for which they did."""

    uid: str
    namespace: str
    name: str
    drivers: tuple[str, ...]
    pods: frozenset[str]
    ready: bool = False
    devices: tuple[Prepared, ...] = ()

    def names(self, request: str) -> tuple[str, ...]:
        """What containers that use a request get; empty: that use all of the claim. Each once."""
        found = (one.cdi for one in self.devices if not request or not one.requests or request in one.requests)
        return tuple(dict.fromkeys(name for names in found for name in names))

    def without(self, pod: str) -> ClaimRecord:
        return replace(self, pods=self.pods - {pod})


def read_records(folder: Path) -> list[ClaimRecord]:
    """None where there is no file. Raises BadRecords, and OSError."""
    path = folder / NAME
    try:
        return [_record(said) for said in json.loads(path.read_bytes())["claims"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        advice = "drain the node, have its drivers of devices start anew, and remove the file"
        raise BadRecords(f"{path} is corrupted, and which devices are ready on this node is not known: {advice}") from error


def write_records(folder: Path, records: Iterable[ClaimRecord]) -> None:
    """Whole or not at all, on the disk when it returns. Raises OSError."""
    said = [{**asdict(record), "pods": sorted(record.pods)} for record in records]
    write_whole(folder / NAME, json.dumps({"claims": said}).encode(), mode=PRIVATE)


def _record(said: Mapping[str, Any]) -> ClaimRecord:
    devices = [Prepared(**{**one, "requests": tuple(one["requests"]), "cdi": tuple(one["cdi"])}) for one in said["devices"]]
    changed = {"drivers": tuple(said["drivers"]), "pods": frozenset(said["pods"]), "devices": tuple(devices)}
    return ClaimRecord(**{**said, **changed})
