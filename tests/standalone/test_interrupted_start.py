"""A first start that is cut off before any of its files comes into its place: the next one finds nothing broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.service.authentication import TokenTable
from knarr.service.certificates import belong_together, covers
from knarr.service.keypair import KeyPair
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
    # Settings, pid, four pairs of files, two tokens and their table, kubeconfig, identity.
    assert count > 2 * 12


def check(files: Files) -> None:
    for name in ("ca", "server", "admin"):
        assert belong_together(KeyPair.load(files.pki, name))
    assert covers(KeyPair.load(files.pki, "server").certificate, HOSTS)
    assert TokenTable.load(files.tokens).authenticate(f"Bearer {files.admin_token.read_text().strip()}").name == "knarr-admin"
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
