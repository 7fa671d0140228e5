"""``python -m services.compose.renewal FROM``: brings this machine the certificates and tokens that were made anew.

On machines of one's own a timer gives it. The folders of this machine's components are compared with those that ``services.compose.trust``
keeps in FROM, a folder or HOST:FOLDER, which scp reads. What differs is replaced, each file whole, and the units that were given
other files are restarted: the service manager hands them over when a unit starts. The kubelet reads its own itself, and shows the next
connection what is there by then.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.files import write_whole
from services.compose.trust import CONTROL_PLANE

FOLDER = Path("/etc/knarr")
PARTS = (*CONTROL_PLANE, "kubelet", "proxy", "gateway", "etcd")
# What a component follows by itself, since its unit reads the folder and not a copy of it.
FOLLOWED = {"kubelet": {"server.crt", "server.key"}}
COPY_SECONDS, RESTART_SECONDS = 60.0, 120.0
# What scp is told: to ask nothing, and to give up in time.
SCP = ("scp", "-q", "-r", "-B", "-o", "ConnectTimeout=10")


def renew(source: str, folder: Path) -> dict[str, set[str]]:
    """Makes the folders of components in ``folder`` as they are in ``source``; the files that were replaced, by the component's name.

    Raises CommandError when one of them cannot be had; then none has changed.
    """
    parts = [part for part in PARTS if (folder / part).is_dir()]
    with tempfile.TemporaryDirectory(prefix="knarr-renewal-") as scratch:
        for part in parts:
            _fetch(f"{source.rstrip('/')}/{part}", Path(scratch) / part)
        taken = {part: _take_over(Path(scratch) / part, folder / part) for part in parts}
        return {part: files for part, files in taken.items() if files}


def _fetch(source: str, target: Path) -> None:
    if ":" not in source:
        if not Path(source).is_dir():
            raise CommandError(f"{source} is not there; `services.compose.trust` makes it, with this machine among its options")
        shutil.copytree(source, target)
        return
    try:
        done = subprocess.run([*SCP, source, str(target)], capture_output=True, text=True, timeout=COPY_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CommandError(f"scp did not bring {source} within {COPY_SECONDS:.0f} s") from None
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise CommandError(f"scp cannot bring {source} ({reason}); root here must be let in there with a key, without being asked")


def _take_over(fresh: Path, folder: Path) -> set[str]:
    """The files of ``folder`` that were replaced by others, or came to it."""
    changed: set[str] = set()
    for file in sorted(fresh.iterdir()):
        data, own = file.read_bytes(), folder / file.name
        if not own.exists() or own.read_bytes() != data:
            write_whole(own, data, mode=file.stat().st_mode & 0o777)
            changed.add(file.name)
    return changed


def restart(parts: list[str]) -> None:
    """Restarts the units of components, of which some may be disabled. Raises CommandError with the service manager's words."""
    done = subprocess.run(
        ["systemctl", "try-restart", *(_unit(part) for part in parts)],
        capture_output=True,
        text=True,
        timeout=RESTART_SECONDS,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"systemctl cannot restart {', '.join(map(_unit, parts))}: {done.stderr.strip()}")


def _unit(part: str) -> str:
    return "etcd.service" if part == "etcd" else f"knarr-{part}.service"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.compose.renewal", description="Bring certificates and tokens up to date.")
    parser.add_argument("source", metavar="FROM", help="where this machine's folders are kept: a folder, or HOST:FOLDER")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="where its components' own are (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        changed = renew(arguments.source, arguments.folder)
        if due := [part for part, files in changed.items() if files - FOLLOWED.get(part, set())]:
            restart(due)
    except (CommandError, OSError) as error:
        sys.exit(f"error: {error}")
    words = [f"{part} (restarted)" if part in due else part for part in changed]
    print(f"renewed: {', '.join(words)}" if changed else "all is as it should be")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
