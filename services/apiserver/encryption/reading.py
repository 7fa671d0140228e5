"""What a server's option says about encryption. Ciphers are only loaded where there is a file."""

from __future__ import annotations

from pathlib import Path

from services.apiserver.encryption.transformer import Encryption


def encryption(file: Path | None) -> Encryption:
    """What the file says, nothing without one; raises CommandError."""
    if file is None:
        return Encryption()
    from services.apiserver.encryption.configuration import read_encryption

    return read_encryption(file)
