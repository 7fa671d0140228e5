"""A certificate and its key as files. Apart from what makes certificates: a component that only shows its own need not import that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knarr.service.files import PRIVATE, PUBLIC, write_whole


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    @classmethod
    def load(cls, folder: Path, name: str) -> KeyPair:
        """Reads ``<name>.crt`` and ``<name>.key``."""
        return cls((folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes())

    def save(self, folder: Path, name: str) -> None:
        """Writes ``<name>.crt`` and ``<name>.key``; the key is readable by its owner only."""
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{name}.crt", self.certificate, mode=PUBLIC)
        write_whole(folder / f"{name}.key", self.key, mode=PRIVATE)
