"""Every grpcurl line of the README and of docs/compose.md answers, on the compose cluster."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster_client import BIN, ROOT
from tests.support.compose import NETWORK, ComposeCluster
from tests.support.engine import IMAGE

pytestmark = [pytest.mark.compose, pytest.mark.timeout(300)]

PAGES = ("README.md", "docs/compose.md")
# Where a component of one machine listens, by port, and where the same one does here.
HERE = {6444: 10, 6445: 10, 10259: 20, 10257: 30, 10256: 11, 10250: 11, 10253: 61, 10254: 11, 10255: 65, 10258: 50}
LINE_SECONDS = 30.0


def lines(page: str) -> list[str]:
    """The commands of a page that begin with `g`, which it makes an alias of grpcurl."""
    return re.findall(r"^g .*$", (ROOT / page).read_text(), re.MULTILINE)


def moved(line: str) -> str:
    """The line with this cluster's addresses."""
    line = re.sub(r"localhost:(\d+)", lambda match: f"{NETWORK}.{HERE[int(match[1])]}:{match[1]}", line)
    return line.replace("172.28.96.", f"{NETWORK}.")


@pytest.fixture(scope="module")
def subjects(cluster: ComposeCluster) -> Iterator[ComposeCluster]:
    """The cluster with what the lines speak of: the Deployment `hello` and the pod `mypod`."""
    cluster.knarr_load(IMAGE)
    cluster.kubectl("create", "deployment", "hello", f"--image={IMAGE}")
    cluster.kubectl("run", "mypod", f"--image={IMAGE}")
    cluster.wait_for("the pods", lambda: len(cluster.ready_pods("run=mypod")) == len(cluster.ready_pods("app=hello")) == 1)
    yield cluster
    cluster.kubectl("delete", "pod/mypod", "deployment/hello", "--wait=false")


@pytest.mark.parametrize("page", PAGES)
def test_every_line_answers(subjects: ComposeCluster, page: str) -> None:
    folder: Path = subjects.data_dir
    own = f"-cacert {folder}/ca.crt -cert {folder}/admin.crt -key {folder}/admin.key"
    # On one machine, of which that page speaks, components know the administrator by his token.
    token = f'-H "authorization: Bearer $(cat {folder}/token)"' if page == "README.md" else ""
    function = f'g() {{ grpcurl -max-time 10 {own} {token} "$@"; }}'
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    failures = []
    for line in lines(page):
        command = ["bash", "-c", f"{function}; {moved(line).replace('.knarr-compose/', f'{folder}/')}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LINE_SECONDS, env=environment)
        if done.returncode != 0 or not done.stdout.strip():
            failures.append(f"{line}\n  {done.stdout}{done.stderr}")
    assert failures == []


def test_the_pages_show_every_component() -> None:
    assert len(lines("README.md")) >= 9
    called = {int(port) for line in lines("docs/compose.md") for port in re.findall(r":(\d+) ", line)}
    assert called == set(HERE) - {6444}
