"""Files from ConfigMaps, Secrets and the downward API, laid as Kubernetes lays them.

A timestamped directory, the link ``..data`` to it, and a link per entry through ``..data``. An update
writes a new directory and swings the one link, so readers see all old or all new content.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from services.kubelet.pod.volumes import File

GROUP_READ = 0o440
DATA_LINK = "..data"


def write_files(root: Path, files: Iterable[File], group: int | None = None) -> bool:
    """Lays files below ``root`` by one swing of ``..data``; says whether anything changed. ``group`` may read them."""
    readable = GROUP_READ if group is not None else 0
    wanted = {file.path: replace(file, mode=file.mode | readable) for file in files}
    link = root / DATA_LINK
    if link.is_symlink() and _same(root, wanted):
        return False
    fresh = Path(tempfile.mkdtemp(prefix="..", dir=root))
    fresh.chmod(0o755)
    for file in wanted.values():
        target = fresh / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        if group is not None:
            os.chown(target, -1, group)
        target.chmod(file.mode)
    old = link.readlink() if link.is_symlink() else None
    temporary = root / "..data_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(fresh.name)
    temporary.replace(link)
    tops = {path.split("/")[0] for path in wanted}
    for top in tops:
        if not (root / top).is_symlink():
            (root / top).symlink_to(f"{DATA_LINK}/{top}")
    for entry in root.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old is not None:
        shutil.rmtree(root / old, ignore_errors=True)
    return True


def _same(root: Path, wanted: Mapping[str, File]) -> bool:
    data = root / DATA_LINK
    present = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    if present != wanted.keys():
        return False
    return all(
        (data / name).read_bytes() == file.data and stat.S_IMODE((data / name).stat().st_mode) == file.mode for name, file in wanted.items()
    )
