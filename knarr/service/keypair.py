"""A certificate and its key as files. Apart from what makes certificates: a component that only shows its own need not import that."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

from knarr.service.file_marks import FileMarks
from knarr.service.files import PRIVATE, PUBLIC, write_whole

log = logging.getLogger(__name__)

GROUP_READS = 0o040


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def latest(self) -> KeyPair:
        """This pair itself: it comes from no files."""
        return self

    @classmethod
    def load(cls, folder: Path, name: str) -> KeyPair:
        """Reads ``<name>.crt`` and ``<name>.key``."""
        return cls((folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes())

    def save(self, folder: Path, name: str) -> None:
        """Writes ``<name>.crt`` and ``<name>.key``; the key is readable by its owner only, and by the group that might read the former."""
        folder.mkdir(parents=True, exist_ok=True)
        key = folder / f"{name}.key"
        shared = key.stat().st_mode & GROUP_READS if key.exists() else 0
        write_whole(folder / f"{name}.crt", self.certificate, mode=PUBLIC)
        write_whole(key, self.key, mode=PRIVATE | shared)


class KeptPair:
    """The pair in two files, which may be replaced by another at any time: a server shows each new connection what is there by then.

    Files that are missing, damaged or not each other's (one of them is replaced before the other) change nothing. Any thread may ask.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises OSError or ssl.SSLError when they are no pair to begin with."""
        self._certificate, self._key = certificate, key
        self._seen = FileMarks((certificate, key))
        self._pair = self._read()

    def latest(self) -> KeyPair:
        """The pair that lies in the files by now; the same object for as long as they are the same."""
        if self._seen.changed():
            try:
                self._pair = self._read()
                log.info("a certificate was replaced", extra={"path": str(self._certificate)})
            except (OSError, ssl.SSLError) as error:
                log.warning(
                    "files are no certificate and its key; the former are shown on", extra={"path": str(self._certificate), "error": error}
                )
        return self._pair

    def _read(self) -> KeyPair:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate, self._key)
        return KeyPair(self._certificate.read_bytes(), self._key.read_bytes())
