"""``knarr secrets rotate``: replaces the key by which objects are encrypted in the store, while the cluster runs.

Each step is a file that is replaced as a whole, and every API server says by which file it works: the next step waits for all of them.
Given again after it was cut short, the command goes on where it was.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import yaml

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from services.apiserver.encryption.configuration import read_encryption
from services.apiserver.encryption.reloading import INFO, config_hash
from services.apiserver.encryption.rotation import Step, added, entry_of, finished, next_step, promoted
from services.command.api import ApiClient, Refused

SECRETS = "secrets"
KEY_BYTES = 32
# How long an API server may take to take a file over.
TAKE_OVER_SECONDS, POLL_SECONDS = 30.0, 0.2
# A write is tried so often when others come between.
ATTEMPTS = 5
_IN_FORCE = re.compile(INFO + r'\{hash="([^"]+)"\} 1\.0')

Say = Callable[[str], None]
Progress = Callable[[int, int], None]


def rotate(file: Path, servers: Sequence[ApiClient], say: Say, progress: Progress) -> None:
    """``servers`` are all API servers of the cluster; one at least. Raises CommandError, with what is to be done."""
    if file.is_symlink():
        raise CommandError(f"{file} is a link; name the file that it leads to")
    rotation = _Rotation(file, servers, say, progress)
    while rotation.step():
        pass


class _Rotation:
    def __init__(self, file: Path, servers: Sequence[ApiClient], say: Say, progress: Progress) -> None:
        self._file, self._servers, self._say, self._progress = file, servers, say, progress
        # Its name is written down before the key is anywhere: by it a rotation is known that was cut short.
        self._note = file.with_name(f"{file.name}.rotation")
        self._read()
        self._name = self._noted()

    def step(self) -> bool:
        """Does what is next; False when nothing is."""
        document = self._read()
        # Nothing has happened yet where a server does not look at its file; and one that does not know the key could not read what
        # others make with it.
        self._await_servers()
        step = next_step(document, SECRETS, self._name)
        if step is Step.DONE:
            self._note.unlink(missing_ok=True)
            self._say(f"the key {self._name} is the only one; keep {self._file} apart from backups")
            return False
        self._say(f"{step.value} ({self._name})")
        if step is Step.ADD:
            self._replace(added(document, SECRETS, self._name, os.urandom(KEY_BYTES)))
        elif step is Step.PROMOTE:
            self._replace(promoted(document, SECRETS, self._name))
        else:
            for resource in entry_of(document, SECRETS)["resources"]:
                self._rewrite(resource)
            self._replace(finished(document, SECRETS, self._name))
        return True

    def _read(self) -> Any:
        read_encryption(self._file)
        document = yaml.safe_load(self._file.read_bytes())
        try:
            names = entry_of(document, SECRETS)["resources"]
        except ValueError as error:
            raise CommandError(f"{self._file}: {error}") from error
        if patterns := [name for name in names if "*" in name]:
            # What they stand for is not all known, and no key can be dropped before it is written anew.
            raise CommandError(f"{self._file}: the entry of {SECRETS} names {', '.join(patterns)} too; give those an entry of their own")
        return document

    def _noted(self) -> str:
        try:
            return str(orjson.loads(self._note.read_bytes())["key"])
        except FileNotFoundError:
            name = f"key-{datetime.now(UTC):%Y%m%d-%H%M%S}"
            write_whole(self._note, orjson.dumps({"key": name}), mode=PRIVATE)
            return name
        except (orjson.JSONDecodeError, KeyError, TypeError):
            raise CommandError(f"{self._note} is damaged; look into {self._file} whether a rotation is under way, then remove it") from None

    def _replace(self, document: Any) -> None:
        text = yaml.safe_dump(document, sort_keys=False).encode()
        write_whole(self._file, text, mode=PRIVATE)
        read_encryption(self._file)

    def _await_servers(self) -> None:
        """Returns once every server works by the file as it is."""
        wanted = config_hash(self._file.read_bytes())
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        for server in self._servers:
            while wanted not in (found := _IN_FORCE.findall(server.text("GET", "/metrics").decode())):
                if time.monotonic() > deadline:
                    known = f"works by {found[0]}" if found else "works by no encryption configuration"
                    raise CommandError(
                        f"the API server at {server.server} {known}, not by {self._file} ({wanted}): copy the file to where its "
                        "--encryption-provider-config leads, mode 0600, then give this command again; it goes on from here"
                    )
                time.sleep(POLL_SECONDS)

    def _rewrite(self, resource: str) -> None:
        """Writes every object of a resource as it is, which makes its value anew."""
        path = _collection(self._servers[0], resource)
        found = [(obj["metadata"].get("namespace", ""), obj["metadata"]["name"]) for obj in self._servers[0].objects(path)]
        for done, (namespace, name) in enumerate(found):
            self._progress(done, len(found))
            self._write_anew(_object_path(path, namespace, name))
        self._progress(len(found), len(found))
        self._say(f"  {resource}: {len(found)} written anew")

    def _write_anew(self, path: str) -> None:
        server = self._servers[0]
        for _ in range(ATTEMPTS):
            try:
                server.put(path, server.get(path))
            except Refused as error:
                if error.code == 404:
                    return
                if error.code != 409:
                    raise CommandError(f"{path}: {error}") from error
            else:
                return
        raise CommandError(f"{path} is written by somebody else again and again; give this command again")


def _collection(server: ApiClient, resource: str) -> str:
    """The path of a resource as a configuration spells it: ``secrets``, ``deployments.apps``. Raises CommandError."""
    plural, _, group = resource.partition(".")
    if not group:
        return f"/api/v1/{plural}"
    try:
        preferred = server.get(f"/apis/{group}")["preferredVersion"]["groupVersion"]
    except Refused as error:
        raise CommandError(f"{resource} is not served, so that nothing of it can be written anew: {error}") from error
    return f"/apis/{preferred}/{plural}"


def _object_path(collection: str, namespace: str, name: str) -> str:
    head, _, plural = collection.rpartition("/")
    return f"{head}/namespaces/{namespace}/{plural}/{name}" if namespace else f"{collection}/{name}"


def rotate_of(file: Path, kubeconfig: Path, servers: Sequence[str], say: Say, progress: Progress) -> None:
    """The same, of the servers at these URLs, or the one that the kubeconfig names."""
    with ExitStack() as stack:
        rotate(file, [stack.enter_context(ApiClient(kubeconfig, server)) for server in servers or ("",)], say, progress)
