"""The data directory in the hands of a person for whom root works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from services.standalone.files import Files
from services.standalone.machine import sudo_caller

USER, GROUP = 12345, 12346
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as sudo gives it")


@root
def test_a_link_is_handed_over_and_not_what_it_leads_to(tmp_path: Path) -> None:
    files, elsewhere = Files(tmp_path / "k"), tmp_path / "elsewhere"
    files.prepare()
    elsewhere.touch()
    files.kubeconfig.symlink_to(elsewhere)
    files.hand_over(USER, GROUP)
    assert elsewhere.stat().st_uid == 0 and files.kubeconfig.lstat().st_uid == USER == files.root.stat().st_uid


@root
def test_the_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.settings.touch()
    os.chown(tmp_path, 777, 777)
    files.hand_over(USER, GROUP)
    assert (files.root.stat().st_uid, files.settings.stat().st_uid) == (777, 0)


@root
@pytest.mark.parametrize(
    ("user", "group", "caller"),
    [
        ("1000", "1001", (1000, 1001)),
        ("0", "0", None),
        ("", "", None),
        ("1000", "", None),
        ("x", "1", None),
        ("9" * 11, "1", None),
        ("1", str(2**32 - 1), None),
    ],
)
def test_who_called_sudo(user: str, group: str, caller: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", user)
    monkeypatch.setenv("SUDO_GID", group)
    assert sudo_caller() == caller


def test_without_root_nobody_is_handed_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1000")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert sudo_caller() is None
