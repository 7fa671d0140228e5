"""A whole cluster without Docker, seen from outside: what is asked for by options, and what is not asked for."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.knarr_cluster import BIN, PORT_NAMES, ROOT, KnarrCluster

pytestmark = [pytest.mark.etcd, pytest.mark.timeout(60)]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnarrCluster]:
    """Not started. Its path is short: it holds sockets."""
    made = KnarrCluster(tmp_path_factory.mktemp("k"), runtime="hollow", datapath="userspace")
    try:
        yield made
    finally:
        made.down()


def test_the_system_chooses_ports_and_everybody_knows_them(cluster: KnarrCluster) -> None:
    ranges = [option for option in cluster.options if "-port=" not in option]
    options = ["--runtime", "hollow", "--datapath", "userspace", *ranges, *(f"--{name}-port=0" for name in PORT_NAMES)]
    cluster.knarr("up", "--data-dir", str(cluster.data_dir), *options)
    state = json.loads((cluster.data_dir / "state.json").read_text())
    port = urllib.parse.urlsplit(state["server"]).port
    assert port
    (subset,) = cluster.get("endpoints", "kubernetes")["subsets"]
    assert [found["port"] for found in subset["ports"]] == [port]
    node = cluster.get("node", state["node"])
    assert f":{node['status']['daemonEndpoints']['kubeletEndpoint']['Port']}" in state["components"]["kubelet"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.3", port), timeout=5)


def command(cluster: KnarrCluster) -> list[str]:
    choices = ["--data-dir", str(cluster.data_dir), "--runtime", "hollow", "--datapath", "userspace"]
    return [str(BIN / "knarr"), "up", *choices, *cluster.options]


@pytest.mark.parametrize("step", ["", "etcd", "apiserver"])
def test_ctrl_c_while_it_starts_stops_it_and_its_next_start_works(step: str, cluster: KnarrCluster) -> None:
    with subprocess.Popen(command(cluster), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as starting:
        assert starting.stdout is not None and starting.stderr is not None
        if step:
            while not starting.stdout.readline().endswith(f"{step}\n"):
                assert starting.poll() is None
        else:
            while not (cluster.data_dir / "knarr.log").exists():
                time.sleep(0.001)
        starting.send_signal(signal.SIGINT)
        assert starting.wait(30) == 130
        assert "interrupted: stopping the cluster again" in starting.stderr.read()
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(cluster.data_dir).encode() in _bytes(path)]
    assert not (cluster.data_dir / "knarr.pid").exists()
    assert "is ready after" in cluster.up()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def test_a_reader_that_goes_stops_no_command(cluster: KnarrCluster) -> None:
    """As in ``knarr down | head -1``: all is removed, and the exit code is that of the work."""
    for name, arguments in (("up", command(cluster)[1:]), ("status", ["status"]), ("down", ["down"])):
        reading, writing = os.pipe()
        os.close(reading)
        whole = [str(BIN / "knarr"), *arguments, *(() if name == "up" else ("--data-dir", str(cluster.data_dir)))]
        done = subprocess.run(whole, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60)
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")
    assert not (cluster.data_dir / "state.json").exists()


def test_without_docker_nobody_speaks_of_it(cluster: KnarrCluster, tmp_path: Path) -> None:
    cluster.environment["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    cluster.up()
    told = cluster.down()
    assert "Docker" not in told and "containers" not in told and "the cluster's process has stopped" in told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as sudo gives it")
def test_what_sudo_started_belongs_to_its_caller(cluster: KnarrCluster) -> None:
    cluster.environment.update(SUDO_UID="12345", SUDO_GID="12346")
    for _ in range(2):
        cluster.up()
        owners = {str(path.relative_to(cluster.data_dir)): (path.stat().st_uid, path.stat().st_gid) for path in cluster.data_dir.rglob("*")}
        for name in ("kubeconfig", "token", "pki", "pki/ca.crt", "state.json", "settings.json", "knarr.pid", "knarr.log"):
            assert owners[name] == (12345, 12346), name
        for name in ("pki/ca.key", "pki/server.key", "etcd", "etcd/data"):
            assert owners[name] == (0, 0), name
        assert cluster.data_dir.stat().st_uid == 12345 and cluster.data_dir.stat().st_mode & 0o777 == 0o700
        cluster.down()
