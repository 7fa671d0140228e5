"""The machine's Docker engine, as tests see it from outside."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from pathlib import Path

from docker import APIClient

from services.kubelet.runtime.labels import CLUSTER

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


def pod_address(process: int) -> str:
    """What the interface of a pod has, of which a process is named; empty where it has gone, or has none."""
    shown = subprocess.run(
        ["nsenter", "--target", str(process), "--net", "ip", "-json", "-4", "address", "show", "dev", "eth0"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(shown.stdout or "[]") if shown.returncode == 0 else []
    return next((str(one["local"]) for link in found for one in link.get("addr_info", [])), "")


def leftovers(cluster_id: str, data_dir: Path) -> list[str]:
    """What a cluster left behind: containers, networks, nftables tables, mounts, processes."""
    labelled = {"label": f"{CLUSTER}={cluster_id}"}
    with closing(APIClient()) as engine:
        containers = [entry["Id"] for entry in engine.containers(all=True, filters=labelled)]
        networks = [entry["Name"] for entry in engine.networks(filters=labelled)]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    found = [f"container {name}" for name in containers] + [f"network {name}" for name in networks]
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout
    found += [line for line in (*tables.splitlines(), *links.splitlines()) if cluster_id in line]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(data_dir) in line]
    found += [f"process {path.parent.name}" for path in Path("/proc").glob("[0-9]*/cmdline") if str(data_dir) in _text(path)]
    return found


def _text(path: Path) -> str:
    """A file of /proc; empty when its process is gone."""
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
