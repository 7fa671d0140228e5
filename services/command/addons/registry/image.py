"""The registry's image, made of the program that the machine has: no registry need answer to get one.

It holds that program, the libraries it is linked with, and its settings; the same program gives the same image.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from knarr.service.architecture import own_architecture
from services.command.addons.registry.manifests import FOLDER, LABEL, NAME, USER

# Debian's name for it, and everybody else's.
PROGRAMS = ("docker-registry", "registry")
# What both say of themselves: `registry` alone may be anything.
MARK = "distribution"
# Of a registry that is never asked: a name without one would be looked for at docker.io.
REPOSITORY = "localhost/knarr-registry"
# What others have made, where the machine has no such program.
UPSTREAM = "docker.io/library/registry:2.8.3"
CONFIG_PATH = "/etc/docker/registry/config.yml"
CONFIG = f"""version: 0.1
storage:
  filesystem: {{rootdirectory: {FOLDER}}}
  delete: {{enabled: true}}
http: {{addr: ":5000"}}
"""
COMMAND_SECONDS = 20.0
_LIBRARY = re.compile(r"(?:=> )?(/\S+) \(0x[0-9a-f]+\)")


def is_own(image: str) -> bool:
    return image.startswith(f"{REPOSITORY}:")


def find_program() -> Path | None:
    """The registry's program, on the path or beside this Python's own."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")))
    for name in PROGRAMS:
        found = shutil.which(name, path=path)
        if found is not None and MARK in _said(found, "--version"):
            return Path(found)
    return None


def libraries(program: Path) -> list[Path]:
    """What it is linked with, by the paths under which its loader looks for them; nothing for a static one."""
    return libraries_of(_said("ldd", str(program)))


def libraries_of(told: str) -> list[Path]:
    """By what `ldd` tells. Pure."""
    return [Path(found[1]) for line in told.splitlines() if (found := _LIBRARY.search(line))]


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


@dataclass(frozen=True, slots=True)
class Made:
    """An image, and the archive that brings it, as `docker save` writes one."""

    name: str
    archive: bytes


def make(program: Path) -> Made:
    """Raises OSError for what cannot be read."""
    files = {"bin/registry": program.read_bytes(), CONFIG_PATH.lstrip("/"): CONFIG.encode()}
    files |= {str(path).lstrip("/"): path.read_bytes() for path in libraries(program)}
    return assembled(files)


def assembled(files: Mapping[str, bytes]) -> Made:
    """The image of these files, by their paths in it. Pure."""
    layer = _tar(files, (FOLDER.lstrip("/"), "tmp"))
    identity = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": own_architecture(),
            "os": "linux",
            "config": {
                "Entrypoint": ["/bin/registry"],
                "Cmd": ["serve", CONFIG_PATH],
                "User": str(USER),
                "ExposedPorts": {"5000/tcp": {}},
                "Labels": {LABEL: NAME},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{identity}"]},
        }
    ).encode()
    name = f"{REPOSITORY}:{identity[:12]}"
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    return Made(name, _tar({"config.json": config, "layer.tar": layer, "manifest.json": manifest}))


def _tar(files: Mapping[str, bytes], folders: tuple[str, ...] = ()) -> bytes:
    """Without times and owners: the same files give the same bytes."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for folder in sorted({*_above([*files, *folders]), *folders}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder in folders else 0o755
            archive.addfile(entry)
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = 0o755, len(data)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def _above(names: list[str]) -> Iterator[str]:
    for name in names:
        yield from (str(parent) for parent in Path(name).parents if str(parent) != ".")
