"""A file in which an administrator says something to a component: one document of one of Kubernetes' configuration kinds.

A field that nobody knows, or that is there twice, is refused by its place: what is passed over silently could be what protects.
https://kubernetes.io/docs/reference/config-api/
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from knarr.machinery.errors import StatusError
from knarr.machinery.forms import parse_duration
from knarr.machinery.yaml_text import yaml_documents
from knarr.service.errors import CommandError

T = TypeVar("T")

# Far more than what such files say comes to.
MOST_BYTES = 1024 * 1024
# Whoever else may read a file of keys may read all that they protect.
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def read_configuration(file: Path, kind: str, parse: Callable[[bytes], T], *, holds_keys: bool = False) -> T:
    """What ``parse`` makes of a file; it raises ValueError. Raises CommandError with the name of the file, also for one that ``holds_keys``
    and may be used by others than its owner."""
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(os.fstat(opened.fileno()).st_mode)
            if holds_keys and mode & OTHERS:
                raise CommandError(f"{file} holds keys and may be used by others than its owner (mode {mode:04o}): chmod 600 {file}")
            text = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise CommandError(f"{file} is larger than {MOST_BYTES // 1024} KiB: that is no {kind}")
    try:
        return parse(text)
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from error


def document_of(text: bytes, api_version: str, kind: str) -> dict[str, Any]:
    """The one document, of this kind; raises ValueError with the place of what is wrong, which for no YAML is a line."""
    document = sole_document(text)
    if document is None or (document.get("apiVersion"), document.get("kind")) != (api_version, kind):
        raise ValueError(f"it must be one {kind} of {api_version}, and begin with apiVersion: {api_version} and kind: {kind}")
    refuse_repeated(document)
    return document


def sole_document(text: bytes) -> dict[str, Any] | None:
    """None where there are none, or several, or it has no fields; raises ValueError for no YAML."""
    try:
        documents: list[Any] = list(yaml_documents(text))
    except StatusError as error:
        raise ValueError(error.status.message) from None
    document = documents[0] if len(documents) == 1 else None
    return document if isinstance(document, dict) else None


def refuse_repeated(found: Any, path: str = "") -> None:
    """Raises ValueError for the first field that a section has twice."""
    if isinstance(found, list):
        for at, item in enumerate(found):
            refuse_repeated(item, f"{path}[{at}]")
    elif isinstance(found, dict):
        if repeated := getattr(found, "names", ()):
            raise ValueError(f"{path}: field {repeated[0]!r} is there twice".lstrip(": "))
        for name, inner in found.items():
            refuse_repeated(inner, f"{path}.{name}".lstrip("."))


def refuse_others(found: Any, path: str, *known: str) -> None:
    """A section has these fields and no others; raises ValueError."""
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must be a mapping".lstrip(": "))
    if unknown := sorted(str(name) for name in found if name not in known):
        raise ValueError(f"{path}: unknown field {unknown[0]!r}".lstrip(": "))


def seconds_of(value: Any, path: str) -> float:
    """Of a time as Kubernetes writes it, of either sign; raises ValueError."""
    try:
        return parse_duration(str(value)) / 1e9
    except ValueError as error:
        raise ValueError(f"{path}: Invalid value: {value!r}: {error}; write it like 30s or 2m") from error
