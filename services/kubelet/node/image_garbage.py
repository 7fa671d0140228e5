"""Which images a node gives up: when its disk of images is full, when they are old, or when a pod would have to go instead.

Only images that this node's kubelet has fetched are given up: they can be had again. An engine may be somebody's own, with images that
were built or loaded there and are nowhere else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from knarr.objects.images import full_name
from services.kubelet.runtime.port import LocalImage
from services.kubelet.thresholds import GarbageRules

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """Since when an image is known, and when it was used last; None: never seen in use."""

    since: datetime
    used_at: datetime | None = None

    @property
    def idle_since(self) -> datetime:
        return self.used_at or self.since


@dataclass(slots=True)
class ImageLedger:
    """What is remembered of images, by reference."""

    known: dict[str, Known] = field(default_factory=dict)

    def look(self, present: Iterable[str], used: Collection[str], now: datetime) -> None:
        """Notes which are there and which of them are used. What was noted by a clock that was set back since is of now."""
        names = list(present)
        self.known = {
            name: Known(min(known.since, now), now if name in used else known.used_at and min(known.used_at, now))
            for name in names
            for known in (self.known.get(name) or Known(now),)
        }


def bytes_to_free(rules: GarbageRules, available: int, capacity: int) -> int:
    """How much is to be given up; 0 below the high threshold. Pure."""
    if capacity <= 0 or rules.high_percent >= 100 or 100 - available * 100 // capacity < rules.high_percent:
        return 0
    return max(capacity * (100 - rules.low_percent) // 100 - available, 0)


def too_old(rules: GarbageRules, known: Mapping[str, Known], used: Collection[str], now: datetime) -> list[str]:
    """The images that nobody used for longer than they may lie. Pure."""
    if not rules.maximum_unused:
        return []
    return [name for name, image in known.items() if name not in used and now - image.idle_since > rules.maximum_unused]


def to_remove(
    rules: GarbageRules, known: Mapping[str, Known], sizes: Mapping[str, int], used: Collection[str], now: datetime, needed: int | None
) -> list[str]:
    """The images to give up until ``needed`` bytes are free, None: all that can be; who was used longest ago first, of those the one known
    longest. Never one that is used, and none that came lately. Pure."""
    found, freed = list[str](), 0
    idle = sorted((image.idle_since, image.since, name) for name, image in known.items() if name not in used)
    for _, since, name in idle:
        if needed is not None and freed >= needed:
            break
        if now - since >= rules.minimum_age:
            found.append(name)
            freed += sizes.get(name, 0)
    return found


def sizes_of(images: Iterable[LocalImage]) -> dict[str, int]:
    """By each of an image's full names."""
    return {full_name(name): image.size_bytes for image in images for name in image.names}


def names_of(images: Iterable[LocalImage]) -> dict[str, str]:
    """What the engine calls them, by their full names."""
    return {full_name(name): name for image in images for name in image.names}


class PulledImages:
    """Remembers which images this kubelet has fetched, by full name, also from one kubelet to the next. Blocking; what cannot be written is
    forgotten with this kubelet."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "pulled-images.json"
        self.names: set[str] = set()

    def read(self) -> None:
        """What the kubelet before this one remembered; a file that is no list of names is none."""
        try:
            told = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return
        self.names |= {str(name) for name in told} if isinstance(told, list) else set()

    def add(self, reference: str) -> None:
        name = full_name(reference)
        if name not in self.names:
            self.names.add(name)
            self._write()

    def discard(self, reference: str) -> None:
        name = full_name(reference)
        if name in self.names:
            self.names.discard(name)
            self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(sorted(self.names)))
            new.replace(self._path)
        except OSError as error:
            log.warning("which images were fetched is not remembered", extra={"error": str(error)})
