"""``knarr boot``: the unit, which systemd itself looks through, and what systemd is asked. None runs here: what it is asked is noted."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.service.errors import CommandError
from services.command import boot
from services.command import main as cli
from services.command.boot_unit import Boot, quoted, unit_name, unit_text
from services.command.named import making, place
from services.standalone.settings import ClusterSettings

UNIT = Boot(
    name="dev",
    command=["/usr/bin/python3", "-P", "-m", "knarr"],
    place=["--name", "dev"],
    settings=Path("/home/ann/.local/state/knarr/clusters/dev/settings.json"),
    runtime="docker",
    environment={"HOME": "/home/ann", "PATH": "/usr/bin:/bin"},
    system=True,
)
TEXT = """\
[Unit]
Description=Knarr cluster dev
ConditionPathExists=/home/ann/.local/state/knarr/clusters/dev/settings.json
Wants=network-online.target docker.service
After=network-online.target docker.service
StartLimitIntervalSec=600
StartLimitBurst=10

[Service]
Type=forking
Environment="HOME=/home/ann"
Environment="PATH=/usr/bin:/bin"
ExecStart="/usr/bin/python3" "-P" "-m" "knarr" "up" "--name" "dev"
ExecStop="/usr/bin/python3" "-P" "-m" "knarr" "down" "--name" "dev"
Restart=on-failure
RestartSec=5
TimeoutStartSec=600
TimeoutStopSec=180

[Install]
WantedBy=multi-user.target
"""


def test_the_unit() -> None:
    assert unit_text(UNIT) == TEXT
    own = unit_text(dataclasses.replace(UNIT, system=False, runtime="hollow"))
    assert "\nAfter=" not in own and "WantedBy=default.target" in own
    assert "docker" not in unit_text(dataclasses.replace(UNIT, runtime="hollow"))
    assert (unit_name("dev", "0a1b2c3d"), unit_name("", "0a1b2c3d")) == ("knarr-dev.service", "knarr-0a1b2c3d.service")


@pytest.mark.parametrize(
    ("text", "command", "line"),
    [
        ("a b", True, '"a b"'),
        ("100%", True, '"100%%"'),
        ("$HOME", True, '"$$HOME"'),
        ("$HOME", False, '"$HOME"'),
        ('a"\\b', True, '"a\\"\\\\b"'),
    ],
)
def test_whatever_is_in_a_word_it_is_one(text: str, command: bool, line: str) -> None:
    assert quoted(text, command=command) == line


@pytest.mark.parametrize("folder", ["plain", 'with blanks, 100% "of" $them'])
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path, folder: str) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    chosen = ["--data-dir", str(tmp_path / folder)]
    command, settings = [sys.executable, "-m", "knarr"], tmp_path / folder / "settings.json"
    found = dataclasses.replace(UNIT, command=command, place=chosen, settings=settings, runtime="hollow")
    path = tmp_path / "knarr-dev.service"
    path.write_text(unit_text(found))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0 and "knarr-dev" not in done.stderr, done.stderr


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine where systemd runs; the file has what it was asked, and it refuses what stands in the file beside that."""
    programs = tmp_path / "bin"
    programs.mkdir()
    calls = tmp_path / "calls"
    script = programs / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >>{calls}\nif [ -e {tmp_path}/refuses ]; then echo "no bus" >&2; exit 1; fi\n')
    script.chmod(0o755)
    monkeypatch.setattr(boot, "RUNS", tmp_path)
    monkeypatch.setattr(boot, "SYSTEM_UNITS", tmp_path / "units")
    for name, value in (
        ("PATH", f"{programs}:/usr/bin:/bin"), ("XDG_STATE_HOME", str(tmp_path / "state")), ("XDG_CONFIG_HOME", str(tmp_path / "config")),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    return calls


@pytest.fixture(params=[0, 1000], ids=["root", "person"])
def user(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(os, "geteuid", lambda: request.param)
    return int(request.param)


def made(runtime: str = "hollow") -> ClusterSettings:
    folder = place.data_dir("dev")
    making.reserve(folder)
    settings = dataclasses.replace(ClusterSettings.saved(folder), runtime=runtime)
    settings.save()
    return settings


def test_it_is_enabled_and_disabled(asked: Path, tmp_path: Path, user: int) -> None:
    settings = made()
    path = tmp_path / ("units" if user == 0 else "config/systemd/user") / "knarr-dev.service"
    scope = "" if user == 0 else "--user "
    assert not boot.status(settings).there
    for _ in range(2):
        told = boot.enable(settings)
    assert told[0] == f"{path} starts the cluster from now on" and any("enable-linger" in line for line in told) == (user != 0)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o644 and f"ConditionPathExists={settings.files.settings}" in text
    assert '"up" "--name" "dev"' in text and f'Environment="XDG_STATE_HOME={tmp_path}/state"' in text
    assert boot.disable(settings) and not path.exists() and not boot.disable(settings)
    once = [f"{scope}daemon-reload", f"{scope}enable knarr-dev.service"]
    assert asked.read_text().splitlines() == [*once, *once, f"{scope}disable knarr-dev.service", f"{scope}daemon-reload"]


def test_what_systemd_refuses_leaves_no_unit(asked: Path, tmp_path: Path, user: int) -> None:
    settings = made()
    (tmp_path / "refuses").touch()
    with pytest.raises(CommandError, match=r"systemctl .*daemon-reload: no bus"):
        boot.enable(settings)
    assert not boot.status(settings).there


def test_who_has_another_cluster_of_that_name_keeps_its_unit(asked: Path, tmp_path: Path) -> None:
    settings = made()
    path = boot.status(settings).path
    path.parent.mkdir(parents=True)
    path.write_text(TEXT)
    with pytest.raises(CommandError, match=f"{path} starts another cluster of this name"):
        boot.enable(settings)
    assert path.read_text() == TEXT


def test_what_cannot_be_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Path) -> None:
    with pytest.raises(CommandError, match="there is no cluster in"):
        boot.enable(ClusterSettings(data_dir=tmp_path / "none"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(CommandError, match=r"pods of the runtime docker need root, .*; run with sudo"):
        boot.enable(made("docker"))
    monkeypatch.setattr(boot, "RUNS", tmp_path / "none")
    with pytest.raises(CommandError, match=r"systemd does not run on this machine, .*`knarr boot enable --print` shows it"):
        boot.enable(made())


def test_the_command(asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    made()

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["knarr", "boot", *arguments, "--name", "dev"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), capsys.readouterr().out

    code, text = run("enable", "--print")
    assert code == 0 and text.startswith("[Unit]\nDescription=Knarr cluster dev\n") and not asked.exists()
    assert run("enable")[0] == 0
    code, text = run("status", "-o", "json")
    # The link is what systemd makes.
    assert code == 1 and json.loads(text) == {
        **json.loads(text), "unit": "knarr-dev.service", "written": True, "enabled": False, "system": os.geteuid() == 0,
    }  # fmt: skip
    assert "no longer starts" in run("disable")[1] and "does not start with the machine anyway" in run("disable")[1]


def test_a_cluster_that_is_deleted_takes_its_unit_along(
    asked: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = made()
    boot.enable(settings)
    path = boot.status(settings).path
    monkeypatch.setattr("sys.argv", ["knarr", "delete", "dev"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and not path.exists() and not settings.files.root.exists()
