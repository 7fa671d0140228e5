"""The machine's Docker engine, as tests see it from outside."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGE = "hello:1"


def docker(*arguments: str, check: bool = True) -> str:
    """Runs the docker client; its output."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout


def ensure_image() -> None:
    """Builds the example image where it is missing."""
    subprocess.run([str(ROOT / "examples/hello/build.sh"), IMAGE], check=True, timeout=60)


def leftovers(cluster_id: str) -> list[str]:
    """What a cluster left behind: containers, networks, nftables tables, mounts."""
    label = f"knarr.cluster={cluster_id}"
    containers = docker("ps", "-aq", "--filter", f"label={label}").split()
    networks = docker("network", "ls", "-q", "--filter", f"label={label}").split()
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found = [f"container {name}" for name in containers] + [f"network {name}" for name in networks]
    found += [line for line in tables.splitlines() if cluster_id in line]
    return found
