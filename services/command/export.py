"""``knarr export``: what somebody who is asked for help needs to see of a cluster, in one archive, secrets left out."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from services.command import doctor, findings
from services.command.api import ApiClient, Refused
from services.command.commands.version import versions
from services.command.named.freezing import is_frozen
from services.command.secrecy import Secrets, of_files, of_objects, of_text, shown
from services.standalone import certificates, process
from services.standalone.fellows.plan import fellows_folder
from services.standalone.files import Files
from services.standalone.machine import sudo_caller
from services.standalone.settings import ClusterSettings

# Secrets are not among them, nor ConfigMaps, nor what extensions have brought.
RESOURCES = {
    "/api/v1": (
        "namespaces nodes pods services endpoints events persistentvolumes persistentvolumeclaims replicationcontrollers resourcequotas"
        " limitranges serviceaccounts"
    ),
    "/apis/apps/v1": "deployments replicasets daemonsets statefulsets",
    "/apis/batch/v1": "jobs cronjobs",
    "/apis/autoscaling/v2": "horizontalpodautoscalers",
    "/apis/discovery.k8s.io/v1": "endpointslices",
    "/apis/networking.k8s.io/v1": "networkpolicies ingresses",
    "/apis/storage.k8s.io/v1": "storageclasses volumeattachments csinodes",
    "/apis/policy/v1": "poddisruptionbudgets",
    "/apis/coordination.k8s.io/v1": "leases",
    "/apis/scheduling.k8s.io/v1": "priorityclasses",
}
PAGES = {"metrics.txt": "/metrics", "readyz.txt": "/readyz?verbose", "kubernetes-version.json": "/version"}
# Of a log, its end.
LOG_BYTES = 8 * 1024 * 1024


@dataclass
class Contents:
    """What an archive holds, by the names of its files, and what it lacks."""

    files: dict[str, bytes]
    lacking: list[str]

    def add(self, name: str, make: Callable[[], bytes]) -> None:
        """What cannot be had keeps nothing else away."""
        try:
            self.files[name] = make()
        except (CommandError, OSError, Refused) as error:
            self.lacking.append(f"{name}: {error}")


def export(settings: ClusterSettings, file: Path) -> None:
    """Writes the archive, the owner's alone, whole or not at all. Raises CommandError."""
    if file.exists():
        raise CommandError(f"{file} is there already; choose another name")
    if not settings.files.root.exists():
        raise CommandError(f"there is no cluster in {settings.files.root}; start it first: `knarr up`")
    write_whole(file, packed(contents(settings)), mode=PRIVATE)
    if caller := sudo_caller():
        # It is for the person, who shows it to others.
        os.chown(file, *caller, follow_symlinks=False)


def contents(settings: ClusterSettings) -> dict[str, bytes]:
    """The files of an archive by their names, without secrets."""
    files, found = settings.files, Contents({}, [])
    known = [*of_files(files.root), *_of_configuration(settings)]
    found.add("version.json", lambda: orjson.dumps(versions()))
    found.add("doctor.json", lambda: findings.as_json(doctor.examine(settings.data_dir)))
    found.add("settings.json", files.settings.read_bytes)
    found.add("files.txt", lambda: "\n".join(_listed(files.root)).encode())
    found.add("certificates.json", lambda: _certificates(files))
    for path in (files.log, files.log.with_name(f"{files.log.name}.1"), files.etcd / "etcd.log"):
        if path.exists():
            found.add(f"logs/{path.name}", lambda path=path: _end(path))  # type: ignore[misc]
    for path in sorted(fellows_folder(settings).glob("*/node.log")):
        found.add(f"logs/{path.parent.name}.log", lambda path=path: _end(path))  # type: ignore[misc]
    running = process.find(files)
    if running is None:
        found.lacking.append("objects: the cluster does not run")
    elif is_frozen(running.pid):
        # It would be waited for until the time is up.
        found.lacking.append("objects: the cluster is paused; `knarr resume` lets it go on")
    else:
        found.add("state.json", files.state.read_bytes)
        known += _ask(files.kubeconfig, found)
    found.files["lacking.txt"] = "\n".join(found.lacking).encode()
    secrets = Secrets(known)
    return {name: _without(secrets, name, text) for name, text in found.files.items()}


def _without(secrets: Secrets, name: str, text: bytes) -> bytes:
    """What is JSON is JSON afterwards."""
    if name.endswith(".json"):
        with suppress(orjson.JSONDecodeError):
            return orjson.dumps(secrets.within(orjson.loads(text)), option=orjson.OPT_INDENT_2)
    return secrets.without(text)


def _ask(kubeconfig: Path, found: Contents) -> list[bytes]:
    """Adds what the API server shows; answers the secrets that it knows of. Nothing is added where it does not tell those."""
    objects: dict[str, bytes] = {}
    try:
        with ApiClient(kubeconfig) as api:
            known = list(of_objects(api.objects("/api/v1/secrets")))
            collected = Contents(objects, found.lacking)
            for group, names in RESOURCES.items():
                for name in names.split():
                    collected.add(f"objects/{name}.json", lambda path=f"{group}/{name}": _objects(api, path))  # type: ignore[misc]
            for name, path in PAGES.items():
                collected.add(name, lambda path=path: api.text("GET", path))  # type: ignore[misc]
    except (CommandError, Refused) as error:
        found.lacking.append(f"objects: {error}")
        return []
    found.files.update(objects)
    return known


def _objects(api: ApiClient, path: str) -> bytes:
    return orjson.dumps([shown(obj) for obj in api.objects(path)], option=orjson.OPT_INDENT_2)


def _of_configuration(settings: ClusterSettings) -> Iterator[bytes]:
    """Keys and tokens in files that options name."""
    for path in (settings.encryption_provider_config, settings.authentication_token_webhook_config_file):
        if path and Path(path).is_file():
            yield from of_text(Path(path).read_bytes())


def _listed(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        found = path.lstat()
        yield f"{stat.filemode(found.st_mode)} {found.st_uid:>6} {found.st_size:>12} {path.relative_to(root)}"


def _certificates(files: Files) -> bytes:
    now = datetime.now(UTC)
    return orjson.dumps([found.as_dict(now) for found in certificates.certificates(files.pki)], option=orjson.OPT_INDENT_2)


def _end(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LOG_BYTES, 0))
        return file.read(LOG_BYTES)


def packed(files: dict[str, bytes]) -> bytes:
    """A compressed tar archive with one folder."""
    archive, now = io.BytesIO(), datetime.now(UTC)
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"knarr-export/{name}")
            entry.size, entry.mode, entry.mtime = len(text), PRIVATE, int(now.timestamp())
            tar.addfile(entry, io.BytesIO(text))
    return archive.getvalue()
