"""``knarr export``: what is in the archive, and that no secret is."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from knarr.service.errors import CommandError
from services.apiserver.settings import ApiServerSettings
from services.command.api import ApiClient
from services.command.export import contents, export
from services.command.secrecy import LEFT_OUT, Secrets
from services.standalone import process
from services.standalone.credentials import load_or_create
from services.standalone.settings import ClusterSettings
from tests.apiserver.rest.live import LiveServer, running_server

PASSWORD, PEM = "correct-horse", "-----BEGIN X-----\nAAAAlineone\nBBBBlinetwo\n-----END X-----\n"
QUOTED = 'pass"word\\here'
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("server"), in_memory=True, settings=ApiServerSettings()) as running:
        yield running


@pytest.fixture
def settings(tmp_path: Path, server: LiveServer) -> ClusterSettings:
    """A data directory as a running cluster has it, whose log and objects have all kinds of secrets in them."""
    encryption = tmp_path / "encryption.yaml"
    encryption.write_text(f"resources:\n- providers:\n  - aescbc:\n      keys:\n      - name: a\n        secret: {_base64('k' * 32)}\n")
    made = ClusterSettings(data_dir=tmp_path / "cluster", runtime="hollow", encryption_provider_config=str(encryption))
    files = made.files
    files.prepare()
    made.save()
    credentials = load_or_create(files, ["localhost"])
    files.kubeconfig.write_bytes(server.kubeconfig.read_bytes())
    process.write_pid(files)
    files.state.write_text("{}")
    files.etcd.mkdir()
    (files.etcd / "etcd.log").write_text('{"msg":"slow"}\n')
    (files.etcd / "secret.db").write_text(PASSWORD)
    lines = [PASSWORD, credentials.admin_token, _base64(PASSWORD), JWT, "AAAAlineone", f"Bearer {'x' * 20}", "https://me:hush@example.com"]
    lines += [(files.pki / "ca.key").read_text(), _base64("k" * 32), orjson.dumps(QUOTED).decode(), "the node is ready"]
    files.log.write_text("\n".join(lines))
    return made


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secrets_of(settings: ClusterSettings) -> list[str]:
    files = settings.files
    known = [PASSWORD, QUOTED, orjson.dumps(QUOTED).decode()[1:-1], JWT, "AAAAlineone", "BBBBlinetwo", "hush", "x" * 20, "k" * 32]
    known += [path.read_text().strip() for path in (files.admin_token, files.pki / "apiserver.token", *files.pki.rglob("*.key"))]
    known += [line for path in files.pki.rglob("*.key") for line in path.read_text().splitlines() if not line.startswith("-----")]
    known += [line.split(",")[0] for line in files.tokens.read_text().splitlines()]
    return [*known, *map(_base64, known)]


def fill(server: LiveServer) -> None:
    secret = {"metadata": {"name": "s"}, "data": {"password": _base64(PASSWORD), "tls.key": _base64(PEM), "q": _base64(QUOTED)}}
    container = {
        "name": "c", "image": f"example/{PASSWORD}:1", "args": [f"--password={PASSWORD}"], "env": [{"name": "P", "value": "other-secret"}],
    }  # fmt: skip
    pod = {"metadata": {"name": "p", "annotations": {"note": QUOTED}}, "spec": {"containers": [container]}}
    with ApiClient(server.kubeconfig) as api:
        objects: dict[str, Any] = {"secrets": secret, "pods": pod}
        for name, obj in objects.items():
            api.text("POST", f"/api/v1/namespaces/default/{name}", orjson.dumps(obj))


def test_no_secret_is_in_it(settings: ClusterSettings, server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(server)
    file = tmp_path / "a.tar.gz"
    export(settings, file)
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        members = {entry.name.removeprefix("knarr-export/"): tar.extractfile(entry).read().decode() for entry in tar}  # type: ignore[union-attr]
    for secret in secrets_of(settings):
        assert [name for name, text in members.items() if secret in text] == [], secret
    assert "other-secret" not in "".join(members.values())
    # … and what is looked for is there: without it the test would prove nothing.
    assert "the node is ready" in members["logs/knarr.log"] and LEFT_OUT in members["logs/knarr.log"]
    pods = orjson.loads(members["objects/pods.json"])
    assert [pod["metadata"]["name"] for pod in pods] == ["p"] and pods[0]["spec"]["containers"][0]["image"] == f"example/{LEFT_OUT}:1"
    assert {"version.json", "doctor.json", "settings.json", "files.txt", "certificates.json", "metrics.txt"} <= members.keys()
    assert not any("secrets" in name or "configmaps" in name for name in members)
    monkeypatch.setattr(Secrets, "without", lambda self, text: text)
    bare = b"".join(contents(settings).values()).decode()
    assert PASSWORD in bare and JWT in bare and settings.files.admin_token.read_text().strip() in bare


def test_a_cluster_that_does_not_run_is_exported_and_the_archive_says_so(settings: ClusterSettings, tmp_path: Path) -> None:
    settings.files.pid.unlink()
    found = contents(settings)
    assert found["lacking.txt"] == b"objects: the cluster does not run"
    assert not any(name.startswith("objects/") for name in found)


def test_a_paused_cluster_is_not_waited_for(settings: ClusterSettings) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as made:
        settings.files.pid.write_text(f"{made.pid} {process.start_time(made.pid)}\n")
        made.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, made.pid, os.WSTOPPED | os.WNOWAIT)
        found = contents(settings)
        made.kill()
    assert found["lacking.txt"].startswith(b"objects: the cluster is paused") and "logs/knarr.log" in found
    assert not any(name.startswith("objects/") for name in found)


def test_where_secrets_are_not_told_no_object_is_shown(settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they hold could not be taken out of the others."""

    def refused(*_: object) -> Iterator[Any]:
        raise CommandError("the API server does not answer")

    monkeypatch.setattr(ApiClient, "objects", refused)
    found = contents(settings)
    assert not any(name.startswith("objects/") for name in found) and b"does not answer" in found["lacking.txt"]


def test_nothing_is_written_over_and_nothing_made_of_nothing(settings: ClusterSettings, tmp_path: Path) -> None:
    file = tmp_path / "a.tar.gz"
    file.write_text("mine")
    with pytest.raises(CommandError, match="is there already"):
        export(settings, file)
    with pytest.raises(CommandError, match="there is no cluster in"):
        export(ClusterSettings(data_dir=tmp_path / "none"), tmp_path / "b.tar.gz")
    assert file.read_text() == "mine" and list((tmp_path / "cluster").iterdir()) and not (tmp_path / "b.tar.gz").exists()


def test_words_that_are_too_short_are_left() -> None:
    assert Secrets([b"abc", b"abcd"]).without(b"abc abcd") == b"abc (left out)"


def test_the_longest_is_taken_where_several_begin_alike() -> None:
    assert Secrets([b"abcdef", b"abcd", b"cdef"]).without(b"abcdefcdef abcde") == b"(left out)(left out) (left out)e"


def test_a_password_among_options_is_left_out() -> None:
    assert Secrets([]).without(b"user=me,password=hush,rw") == b"user=me,password=(left out),rw"


def test_json_stays_json_whatever_secrets_there_are() -> None:
    found = Secrets([b"5432", b"true", b"say \xe2\x82"]).within(
        {"port": 5432, "ready": True, "5432": ["true", "at 5432", "say \u20ac", None]}
    )
    assert found == {"port": 5432, "ready": True, LEFT_OUT: [LEFT_OUT, f"at {LEFT_OUT}", f"{LEFT_OUT}\ufffd", None]}


def test_a_hundred_keys_take_no_longer_than_a_few() -> None:
    """Counted in what is compared, since time is the machine's."""
    text = b"the node is ready\n" * 1000
    few, many = (Secrets([b"%08d%s" % (number, b"x" * 64) for number in range(count)]) for count in (1, 3000))
    compared: list[bytes] = []

    class Watched(bytes):
        def startswith(self, *arguments: Any) -> bool:
            compared.append(arguments[0])
            return super().startswith(*arguments)

    assert few.without(Watched(text)) == many.without(Watched(text)) == text
    assert compared == []


def test_files_of_pods_that_come_and_go_are_in_nobodys_way(
    settings: ClusterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = settings.files.kubelet / "pods/p/volumes"
    volume.mkdir(parents=True)
    (volume / "gone.key").write_text("a-key-of-a-pod")
    with (volume / "large.key").open("wb") as large:
        large.truncate(1 << 40)
    read = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        if self.name == "gone.key":
            self.unlink()
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert "logs/knarr.log" in contents(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works for others")
def test_with_sudo_the_archive_is_the_persons(settings: ClusterSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.files.pid.unlink()
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "1234")
    export(settings, tmp_path / "a.tar.gz")
    assert (tmp_path / "a.tar.gz").stat().st_uid == 1234
