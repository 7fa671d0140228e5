"""``knarr secrets rotate`` on a running API server, cut short at each of its steps, and before a server that does not follow."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.service.errors import CommandError
from knarr.service.files import write_whole
from services.apiserver.encryption.configuration import read_encryption
from services.apiserver.settings import ApiServerSettings
from services.apiserver.storage.memory import MemoryStore
from services.command import secrets
from services.command.api import ApiClient
from services.command.secrets import rotate, rotate_of
from tests.apiserver.rest.live import LiveServer, running_server

SECRETS = 7


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "encryption.yaml"
    key = {"name": "old", "secret": base64.b64encode(b"o" * 32).decode()}
    providers = [{"aesgcm": {"keys": [key]}}, {"identity": {}}]
    document = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets", "configmaps"], "providers": providers}],
    }
    made.write_text(yaml.safe_dump(document))
    made.chmod(0o600)
    return made


@pytest.fixture
def server(tmp_path: Path, file: Path) -> Iterator[LiveServer]:
    settings = ApiServerSettings(encryption=read_encryption(file), encryption_file=file)
    with running_server(tmp_path, in_memory=True, settings=settings) as running:
        for number in range(SECRETS):
            secret = core.Secret(metadata=meta.ObjectMeta(name=f"s{number}", namespace="default"), data={"a": b"b"})
            running.call(running.client.create(secret))
        yield running


def stored(server: LiveServer) -> set[bytes]:
    """How secrets lie in the store: provider and key."""
    store = server.api.pipeline.backend.store
    assert isinstance(store, MemoryStore)
    found = [item.value for item in store.items("/registry/secrets/")]
    assert len(found) == SECRETS
    return {b":".join(value.split(b":")[:5]) for value in found}


def quiet(*_: Any) -> None:
    """Nobody listens."""


def check_rotated(server: LiveServer, file: Path) -> None:
    (entry,) = yaml.safe_load(file.read_text())["resources"]
    ((provider, given),) = entry["providers"][0].items()
    (key,) = given["keys"]
    assert (provider, len(entry["providers"])) == ("aesgcm", 1)
    assert stored(server) == {f"k8s:enc:aesgcm:v1:{key['name']}".encode()}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.with_name("encryption.yaml.rotation").exists()
    assert server.call(server.client.get(core.Secret, "s3", "default")).data == {"a": b"b"}


def test_a_key_is_replaced_while_the_server_runs(server: LiveServer, file: Path) -> None:
    assert stored(server) == {b"k8s:enc:aesgcm:v1:old"}
    lines: list[str] = []
    done: list[tuple[int, int]] = []
    rotate_of(file, server.kubeconfig, (), lines.append, lambda now, total: done.append((now, total)))
    check_rotated(server, file)
    assert f"  secrets: {SECRETS} written anew" in lines
    assert (SECRETS, SECRETS) in done
    assert lines[-1].endswith("is the only one; keep " + f"{file} apart from backups")


class Crash(BaseException):
    """As if the command were killed."""


@pytest.mark.parametrize("at", range(9))
def test_a_rotation_that_was_cut_short_goes_on(at: int, server: LiveServer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each file that is written, and in the midst of what is written anew."""
    left = [at]

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            found = real(*arguments, **options)
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            return found

        return call

    with monkeypatch.context() as patch:
        patch.setattr(secrets, "write_whole", counted(write_whole))
        patch.setattr(secrets._Rotation, "_write_anew", counted(secrets._Rotation._write_anew))
        with pytest.raises(Crash):
            rotate_of(file, server.kubeconfig, (), quiet, quiet)
    read_encryption(file)
    assert server.call(server.client.get(core.Secret, "s3", "default")).data == {"a": b"b"}
    rotate_of(file, server.kubeconfig, (), quiet, quiet)
    check_rotated(server, file)


class Deaf:
    """An API server that does not look at the file."""

    server = "https://deaf"

    def text(self, method: str, path: str) -> bytes:
        return b'apiserver_encryption_config_controller_last_config_info{hash="sha256:other"} 1.0\n'


def test_no_step_is_taken_before_all_servers_have_taken_the_last_one(
    server: LiveServer, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "TAKE_OVER_SECONDS", 0.0)
    before = file.read_bytes()
    with ApiClient(server.kubeconfig) as own, pytest.raises(CommandError, match="https://deaf works by sha256:other"):
        rotate(file, [own, Deaf()], quiet, quiet)  # type: ignore[list-item]
    assert file.read_bytes() == before
    assert stored(server) == {b"k8s:enc:aesgcm:v1:old"}


@pytest.mark.parametrize(
    ("resources", "complaint"),
    [(["configmaps"], "none of the entries names secrets"), (["secrets", "*.apps"], "names \\*.apps too")],
)
def test_what_cannot_be_rotated_is_told_and_left_alone(resources: list[str], complaint: str, file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    document["resources"][0]["resources"] = resources
    file.write_text(yaml.safe_dump(document))
    with pytest.raises(CommandError, match=complaint):
        rotate(file, [Deaf()], quiet, quiet)  # type: ignore[list-item]
    assert not file.with_name("encryption.yaml.rotation").exists()


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    file.chmod(0o644)
    with pytest.raises(CommandError, match="chmod 600"):
        rotate(file, [Deaf()], quiet, quiet)  # type: ignore[list-item]
