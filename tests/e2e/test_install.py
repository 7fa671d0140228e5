"""docs/install.md and deploy/systemd, done as they are written: machines are network namespaces, two nodes on different networks, each with
its own engine.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from services.compose.trust import make_etcd
from services.kubelet.node.mounts import mounts_below, unmount_all
from tests.proxy.laboratory import Namespace
from tests.proxy.machines import Machine, Machines
from tests.support.cluster_client import BIN, ROOT, ClusterClient, run
from tests.support.engine import IMAGE, ensure_image
from tests.support.etcd import ETCD, START_SECONDS, EtcdServer
from tests.support.own_engine import OwnEngine
from tests.support.ports import free_port
from tests.support.processes import end
from tests.support.trusted import TrustedCluster
from tests.support.units import UNITS, Unit, drop_in, environment_files, service_environment, shell_lines, write_environment

PAGE = ROOT / "docs/install.md"
CONTROL = "192.0.2.10"
STOP_SECONDS = 20.0
SCRIPT = (
    "mkdir -p /tmp/cgi-bin; cd /tmp; printf '#!/bin/sh\\necho; hostname\\n' >cgi-bin/who; chmod +x cgi-bin/who; "
    "exec httpd -f -p 8080 -h /tmp"
)


class Host:
    """One machine of the page: its network, its /etc/knarr, the processes of its units."""

    def __init__(self, site: Site, namespace: Namespace, etc: Path, engine: OwnEngine | None = None) -> None:
        self.site, self.namespace, self.etc, self.engine = site, namespace, etc, engine
        # Where a node's kubelet keeps its pods: two nodes share this machine's files.
        self.kubelet = etc.parent / "kubelet"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        etc.mkdir(parents=True)

    def sh(self, line: str) -> str:
        """Runs a command of the page on this machine."""
        own = {"/etc/knarr": str(self.etc), "/var/lib/knarr": str(self.kubelet), "scp -r ": "cp -r ", f"{CONTROL}:/": "/"}
        environment = {**os.environ, **({"DOCKER_HOST": self.engine.url} if self.engine else {})}
        with self.namespace.entered():
            return run(["bash", "-euo", "pipefail", "-c", self.site.here(line, own)], environment=environment).stdout

    def start(self, *units: str) -> None:
        for name in units:
            unit = Unit.read(name)
            credentials = self.etc / f"run-{name}"
            shutil.rmtree(credentials, ignore_errors=True)
            credentials.mkdir()
            for file, source in unit.credentials.items():
                shutil.copy(self._own(source), credentials / file)
            environment = service_environment(unit, self._own(unit.environment_file), credentials)
            command = unit.confined([self.site.here(self._moved(word)) for word in unit.command(environment)])
            if self.engine:
                environment["DOCKER_HOST"] = self.engine.url
            with self.namespace.entered(), (self.site.data_dir / f"{name}-{self.etc.parent.name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, env=environment)

    def stop(self, *units: str) -> None:
        for name in units or tuple(self.processes):
            process = self.processes.pop(name)
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0, name

    def close(self) -> None:
        """Ends all that runs, also what has only just started and does not know how to stop yet."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(STOP_SECONDS)

    def _own(self, path: Path) -> Path:
        return Path(self._moved(str(path)))

    def _moved(self, text: str) -> str:
        return text.replace("/etc/knarr", str(self.etc))


class Site(ClusterClient):
    """The machines, and the page's addresses and paths as they are here."""

    def __init__(self, folder: Path, lab: Machines) -> None:
        super().__init__(folder)
        self.lab = lab
        self.trust = folder / "trust"
        self.etcd_folder = folder / "store"
        self.etcd_folder.mkdir()
        # With what the drop-in gives it.
        self.etcd = EtcdServer(self.etcd_folder, tls=folder / "control/etc/etcd")
        self.control = Host(self, lab.fabric, folder / "control/etc")
        self.nodes: list[Host] = []
        self._here = {
            CONTROL: lab.nodes[0].gateway,
            "192.0.2.21": lab.nodes[0].address,
            "192.0.2.22": lab.nodes[1].address,
            "127.0.0.1:2379": self.etcd.endpoint,
            "/root/knarr-trust": str(self.trust),
            "/opt/knarr/bin/python": sys.executable,
            "knarr.services.": "services.",
        }

    def here(self, text: str, more: dict[str, str] | None = None) -> str:
        for written, actual in {**(more or {}), **self._here}.items():
            text = text.replace(written, actual)
        return text

    def environment_of(self, name: str) -> dict[str, str]:
        return {key: self.here(value) for key, value in environment_files(PAGE)[name].items()}

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        with self.lab.fabric.entered():
            command = [str(BIN / "kubectl"), "--kubeconfig", str(self.trust / "admin/kubeconfig"), *arguments]
            return run(command, check=check, stdin=stdin)

    def ready_nodes(self) -> set[str]:
        found = self.kubectl("get", "nodes", "-o", "json", check=False)
        items = json.loads(found.stdout)["items"] if found.returncode == 0 else []
        ready = {"type": "Ready", "status": "True"}
        return {item["metadata"]["name"] for item in items if any(ready.items() <= entry.items() for entry in item["status"]["conditions"])}

    def logs(self) -> list[str]:
        return [f"{path.stem}: {line}" for path in sorted(self.data_dir.glob("*.log")) for line in path.read_text().splitlines()[-15:]]

    def inside(self, pod: str, *command: str) -> str:
        return self.kubectl("exec", pod, "--", *command).stdout


def page_line(*words: str) -> str:
    """The first command of the page with these words in it."""
    return next(line for line in shell_lines(PAGE) if all(word in line for word in words))


def enabled(line: str) -> list[str]:
    """The units that a systemctl line of the page starts."""
    return [word for word in line.split() if word.startswith("knarr-")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    ensure_image()
    with ExitStack() as stack:
        lab = stack.enter_context(Machines(2, routed=True, pods=0).opened())
        made = Site(tmp_path, lab)
        stack.callback(made.etcd.stop)
        for machine in lab.nodes:
            made.nodes.append(_node(made, machine, stack))
        for host in (made.control, *made.nodes):
            stack.callback(unmount_all, host.kubelet)
            stack.callback(host.close)
        yield made


def _node(site: Site, machine: Machine, stack: ExitStack) -> Host:
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="knarr-engine-")))
    with machine.namespace.entered():
        stack.callback(_remove, engine, machine.namespace)
        engine.start()
    engine.load(IMAGE)
    return Host(site, machine.namespace, site.data_dir / machine.name / "etc", engine)


def _remove(engine: OwnEngine, namespace: Namespace) -> None:
    with namespace.entered():
        engine.remove()


def install_control_plane(site: Site) -> None:
    site.control.sh(page_line("KNARR_TRUST_OPTIONS="))
    site.control.sh(page_line("services.compose.trust"))
    site.control.sh(page_line("for part in etcd"))
    with site.lab.fabric.entered():
        site.etcd.start()
    write_environment(site.control.etc / "knarr.env", site.environment_of(CONTROL))
    site.control.start(*enabled(page_line("systemctl enable --now etcd")))


def install_node(site: Site, number: int) -> None:
    host, name = site.nodes[number - 1], f"node-{number}"
    host.sh(page_line("scp -r").replace("node-1", name))
    own = {"KNARR_ADDRESS": site.lab.nodes[number - 1].address, "KNARR_NODE_NAME": name}
    own["KNARR_KUBELET_OPTIONS"] = f"--data-dir={host.kubelet}"
    variables = site.environment_of("node-1")
    assert variables.keys() - own.keys() == {"KNARR_APISERVER", "KNARR_TRUST"}
    write_environment(host.etc / "knarr.env", {**variables, **own})
    host.start(*enabled(page_line("systemctl enable --now knarr-proxy")))


def install_gateway(site: Site) -> None:
    """On the first node."""
    site.control.sh(page_line("services.compose.trust") + " --gateway=node-1")
    host = site.nodes[0]
    host.sh(page_line("scp -r", "gateway"))
    host.start(*enabled(page_line("systemctl enable --now knarr-gateway")))


def asked(site: Site, host: str) -> str:
    """What the first node's gateway answers for a host."""
    url = f"http://{site.lab.nodes[0].address}/cgi-bin/who"
    with site.lab.fabric.entered():
        return run(["curl", "-sS", "--max-time", "5", "-H", f"Host: {host}", url], check=False).stdout.strip()


def pod(number: int) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": IMAGE,
        "command": ["sh", "-c", SCRIPT],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
    }
    spec = {"nodeName": f"node-{number}", "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}", "labels": {"app": "who"}}, "spec": spec}


SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "who"},
    "spec": {"clusterIP": "10.96.0.20", "selector": {"app": "who"}, "ports": [{"port": 80, "targetPort": 8080}]},
}


def shares(site: Site, pod: str) -> bool:
    """Whether the Service leads a pod to each of the two in turn."""
    ask = "for i in 1 2 3 4; do wget -qO- http://10.96.0.20/cgi-bin/who; done"
    return Counter(site.inside(pod, "sh", "-c", ask).split()) == {"pod-1": 2, "pod-2": 2}


def ready_since(site: Site) -> dict[str, str]:
    """When each of the pods that are ready became so."""
    pods = {found["metadata"]["name"]: found["status"]["conditions"] for found in site.ready_pods("app=who")}
    return {name: entry["lastTransitionTime"] for name, told in pods.items() for entry in told if entry["type"] == "Ready"}


def leftovers(host: Host) -> list[str]:
    """What the components made in a machine's kernel and engine."""
    assert host.engine is not None
    with host.namespace.entered():
        routes = [line for protocol in ("75", "76") for line in run(["ip", "route", "show", "proto", protocol]).stdout.splitlines()]
        links = [line for line in run(["ip", "-o", "link"]).stdout.splitlines() if "knarr-vx" in line or "kn-knarr" in line]
        tables = run(["nft", "list", "tables"]).stdout.splitlines()
    label = ("--filter", "label=io.knarr.cluster=knarr")
    return [
        *routes,
        *links,
        *tables,
        *mounts_below(host.kubelet),
        *host.engine.docker("ps", "-aq", *label).split(),
        *host.engine.docker("network", "ls", "-q", *label).split(),
    ]


@pytest.mark.net
@pytest.mark.etcd
@pytest.mark.docker
@pytest.mark.timeout(240)
def test_machines_are_joined_upgraded_and_removed_as_the_page_says(site: Site) -> None:
    install_control_plane(site)
    for number in (1, 2):
        install_node(site, number)
    site.wait_for("both nodes", lambda: site.ready_nodes() == {"node-1", "node-2"})
    site.apply({"apiVersion": "v1", "kind": "List", "items": [pod(1), pod(2), SERVICE]})
    site.wait_for("the pods", lambda: len(site.ready_pods("app=who")) == 2)
    addresses = {found["metadata"]["name"]: found["status"]["podIP"] for found in site.pods("app=who")}
    assert len({ipaddress.ip_network(f"{address}/24", strict=False) for address in addresses.values()}) == 2
    for here, there in (("pod-1", "pod-2"), ("pod-2", "pod-1")):
        assert site.inside(here, "wget", "-qO-", f"http://{addresses[there]}:8080/cgi-bin/who").split() == [there]
        site.wait_for(f"{here} to share", partial(shares, site, here))
    install_gateway(site)
    site.wait_for("the class", lambda: site.kubectl("get", "ingressclass", "knarr", check=False).returncode == 0)
    site.kubectl("create", "ingress", "who", "--rule=who.example/*=who:80")
    site.wait_for("an answer by name", lambda: asked(site, "who.example"))
    assert {asked(site, "who.example") for _ in range(2)} == {"pod-1", "pod-2"}, "pods of both nodes, in turn"

    # An upgrade: every component is another process, the pods' are the same.
    before = {found["status"]["containerStatuses"][0]["containerID"] for found in site.pods("app=who")}
    ready_before = ready_since(site)
    for host in (site.control, *site.nodes):
        units = tuple(host.processes)
        host.stop()
        host.start(*units)
    site.wait_for("both nodes", lambda: site.ready_nodes() == {"node-1", "node-2"})
    # Neither was unready for a moment: a kubelet goes on with what the last one told.
    assert ready_since(site) == ready_before
    assert {found["status"]["containerStatuses"][0]["containerID"] for found in site.pods("app=who")} == before
    # The node is Ready by what its last kubelet said; the new one may not know its pods yet.
    site.wait_for(
        "the kubelets", lambda: all(site.kubectl("exec", name, "--", "hostname", check=False).returncode == 0 for name in addresses)
    )
    assert site.inside("pod-1", "wget", "-qO-", f"http://{addresses['pod-2']}:8080/cgi-bin/who").split() == ["pod-2"]
    assert ready_since(site) == ready_before
    site.wait_for("an answer by name", lambda: asked(site, "who.example"))

    # The administrator looks at a component by certificate, and nobody without one.
    listed = site.control.sh(page_line("grpcurl -cacert").replace("grpcurl", str(BIN / "grpcurl"), 1))
    assert "knarr.api.scheduler.v1.SchedulerService" in listed
    assert not list(site.data_dir.glob("*/etc/*/token")) and not list(site.data_dir.glob("machine-*/etc/*/tokens.csv"))

    # One less: it leaves, nothing of it stays.
    leaver = site.nodes[1]
    assert leftovers(leaver)
    leaver.stop(*enabled(page_line("systemctl disable --now knarr-kubelet knarr-proxy")))
    site.kubectl("delete", "node", "node-2")
    for words in (("docker ps -aq", "io.knarr.cluster"), ("docker network ls -q",), ("services.proxy.uninstall",), ("xargs -r umount",)):
        leaver.sh(page_line(*words))
    assert leftovers(leaver) == []


@pytest.mark.etcd
def test_the_store_asks_for_certificates_as_its_drop_in_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """etcd itself, with the variables of the file and no option beside its data."""
    credentials, variables = drop_in("etcd-knarr")
    (tmp_path / "authority").mkdir()
    make_etcd(tmp_path, {"etcd": []})
    assert {path.name for path in (tmp_path / "etcd").iterdir()} == set(credentials)
    assert all(path == Path("/etc/knarr/etcd") / name for name, path in credentials.items())
    client, peer = free_port(), free_port()
    here = {
        "/run/credentials/etcd.service": str(tmp_path / "etcd"),
        "127.0.0.1:2379": f"127.0.0.1:{client}",
        "127.0.0.1:2380": f"127.0.0.1:{peer}",
    }
    environment = {"PATH": os.environ["PATH"], "ETCD_NAME": "here", "ETCD_DATA_DIR": str(tmp_path / "data")}
    for name, value in variables.items():
        environment[name] = value
        for written, actual in here.items():
            environment[name] = environment[name].replace(written, actual)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([ETCD], env=environment, stdout=log, stderr=log)
    asked = ["etcdctl", f"--endpoints=https://127.0.0.1:{client}", f"--cacert={tmp_path}/apiserver/etcd-ca.crt", "--command-timeout=2s"]
    known = [f"--cert={tmp_path}/apiserver/etcd.crt", f"--key={tmp_path}/apiserver/etcd.key"]
    own = {**os.environ, "ETCDCTL_API": "3"}
    try:
        deadline = time.monotonic() + START_SECONDS
        while run([*asked, *known, "put", "a", "b"], check=False, environment=own).returncode != 0:
            assert time.monotonic() < deadline and process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        assert run([*asked, "get", "a"], check=False, environment=own).returncode != 0
    finally:
        end(process, signal.SIGTERM, STOP_SECONDS)


@pytest.mark.etcd
@pytest.mark.cluster
def test_a_machine_joins_by_a_token_as_the_page_says(tmp_path: Path) -> None:
    """The page's commands and options, with the kubelet's unit; without containers."""
    cluster = TrustedCluster(tmp_path)
    folder = tmp_path / "machine/kubelet"
    folder.mkdir(parents=True)
    environment = {"KUBECONFIG": str(tmp_path / "kubeconfig"), "PATH": f"{BIN}:{os.environ['PATH']}"}
    try:
        cluster.etcd.start()
        cluster.start("apiserver", "controller")
        cluster.wait_for("the API", lambda: cluster.kubectl("get", "--raw", "/readyz", check=False).returncode == 0)
        lines = [line for line in shell_lines(PAGE) if "bootstrap-token-abcdef" in line]
        made, said = [run(["bash", "-c", line], environment=environment) for line in lines]
        assert "created" in made.stdout
        (folder / "bootstrap-token").write_text(said.stdout)
        shutil.copy(cluster.trust / "admin/ca.crt", folder / "ca.crt")
        (options,) = re.findall(r"`KNARR_KUBELET_OPTIONS=(--cert-dir=[^`]*)`", PAGE.read_text())
        own = f" --runtime=hollow --data-dir={tmp_path / 'kubelet'} --listen={cluster.address('kubelet-1')} --metrics-listen=127.0.0.1:0"
        here = {
            "/etc/knarr/kubelet": str(folder),
            "/var/lib/knarr/pki": str(tmp_path / "machine/pki"),
            f"{CONTROL}:6444": cluster.address("apiserver"),
            "/opt/knarr/bin/python": sys.executable,
            "knarr.services.": "services.",
        }
        variables = {"KNARR_APISERVER": f"127.0.0.1:{cluster.mutual}", "KNARR_NODE_NAME": "joined", "KNARR_ADDRESS": "127.0.0.1"}
        words = Unit.read("knarr-kubelet").command({**variables, "KNARR_KUBELET_OPTIONS": options + own})
        for written, actual in here.items():
            words = [word.replace(written, actual) for word in words]
        with (tmp_path / "joined.log").open("wb") as log:
            cluster.processes["joined"] = subprocess.Popen([word for word in words if word != "-P"], stdout=log, stderr=log, cwd=ROOT)
        ready = ("wait", "--for=condition=Ready", "node/joined", "--timeout=1s")
        cluster.wait_for("the node", lambda: cluster.kubectl(*ready, check=False).returncode == 0)
    finally:
        cluster.stop()


def test_every_unit_is_on_the_page_and_starts_its_component() -> None:
    names = {path.stem for path in UNITS.glob("*.service")}
    components = {f"knarr-{part}" for part in ("apiserver", "scheduler", "controller", "cloud", "dns", "kubelet", "proxy", "gateway")}
    timed = {path.stem for path in UNITS.glob("*.timer")}
    assert names == components | timed and timed == {"knarr-trust", "knarr-renewal"}
    started = {unit for line in shell_lines(PAGE) for unit in enabled(line) if "systemctl enable" in line}
    assert started == components - {"knarr-cloud"} | {f"{name}.timer" for name in timed}
    for name in names:
        module = name.removeprefix("knarr-")
        assert f"-m knarr.services.{'compose.' * (name in timed)}{module} " in Unit.read(name).exec_start
        assert name.removeprefix("knarr-") in PAGE.read_text()


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.stem)
def test_systemd_finds_no_fault_with_the_units(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    copy = tmp_path / path.name
    # It wants the program to be there.
    copy.write_text(path.read_text().replace("/opt/knarr/bin/python", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False, timeout=20)
    complaints = [line for line in done.stderr.splitlines() if path.name in line]
    assert complaints == []
