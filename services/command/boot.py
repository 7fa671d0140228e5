"""``knarr boot``: a cluster that starts with the machine, by systemd.

Root writes a unit of the system, everybody else one of his own, which starts when he logs in, or with the machine where he lingers
(loginctl(1)).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.files import write_whole
from services.command.boot_unit import ENGINES, Boot, condition, unit_name, unit_text
from services.command.named import place
from services.standalone.process import ROOT
from services.standalone.settings import ClusterSettings

SYSTEM_UNITS = Path("/etc/systemd/system")
# There while systemd is the first process.
RUNS = Path("/run/systemd/system")
ANSWER_SECONDS = 60.0
READABLE = 0o644
# What of the caller's environment says which cluster it is, for whom, and where programs are.
KEPT = ("HOME", "XDG_STATE_HOME", "KUBECONFIG", "SUDO_UID", "SUDO_GID", "SUDO_USER", "PATH")


@dataclass(frozen=True, slots=True)
class Status:
    """``enabled``: systemd starts it; ``there``: the unit has been written."""

    unit: str
    path: Path
    system: bool
    there: bool
    enabled: bool

    def as_dict(self) -> dict[str, object]:
        return {"unit": self.unit, "path": str(self.path), "system": self.system, "written": self.there, "enabled": self.enabled}


def boot_of(settings: ClusterSettings) -> Boot:
    """What would be started. Raises CommandError where it cannot be by whoever asks."""
    name, system = place.name_of(settings.data_dir), os.geteuid() == 0
    if not settings.files.settings.exists():
        raise CommandError(f"there is no cluster in {settings.files.root}; start it first: `knarr up`")
    if settings.runtime in ENGINES and not system:
        raise CommandError(f"pods of the runtime {settings.runtime} need root, and so does a cluster that starts by itself; run with sudo")
    environment = {one: os.environ[one] for one in KEPT if os.environ.get(one)}
    if ROOT.name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = str(ROOT)
    given = ["--name", name] if name else ["--data-dir", str(settings.data_dir.absolute())]
    command = [sys.executable, "-P", "-m", "knarr"]
    return Boot(name or str(settings.files.root), command, given, settings.files.settings, settings.runtime, environment, system)


def enable(settings: ClusterSettings) -> list[str]:
    """Writes the unit and has systemd start it from now on; may be repeated. Answers what a person should know. Raises CommandError."""
    boot, path = boot_of(settings), _path(settings)
    if not RUNS.is_dir() or shutil.which("systemctl") is None:
        raise CommandError(
            "systemd does not run on this machine, so nothing would read a unit; `knarr boot enable --print` shows it, and another init"
            " system can run the two commands in it"
        )
    if path.exists() and condition(boot) not in path.read_text(errors="replace").splitlines():
        raise CommandError(f"{path} starts another cluster of this name; disable that one first, or remove the file")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, unit_text(boot).encode(), mode=READABLE)
    try:
        _systemctl(["daemon-reload"], system=boot.system)
        _systemctl(["enable", path.name], system=boot.system)
    except CommandError:
        path.unlink(missing_ok=True)
        raise
    hint = [] if boot.system else ["it starts when you log in; `loginctl enable-linger` has it start with the machine"]
    return [f"{path} starts the cluster from now on", *hint]


def disable(settings: ClusterSettings) -> bool:
    """Takes the unit away; the cluster goes on. False where there was none. Raises CommandError."""
    path, system = _path(settings), os.geteuid() == 0
    if not path.exists():
        return False
    if RUNS.is_dir() and shutil.which("systemctl") is not None:
        _systemctl(["disable", path.name], system=system)
    # Links to it that are left count for nothing.
    path.unlink(missing_ok=True)
    with suppress(CommandError):
        _systemctl(["daemon-reload"], system=system)
    return True


def status(settings: ClusterSettings) -> Status:
    path, system = _path(settings), os.geteuid() == 0
    wants = path.parent / f"{'multi-user' if system else 'default'}.target.wants" / path.name
    return Status(path.name, path, system, path.exists(), path.exists() and wants.is_symlink())


def _path(settings: ClusterSettings) -> Path:
    name = place.name_of(settings.data_dir)
    unit = unit_name(name, settings.files.known_id())
    if not name and not settings.files.known_id():
        raise CommandError(f"there is no cluster in {settings.files.root}; start it first: `knarr up`")
    if os.geteuid() == 0:
        return SYSTEM_UNITS / unit
    chosen = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(chosen) if chosen.startswith("/") else Path.home() / ".config") / "systemd/user" / unit


def _systemctl(arguments: Sequence[str], *, system: bool) -> None:
    """Raises CommandError with its words."""
    command = ["systemctl", *([] if system else ["--user"]), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise CommandError(f"{' '.join(command)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
