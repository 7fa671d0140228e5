"""The files of a cluster on this machine."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from knarr.service.files import PRIVATE
from services.command.checks.check import Check, NotHere
from services.command.checks.facts import Facts

CLOSED = 0o700
SECRET_SUFFIXES = (".key", ".csv", ".token")
SECRET_NAMES = ("token", "kubeconfig", "settings.json")


def _folder(facts: Facts) -> Path:
    if facts.folder is None or not facts.folder.is_dir():
        raise NotHere("the cluster's files are not on this machine")
    return facts.folder


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def _more_than(path: Path, mode: int) -> Iterator[str]:
    if path.exists() and not path.is_symlink() and _mode(path) & ~mode:
        yield f"{path} may be used by others than its owner (mode {_mode(path):04o}, at most {mode:04o})"


def _is_closed(facts: Facts) -> Sequence[str]:
    return list(_more_than(_folder(facts), CLOSED))


def _secrets(facts: Facts) -> Sequence[str]:
    root = _folder(facts)
    found = [root / name for name in SECRET_NAMES]
    if (root / "pki").is_dir():
        found += sorted(path for path in (root / "pki").rglob("*") if path.suffix in SECRET_SUFFIXES)
    return [finding for path in found for finding in _more_than(path, PRIVATE)]


def _logs(facts: Facts) -> Sequence[str]:
    root = _folder(facts)
    return [finding for path in sorted(root.glob("audit*.log*")) for finding in _more_than(path, PRIVATE)]


CHECKS = (
    Check(
        "files-folder",
        "the cluster's folder is closed to others",
        "Keys, tokens and the whole state lie in it.",
        "chmod 700 the folder.",
        _is_closed,
        cis=("1.1.11", "1.1.12", "1.1.19"),
    ),
    Check(
        "files-keys",
        "keys, tokens and kubeconfigs are their owner's alone",
        "Who reads one of them is whoever it stands for.",
        "chmod 600 the file; if others may have read it, renew it.",
        _secrets,
        cis=("1.1.13", "1.1.14", "1.1.15", "1.1.21", "4.1.5", "4.1.9"),
    ),
    Check(
        "files-audit-log",
        "the audit log is its owner's alone",
        "It tells who may do what, and may hold objects.",
        "chmod 600 the file.",
        _logs,
        cis=("3.2.1",),
    ),
)
