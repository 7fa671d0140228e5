"""``knarr doctor``: each check finds what it is about, and nothing on a machine that is well."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knarr.service.errors import CommandError
from services.command import main as cli
from services.command.checks.check import NotHere, run
from services.command.commands.version import versions
from services.command.doctor import CHECKS, examine
from services.command.machine import kernel, programs, room
from services.command.machine.facts import Machine
from services.command.named import place
from services.standalone import preflight, process
from services.standalone.files import Files
from services.standalone.leftovers.traces import INTERFACE, TABLE, Trace
from services.standalone.settings import ClusterSettings, Ports

RELEASE = "6.1.0"
# An engine that is well.
ENGINE = {"ApiVersion": "1.43", "Version": "24.0", "CgroupDriver": "systemd", "Driver": "overlay2", "SecurityOptions": ["name=seccomp"]}
FILES = {
    "proc/sys/kernel/osrelease": RELEASE,
    f"lib/modules/{RELEASE}/modules.builtin": "kernel/net/bridge/bridge.ko\nkernel/net/netfilter/nf_tables.ko\n",
    f"lib/modules/{RELEASE}/modules.dep": "kernel/net/veth.ko.xz:\nkernel/fs/overlay.ko:\nkernel/net/nf-conntrack.ko:\n",
    "proc/modules": "",
    "etc/resolv.conf": "nameserver 192.0.2.53\n",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
    "proc/sys/fs/inotify/max_user_instances": "128",
    "proc/sys/fs/inotify/max_user_watches": "65536",
    "proc/self/limits": "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n",
    "proc/meminfo": "MemTotal: 8000000 kB\nMemAvailable:    4000000 kB\n",
}


class Simulated(Machine):
    """A machine whose programs answer what they are told to."""

    answers: Mapping[str, tuple[int, str]] = {}

    def program(self, name: str) -> str:
        return f"/usr/bin/{name}" if name in self.answers else ""

    def told(self, command: Any) -> tuple[int, str]:
        return self.answers[Path(command[0]).name]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Simulated:
    monkeypatch.setattr(preflight, "docker_problems", lambda: ())
    monkeypatch.setattr(preflight, "read_route_problems", lambda settings: ())
    for name, text in FILES.items():
        write(tmp_path, name, text)
    (tmp_path / "sys/class/net/eth0").mkdir(parents=True)
    settings = ClusterSettings(data_dir=tmp_path / "cluster", ports=Ports(*([0] * 11)))
    made = Simulated(settings, root=tmp_path, environment={"PATH": "/usr/bin"}, user=0)
    made.answers = {"etcd": (0, "etcd Version: 3.5.9\n"), "nft": (0, "")}
    made.engine = ENGINE
    made.leftovers, made.forgotten = ([], []), []
    return made


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(machine: Machine, name: str) -> list[str]:
    check = next(check for check in CHECKS if check.id == name)
    return list(check.look(machine))


def test_a_machine_that_is_well_has_no_findings(machine: Simulated) -> None:
    results = [run(check, machine) for check in CHECKS]
    bad = {result.check.id: result.findings for result in results if result.state not in ("pass", "skipped")}
    assert bad == {}
    assert {result.check.id for result in results if result.state == "skipped"} <= {"clock", "python-libraries"}


def test_each_check_says_why_and_how_it_is_mended() -> None:
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.what and check.mend.endswith(".") and check.why.endswith(".")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("etcd Version: 3.3.25", "is version 3.3.25"),
        ("etcd Version: 3.5.1", "may lose what was written"),
        ("nonsense", "does not tell its version"),
    ],
)
def test_an_etcd_that_is_no_good_is_found(machine: Simulated, told: str, words: str) -> None:
    machine.answers = {"etcd": (0, told)}
    (finding,) = found(machine, "etcd")
    assert words in finding


def test_what_is_not_installed_is_found(machine: Simulated) -> None:
    machine.answers = {}
    assert found(machine, "etcd") == ["etcd is not on the path"]
    assert found(machine, "nftables") == ["nftables is not installed"]
    machine.settings = replace(machine.settings, store="memory")
    with pytest.raises(NotHere):
        found(machine, "etcd")
    assert list(programs.lacking(["click>=8", "no-such-library", 'boto3; extra == "aws"'])) == ["no-such-library"]


def test_a_kernel_that_takes_no_rules_is_found(machine: Simulated) -> None:
    machine.answers = {"nft": (1, "Operation not supported")}
    assert found(machine, "nftables") == ["the kernel does not take part: Operation not supported"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("engine-version", {"ApiVersion": "1.9"}, "speaks API 1.9"),
        ("engine-groups", {"CgroupDriver": "none"}, "no driver for control groups"),
        ("engine-rootless", {"SecurityOptions": ["name=rootless"]}, "the engine is rootless"),
        ("engine-storage", {"Driver": "vfs"}, "copies whole images"),
    ],
)
def test_an_engine_that_is_no_good_is_found(machine: Simulated, name: str, change: dict[str, Any], words: str) -> None:
    machine.engine = {**ENGINE, **change}
    (finding,) = found(machine, name)
    assert words in finding


def test_an_engine_that_hangs_is_found(machine: Simulated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its socket takes connections, and nobody answers."""
    monkeypatch.setattr("services.command.machine.facts.ANSWER_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "d.sock"))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/d.sock")
        (finding,) = found(Machine(machine.settings), "engine")
    assert "no Docker engine answers" in finding


def test_who_may_not_is_told(machine: Simulated) -> None:
    machine.user = 1000
    assert found(machine, "root") == ["the runtime docker and the datapath nftables need root, and you are user 1000"]
    machine.settings = replace(machine.settings, runtime="hollow", datapath="userspace")
    assert found(machine, "root") == []
    for name in ("engine", "nftables", "kernel-modules", "control-groups"):
        with pytest.raises(NotHere):
            found(machine, name)


def test_a_kernel_that_lacks_something_is_found(machine: Simulated, tmp_path: Path) -> None:
    write(tmp_path, f"lib/modules/{RELEASE}/modules.dep", "")
    assert [finding.split()[0] for finding in found(machine, "kernel-modules")] == ["veth", "nf_conntrack", "overlay"]
    write(tmp_path, "proc/modules", "veth 40960 0 - Live 0x0\n")
    (tmp_path / "sys/module/overlay").mkdir(parents=True)
    assert [finding.split()[0] for finding in found(machine, "kernel-modules")] == ["nf_conntrack"]
    write(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu io")
    assert found(machine, "control-groups") == ["the controller memory is not there", "the controller pids is not there"]


def test_control_groups_of_version_1_are_known(machine: Simulated, tmp_path: Path) -> None:
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").unlink()
    for name in kernel.NEEDED_CONTROLLERS[1:]:
        (tmp_path / "sys/fs/cgroup" / name).mkdir()
    assert found(machine, "control-groups") == [f"the controller {kernel.NEEDED_CONTROLLERS[0]} is not there"]


def test_limits_that_are_low_are_found(machine: Simulated, tmp_path: Path) -> None:
    write(tmp_path, "proc/sys/fs/inotify/max_user_instances", "16")
    write(tmp_path, "proc/self/limits", "Max open files  1024  2048  files\n")
    assert found(machine, "inotify") == ["fs.inotify.max_user_instances is 16, less than 128"]
    assert found(machine, "open-files") == ["a process of yours may open 2048 files at most"]
    write(tmp_path, "proc/self/limits", "Max open files  1024  unlimited  files\n")
    assert found(machine, "open-files") == []
    write(tmp_path, "proc/meminfo", "MemAvailable: 1024 kB\n")
    assert found(machine, "memory") == ["1 MiB of memory are available"]


def test_a_clock_that_was_set_back_is_found(machine: Simulated) -> None:
    files = machine.settings.files
    files.prepare()
    files.log.touch()
    assert found(machine, "clock") == []
    ahead = files.log.stat().st_mtime + 7200
    os.utime(files.log, (ahead, ahead))
    (finding,) = found(machine, "clock")
    assert "files of the cluster are 120 minutes ahead" in finding


def test_ports_are_looked_at_unless_the_cluster_has_them(machine: Simulated) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        machine.settings = replace(machine.settings, ports=replace(machine.settings.ports, scheduler=holder.getsockname()[1]))
        (finding,) = found(machine, "ports")
        assert "(scheduler) on 127.0.0.1 cannot be used" in finding
        machine.settings.files.prepare()
        process.write_pid(machine.settings.files)
        with pytest.raises(NotHere):
            found(machine, "ports")


def test_ranges_that_do_not_fit_are_found(machine: Simulated) -> None:
    machine.settings = replace(machine.settings, service_cidr="10.244.0.0/16")
    (finding,) = found(machine, "ranges")
    assert "overlaps" in finding


@pytest.mark.parametrize(
    ("spared", "left_out"),
    [
        ("", {"node", "Services", "pods"}),
        ("localhost, 10.0.0.0/8,192.0.2.1", set[str]()),
        ("10.96.0.0/16,192.0.2.1,example.com", {"pods"}),
        ("*", set[str]()),
    ],
)
def test_a_proxy_that_is_asked_for_the_cluster_is_found(
    machine: Simulated, monkeypatch: pytest.MonkeyPatch, spared: str, left_out: set[str]
) -> None:
    monkeypatch.setattr(room, "node_address", lambda: "192.0.2.1")
    assert found(machine, "proxies") == []
    machine.environment = {"PATH": "/usr/bin", "HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": spared}
    text = " ".join(found(machine, "proxies"))
    assert {what for what in ("node", "Services", "pods") if what in text} == left_out


@pytest.mark.parametrize(
    ("nodes", "text", "count"),
    [
        (1, "nameserver 192.0.2.53\nnameserver fd00::1\nnameserver\noptions edns0\n", 0),
        (1, "nameserver 10.244.9.9\n", 1),
        (1, "# nameserver 10.244.9.9\nsearch 10.96.0.10\n", 0),
        (1, "nameserver 10.255.255.53\n", 0),
        (5000, "nameserver 10.255.255.53\n", 1),
    ],
)
def test_a_nameserver_among_the_clusters_addresses_is_found(machine: Simulated, tmp_path: Path, nodes: int, text: str, count: int) -> None:
    """The range of pods grows with the nodes."""
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/resolv.conf").write_text(text)
    machine.settings = dataclasses.replace(machine.settings, nodes=nodes, runtime="hollow")
    assert len(found(machine, "nameservers")) == count


def test_what_a_killed_cluster_left_is_found(machine: Simulated, tmp_path: Path) -> None:
    files = machine.settings.files
    files.prepare()
    files.pid.write_text("999999999 1\n")
    (finding,) = found(machine, "killed")
    assert "was killed" in finding
    own = files.cluster_id()
    machine.leftovers = (
        [
            Trace("0badcafe", INTERFACE, "kn-0badcafe"),
            Trace("0badcafe", TABLE, "knarr-0badcafe"),
            Trace("0badcafe", TABLE, "knarr-policy-0badcafe"),
            Trace(own, INTERFACE, f"kn-{own}"),
        ],
        [],
    )
    assert found(machine, "leftovers") == [
        "of the cluster 0badcafe: interface kn-0badcafe; packet-filter table knarr-0badcafe, knarr-policy-0badcafe",
        f"of the cluster {own}, whose folder is {files.root}: interface kn-{own}",
    ]
    machine.leftovers, machine.forgotten = ([], ["the engine hangs"]), [Path("/run/knarr-gateway-7-0")]
    assert found(machine, "leftovers") == ["of gateways: /run/knarr-gateway-7-0, with keys"]
    machine.forgotten = []
    with pytest.raises(NotHere, match="the engine hangs"):
        found(machine, "leftovers")
    machine.user = 1000
    with pytest.raises(NotHere, match="run this with sudo"):
        found(machine, "leftovers")
    files.identity.write_text("damaged")
    assert found(machine, "identity") == [f"{files.identity} holds no cluster's name"]


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied", "/other/cluster-id"), CommandError("no home")])
def test_clusters_that_cannot_be_seen_leave_the_other_checks(machine: Simulated, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """As one that root still makes for the same person, or where HOME is not known."""

    def names() -> list[str]:
        raise error

    monkeypatch.setattr(place, "names", names)
    machine.leftovers = ([Trace("0badcafe", INTERFACE, "kn-0badcafe")], [])
    results = {check.id: run(check, machine) for check in CHECKS}
    assert results["leftovers"].findings == ("of the cluster 0badcafe: interface kn-0badcafe",)


def test_an_etcd_without_its_cluster_is_found(machine: Simulated, tmp_path: Path) -> None:
    store = machine.settings.files.etcd
    store.mkdir(parents=True)
    write(tmp_path, "proc/4711/comm", "etcd\n")
    (tmp_path / "proc/4711/cwd").symlink_to(store)
    assert found(machine, "orphans") == ["an etcd of this cluster, process 4711, runs without it"]
    process.write_pid(machine.settings.files)
    assert found(machine, "orphans") == []


def test_settings_that_are_damaged_are_a_finding_and_stop_nothing(tmp_path: Path) -> None:
    Files(tmp_path).settings.write_text("{")
    results = {result.check.id: result for result in examine(tmp_path)}
    assert results["settings"].state == "fail" and "is not JSON" in results["settings"].findings[0]
    assert len(results) == len(CHECKS) + 1


def test_the_command_tells_programs_and_exits_with_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Files(tmp_path).settings.write_text("{")
    monkeypatch.setattr("sys.argv", ["knarr", "doctor", "--data-dir", str(tmp_path), "-o", "json"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    told = json.loads(capsys.readouterr().out)
    assert caught.value.code == 1 and told["failed"] is True
    assert told["checks"][0].keys() == {"id", "state", "what", "why", "mend", "findings"}


@pytest.mark.parametrize("arguments", [["version"], ["--version"]])
def test_the_version_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["knarr", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 0
    assert re.fullmatch(r"knarr \d+\.\d+ \(Kubernetes v1\.\d+\.\d+, Python 3\.\d+\.\d+\S*, linux/\w+\)\n", capsys.readouterr().out)


def test_the_version_is_that_of_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'version = "{versions()["knarr"]}.' in project
