"""The file of a kubeconfig, whose form is that of clients: see ``remote.py`` for what becomes of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import read_configuration, sole_document
from services.apiserver.webhooks.remote import Remote, remote_of

KIND = "kubeconfig"


def read_remote(file: Path, *, as_nobody: bool = False) -> Remote:
    """What a kubeconfig says, ``as_nobody`` without what would be shown of oneself; raises CommandError."""
    return read_configuration(file, KIND, partial(_parse, folder=file.parent, as_nobody=as_nobody))


def read_document(file: Path) -> dict[str, Any]:
    """What ``remote_of`` makes one of; raises CommandError."""
    return read_configuration(file, KIND, _document)


def _parse(text: bytes, folder: Path, as_nobody: bool) -> Remote:
    return remote_of(_document(text), folder, as_nobody=as_nobody)


def _document(text: bytes) -> dict[str, Any]:
    found = sole_document(text)
    if found is None or found.get("kind", "Config") != "Config":
        raise ValueError("it is no kubeconfig")
    return found
