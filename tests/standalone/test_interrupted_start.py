"""A first start that is cut off before any of its files comes into its place: the next one finds nothing broken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from knarr.machinery.errors import Unauthorized
from knarr.service.authentication import TokenTable
from knarr.service.certificates import belong_together, covers
from knarr.service.errors import CommandError
from knarr.service.keypair import KeyPair
from knarr.service.signing_key import SIGNING_KEY
from services.apiserver.tokens.keys import SigningKeys
from services.compose import trust
from services.standalone import process
from services.standalone.credentials import load_or_create, write_kubeconfig
from services.standalone.files import Files
from services.standalone.settings import ClusterSettings

HOSTS = ["127.0.0.1", "localhost"]


class Killed(BaseException):
    """Stands for SIGKILL: nothing is tidied up after it."""


def start(files: Files) -> None:
    """What a start writes, in its order."""
    files.prepare()
    files.sweep()
    ClusterSettings(data_dir=files.root, runtime="hollow").save()
    process.write_pid(files)
    credentials = load_or_create(files, HOSTS)
    write_kubeconfig(files.kubeconfig, credentials, "https://127.0.0.1:6443")
    files.cluster_id()


def killed_at(count: int, patch: pytest.MonkeyPatch) -> None:
    """Ends the process before the file of that number is brought into its place, or (halves) right after."""
    replace, unlink = Path.replace, Path.unlink
    renames = 0

    def counted(path: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if 2 * renames - 1 == count:
            raise Killed
        done = replace(path, target)
        if 2 * renames == count:
            raise Killed
        return done

    patch.setattr(Path, "replace", counted)
    # What is aside stays.
    patch.setattr(Path, "unlink", lambda path, missing_ok=False: None if path.name.startswith(".") else unlink(path, missing_ok))


def test_every_step_may_be_the_last(tmp_path: Path) -> None:
    count = 0
    while True:
        count += 1
        files = Files(tmp_path / str(count))
        with pytest.MonkeyPatch.context() as patch:
            killed_at(count, patch)
            try:
                start(files)
            except Killed:
                pass
            else:
                break
        ClusterSettings.saved(files.root)
        process.find(files)
        start(files)
        check(files)
        start(files)
    # Settings, pid, five pairs of files, two tokens and their table, the key of others, kubeconfig, identity.
    assert count > 2 * 17


def check(files: Files) -> None:
    for name in ("ca", "server", "admin"):
        assert belong_together(KeyPair.load(files.pki, name))
    for name in ("ca", "client"):
        assert belong_together(KeyPair.load(files.front_proxy, name))
    assert covers(KeyPair.load(files.pki, "server").certificate, HOSTS)
    assert TokenTable.load(files.tokens).authenticate(f"Bearer {files.admin_token.read_text().strip()}").name == "knarr-admin"
    assert SigningKeys.load(files.pki) is not None and (files.pki / SIGNING_KEY).stat().st_mode & 0o777 == 0o600
    assert ClusterSettings.saved(files.root).runtime == "hollow"
    assert len(files.cluster_id()) == 8
    assert not list(files.root.rglob(".*"))


@pytest.mark.parametrize("content", ["", "\n", "12", "xyz", "0123456789abcdef"])
def test_an_identity_that_was_not_written_whole_is_made_anew(content: str, tmp_path: Path) -> None:
    """An empty one would be that of every cluster whose first start was cut off."""
    files = Files(tmp_path)
    files.identity.write_text(content)
    made = files.cluster_id()
    assert len(made) == 8 and made not in content
    assert files.cluster_id() == made


HARMS: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda data: None,
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "but its end": lambda data: data[:-2],
    "zeros": lambda data: bytes(len(data)),
    "noise": lambda data: bytes(range(256)),
    "blank": lambda data: b" \n",
}


@pytest.mark.parametrize("harm", HARMS)
def test_any_file_may_be_harmed_in_any_way(harm: str, tmp_path: Path) -> None:
    """A start makes it anew or says in one line which it is; nobody gets in by it."""
    files = Files(tmp_path)
    start(files)
    whole = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(whole) == 18
    for name, data in whole.items():
        found = HARMS[harm](data)
        if found is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(found)
        process.find(files)
        settings, complaint = ClusterSettings.salvaged(tmp_path)
        assert settings.files == files and "\n" not in complaint
        try:
            again(files)
        except CommandError as error:
            assert name.name in str(error) and "\n" not in str(error)
        else:
            check(files)
            for nothing in ("Bearer", "Bearer ", "Bearer \n"):
                with pytest.raises(Unauthorized):
                    TokenTable.load(files.tokens).authenticate(nothing)
        for path, before in whole.items():
            (tmp_path / path).write_bytes(before)


def again(files: Files) -> None:
    """A start with the settings that were kept."""
    ClusterSettings.saved(files.root)
    start(files)


@pytest.mark.parametrize("harm", HARMS)
def test_any_file_of_a_trust_folder_may_be_harmed_in_any_way(harm: str, tmp_path: Path) -> None:
    found = [member for member in trust.members({}, {"node-1": "192.0.2.11"}) if member.folder in ("apiserver", "node-1/kubelet")]

    def make() -> None:
        trust.make(tmp_path, found, "https://127.0.0.1:6443")
        trust.make_etcd(tmp_path, {"etcd": ["192.0.2.50"]})

    make()
    whole = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name, data in whole.items():
        content = HARMS[harm](data)
        if content is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(content)
        try:
            make()
        except CommandError as error:
            assert name.parts[0] == "authority" and name.name in str(error) and "\n" not in str(error)
        else:
            table = TokenTable.load(tmp_path / "apiserver/tokens.csv")
            token = (tmp_path / "admin/token").read_text().strip()
            assert table.authenticate(f"Bearer {token}").name == "knarr-admin"
            shown = [f"{member.folder}/server" for member in found]
            for pair in (*shown, "apiserver/kubelet-client", "apiserver/etcd", "etcd/server", "admin/admin"):
                assert belong_together(KeyPair.load(tmp_path, pair))
            with pytest.raises(Unauthorized):
                table.authenticate("Bearer")
        for path, before in whole.items():
            (tmp_path / path).write_bytes(before)
