"""Certificates that were made anew come to a machine by themselves, and its units are given them."""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from knarr.service import certificates
from knarr.service.certificates import covers
from services.compose import trust
from services.compose.renewal import main

NODE = "node-1"


class Machine:
    """A node's /etc/knarr, and a service manager and an scp that note what they are told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kept, self.own, self._told, self._patch = folder / "kept", folder / "own", folder / "told", monkeypatch
        programs = folder / "bin"
        programs.mkdir()
        for name, body in (("systemctl", f'echo "$@" >>{self._told}'), ("scp", 'shift 5; exec cp -r "${1#host:}" "$2"')):
            (programs / name).write_text(f"#!/bin/sh\n{body}\n")
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def trust(self) -> None:
        options = ["--apiserver=192.0.2.10", "--server=https://192.0.2.10:6443", f"--node={NODE}=192.0.2.11"]
        self._patch.setattr(sys, "argv", ["trust", str(self.kept), *options])
        assert trust.main() == 0

    def install(self) -> None:
        for part in ("kubelet", "proxy"):
            shutil.copytree(self.kept / NODE / part, self.own / part)

    def renew(self, source: str = "") -> int:
        self._patch.setattr(sys, "argv", ["renewal", source or str(self.kept / NODE), "--folder", str(self.own)])
        return main()

    @property
    def told(self) -> list[str]:
        return self._told.read_text().splitlines() if self._told.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_what_is_about_to_expire_is_replaced_everywhere(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "LEAF_LIFETIME", timedelta(days=29))
        machine.trust()
    machine.install()
    assert machine.renew() == 0 and machine.told == []
    machine.trust()
    assert machine.renew(f"host:{machine.kept / NODE}") == 0
    # The kubelet shows by itself what lies in its folder.
    assert machine.told == ["try-restart knarr-proxy.service"]
    assert capsys.readouterr().out.splitlines()[-1] == "renewed: kubelet, proxy (restarted)"
    for part in ("kubelet", "proxy"):
        assert covers((machine.own / part / "server.crt").read_bytes(), [NODE, "192.0.2.11"])
        assert (machine.own / part / "server.key").read_bytes() == (machine.kept / NODE / part / "server.key").read_bytes()
        assert (machine.own / part / "server.key").stat().st_mode & 0o777 == 0o600
    assert machine.renew() == 0 and len(machine.told) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "all is as it should be"


def test_an_authoritys_new_certificate_is_told_the_kubelet(machine: Machine) -> None:
    machine.trust()
    machine.install()
    (machine.own / "kubelet/ca.crt").write_text("former\n")
    assert machine.renew() == 0 and machine.told == ["try-restart knarr-kubelet.service"]


def test_the_store_is_given_its_certificate_as_well(machine: Machine) -> None:
    (machine.kept / NODE / "etcd").mkdir(parents=True)
    (machine.kept / NODE / "etcd/server.crt").write_text("new\n")
    (machine.own / "etcd").mkdir(parents=True)
    assert machine.renew() == 0 and machine.told == ["try-restart etcd.service"]
    assert (machine.own / "etcd/server.crt").read_text() == "new\n"


def test_what_cannot_be_had_changes_nothing(machine: Machine) -> None:
    machine.trust()
    machine.install()
    (machine.kept / NODE / "kubelet/ca.crt").write_text("other\n")
    shutil.rmtree(machine.kept / NODE / "proxy")
    for source in (str(machine.kept / NODE), f"host:{machine.kept / NODE}"):
        with pytest.raises(SystemExit, match=rf"error: .*{machine.kept / NODE}/proxy"):
            machine.renew(source)
    assert machine.told == [] and (machine.own / "kubelet/ca.crt").read_text() != "other\n"
