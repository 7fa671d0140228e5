"""Variables that an earlier container wrote into a file of a volume: found, read, and taken apart.

The file's form is Kubernetes': ``NAME='value'`` a line, the value in single quotes, within which everything stands for itself and
lines may end; empty lines and those that begin with ``#`` are skipped. Whoever writes the file is not trusted: it is read by handle,
below its volume, where links are followed as far as they stay there, and no more than ``MAX_FILE_BYTES`` of it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.beneath import opened, opened_beneath

MAX_FILE_BYTES = 64 * 1024
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC

# A volume's name and a path below it; what lies there, None for nothing, words where it cannot be read.
EnvFile = tuple[str, str]
EnvFiles = Mapping[EnvFile, bytes | str | None]

_SKIPPED = re.compile(r"\s*(?:#[^\n]*\n?)?")
_VARIABLE = re.compile(r"[ \t]*([^\s=#'][^\s=']*)='([^']*)'[ \t]*(?:\n|\r\n|$)")


class BadEnvFile(Exception):
    """A file of variables that has not their form."""


def wanted_files(spec: core.Container) -> set[EnvFile]:
    """The files that a container's variables come from."""
    found = (variable.value_from.file_key_ref for variable in spec.env if variable.value_from.HasField("file_key_ref"))
    return {(reference.volume_name, reference.path) for reference in found}


def read_files(wanted: Iterable[EnvFile], volumes: Mapping[str, Path]) -> dict[EnvFile, bytes | str | None]:
    """What lies there. ``volumes``: where the volumes lie, by name; blocks."""
    return {(name, path): _read(volumes[name], path) if name in volumes else None for name, path in wanted}


def _read(volume: Path, path: str) -> bytes | str | None:
    try:
        with opened(volume) as directory, opened_beneath(directory, path, READ, links=True) as handle:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return "it is no file"
            found = os.read(handle, MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    return found if len(found) <= MAX_FILE_BYTES else f"it has more than {MAX_FILE_BYTES} bytes"


def value_in(data: bytes, key: str) -> str | None:
    """The value of a variable in such a file; None: it has none of that name. Raises BadEnvFile where it has not their form."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BadEnvFile("it is not UTF-8") from None
    place = 0
    while place < len(text):
        while (skipped := _SKIPPED.match(text, place)) is not None and skipped.end() > place:
            place = skipped.end()
        if place == len(text):
            break
        found = _VARIABLE.match(text, place)
        if found is None:
            line = text.count("\n", 0, place) + 1
            raise BadEnvFile(f"line {line} is not of the form NAME='value'")
        if found[1] == key:
            return found[2]
        place = found.end()
    return None
