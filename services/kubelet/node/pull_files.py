"""Where records of pulls lie on disk, each whole or not there. Everything here blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from knarr.service.files import PRIVATE, sweep, write_whole
from services.kubelet.node.pull_records import PullRecord, file_name, intent_text, parse_intent, parse_record, record_text

# As Kubernetes' kubelet lays them.
FOLDER, PULLED, PULLING = "image_manager", "pulled", "pulling"
PREFIX = "sha256-"

T = TypeVar("T")


@dataclass(slots=True)
class Kept:
    """What a kubelet before this one has left. ``broken`` are the names of records that nobody can read."""

    records: dict[str, PullRecord] = field(default_factory=dict)
    intents: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)


class PullFiles:
    """Of one node. Raises OSError."""

    def __init__(self, data_dir: Path) -> None:
        self._pulled, self._pulling = (data_dir.absolute() / FOLDER / name for name in (PULLED, PULLING))

    def read(self) -> Kept:
        """All of it, and clears away what a crash left half written."""
        kept = Kept()
        for path, record in _read(self._pulled, parse_record):
            if record is None or file_name(record.image_id) != path.name:
                kept.broken.add(path.name)
            else:
                kept.records[record.image_id] = record
        for path, reference in _read(self._pulling, parse_intent):
            if reference is None or file_name(reference) != path.name:
                # Whose intent it was is nowhere: the image, if it came, is one that nobody fetched.
                with suppress(OSError):
                    path.unlink()
            else:
                kept.intents.add(reference)
        return kept

    def write_record(self, record: PullRecord) -> None:
        _write(self._pulled / file_name(record.image_id), record_text(record))

    def remove_record(self, name: str) -> None:
        """By the name of its file."""
        (self._pulled / name).unlink(missing_ok=True)

    def write_intent(self, reference: str) -> None:
        _write(self._pulling / file_name(reference), intent_text(reference))

    def remove_intent(self, reference: str) -> None:
        (self._pulling / file_name(reference)).unlink(missing_ok=True)


class NoPullFiles(PullFiles):
    """Of a node whose images end with its kubelet: nothing is kept."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))

    def read(self) -> Kept:
        return Kept()

    def write_record(self, record: PullRecord) -> None:
        return None

    def remove_record(self, name: str) -> None:
        return None

    def write_intent(self, reference: str) -> None:
        return None

    def remove_intent(self, reference: str) -> None:
        return None


def _read(folder: Path, parse: Callable[[bytes], T]) -> Iterator[tuple[Path, T | None]]:
    """Each file that is one of ours, and what it says; None: nothing that can be read."""
    with suppress(OSError):
        sweep(folder)
    for path in sorted(folder.glob(f"{PREFIX}*")):
        said: T | None = None
        with suppress(ValueError, OSError):
            said = parse(path.read_bytes())
        yield path, said


def _write(path: Path, text: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, text, mode=PRIVATE)
