"""Takes over an EncryptionConfiguration that is replaced while the server runs, and tells by which one it works.

One that is broken changes nothing: the log says what is wrong with it.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from prometheus_client import Gauge

from knarr.service.errors import CommandError
from knarr.service.file_marks import FileMarks
from knarr.service.tally import Counts
from services.apiserver.encryption.reading import encryption
from services.apiserver.storage.values import Values

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
INFO = "apiserver_encryption_config_controller_last_config_info"
_IN_FORCE = Gauge(INFO, "1 for the EncryptionConfiguration that is in force, by the hash of its file", ["hash"])
_RELOADS = Counts("apiserver_encryption_config_controller_automatic_reloads_total", "Files that were taken over, or refused", ["status"])


def config_hash(text: bytes) -> str:
    """By which a file is known among servers."""
    return f"sha256:{hashlib.sha256(text).hexdigest()}"


class EncryptionFile:
    """Looks every second; ``values`` are told."""

    def __init__(self, file: Path, values: Values) -> None:
        self._file, self._values = file, values
        self._marks = FileMarks((file,))
        self._tell()

    async def run(self) -> None:
        async for _ in self._marks.changes(LOOK_SECONDS):
            self._take()

    def look(self) -> None:
        """Takes the file over where it is another, now."""
        if self._marks.changed():
            self._take()

    def _take(self) -> None:
        try:
            found = encryption(self._file)
        except CommandError as error:
            _RELOADS.of("failure").inc()
            log.error("the encryption configuration was replaced by one that is not taken; the former holds: %s", error)
            return
        self._values.encrypt_by(found)
        _RELOADS.of("success").inc()
        log.warning("the encryption configuration was replaced", extra={"path": str(self._file)})
        self._tell()

    def _tell(self) -> None:
        try:
            known = config_hash(self._file.read_bytes())
        except OSError:
            return
        _IN_FORCE.clear()
        _IN_FORCE.labels(known).set(1)
