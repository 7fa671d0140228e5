"""The command line: its words for mistakes, and that settings survive the way to the background."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.command import main as cli
from services.command.__main__ import main
from services.command.commands import up
from services.compose import load as compose_load
from services.standalone import options, preflight, process
from services.standalone.files import Files
from services.standalone.lock import held
from services.standalone.preflight import problems
from services.standalone.process import ROOT
from services.standalone.settings import ClusterSettings, Ports

FREE_PORTS = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})


@pytest.fixture(autouse=True)
def no_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cluster on this machine has the same ranges; tests/standalone/test_preflight.py is about them."""
    monkeypatch.setattr(preflight, "read_route_problems", lambda settings: ())


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["knarr", *arguments])
    cli.main()


def chosen(arguments: list[str]) -> ClusterSettings:
    """What `knarr up` makes of its options."""
    given = up.up.make_context("up", list(arguments)).params
    return options.settings_from(given["data_dir"], {name: value for name, value in given.items() if value is not None})


def test_options_reach_the_background_process_unchanged(tmp_path: Path) -> None:
    settings = ClusterSettings(
        data_dir=tmp_path,
        runtime="hollow",
        datapath="userspace",
        ports=Ports(rest=1, proxy=2),
        node_name="n1",
        kubelet_options="--max-pods=3",
    )
    arguments = options.options_of(settings)
    assert chosen(arguments) == settings
    parser = argparse.ArgumentParser()
    options.add_settings(parser)
    assert options.settings_from(tmp_path, vars(parser.parse_args(arguments))) == settings


def test_what_is_not_said_stays_as_it_was_chosen_before(tmp_path: Path) -> None:
    ClusterSettings(data_dir=tmp_path, runtime="hollow", ports=Ports(rest=1, proxy=2), service_cidr="10.1.0.0/16").save()
    settings = chosen(["--data-dir", str(tmp_path), "--proxy-port", "3"])
    assert (settings.runtime, settings.service_cidr, settings.ports.rest, settings.ports.proxy) == ("hollow", "10.1.0.0/16", 1, 3)


@pytest.mark.parametrize(
    ("option", "before", "now"), [("service_cidr", "10.96.0.0/16", "10.9.0.0/16"), ("pod_cidr", "10.244.0.0/24", "10.244.1.0/24")]
)
def test_a_cluster_keeps_the_ranges_of_its_addresses(option: str, before: str, now: str, tmp_path: Path) -> None:
    kept = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath="userspace", ports=FREE_PORTS)
    kept.save()
    (kept.files.etcd / "data").mkdir(parents=True)
    choice: dict[str, Any] = {option: now}
    changed = dataclasses.replace(kept, **choice)
    assert any(f"have addresses in {before}; keep --{option.replace('_', '-')} {before}" in problem for problem in problems(changed))
    assert not list(problems(kept))


def test_a_restored_state_may_have_any_range(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath="userspace", ports=FREE_PORTS, service_cidr="10.9.0.0/16")
    (settings.files.etcd / "data").mkdir(parents=True)
    assert not list(problems(settings))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up", "--runtime", "podman"], "invalid choice: 'podman'"),
        (["up", "--rest-port", "http"], "'http' is not a port; give a number from 0 to 65535"),
        (["up", "--pod-cidr", "10.244.0.1/24"], "is not an IPv4 range"),
        (["up", "--cluster-domain", "a..b"], "'a..b' is not a domain name; write it like cluster.local"),
        (["up", "--service-cidr", "10.0.0.0"], "'10.0.0.0/32' has 1 address, too few for Services; give a range of 16 or more: /28"),
        (["up", "--service-cidr", "10.0.0.0/30"], "'10.0.0.0/30' has 4 addresses, too few for Services"),
        (["up", "--pod-cidr", "10.0.0.0/30"], "'10.0.0.0/30' has 4 addresses, too few for pods"),
        (["up", "--node-name", "Node_1"], "'Node_1' is not a node's name"),
        (["up", "--node-name", "a" * 64], "is not a node's name: at most 63"),
        (["up", "--rest-address", "everywhere"], "'everywhere' is not an IPv4 address"),
        (["up", "--data-dir", __file__], "is a file"),
        (["down", "--data-dir", __file__], "is a file"),
        (["up", "--data-dir", ""], "it is empty"),
        (["status", "--data-dir", f"{__file__}/k"], "is below a file"),
        (["start"], "invalid choice: 'start'"),
    ],
)
def test_a_mistake_is_named(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        run(arguments, monkeypatch)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_kubeconfig_before_up_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["kubeconfig", "--data-dir", str(tmp_path)], monkeypatch)
    assert caught.value.code == 1
    assert "start the cluster first: `knarr up`" in capsys.readouterr().err


def test_a_taken_port_is_named_with_its_option() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        free = dataclasses.replace(FREE_PORTS, rest=port)
        found = list(problems(ClusterSettings(runtime="hollow", ports=free)))
    assert any(f"port {port} (rest)" in problem and "--rest-port" in problem for problem in found)


@pytest.mark.parametrize("other", ["apiserver", "nameserver"])
def test_a_port_is_given_once(other: str) -> None:
    ports = dataclasses.replace(FREE_PORTS, rest=45871, **{other: 45871})
    names = sorted(["rest", other], key=[field.name for field in dataclasses.fields(ports)].index)
    (problem,) = problems(ClusterSettings(runtime="hollow", datapath="userspace", ports=ports))
    assert problem == f"--{names[0]}-port and --{names[1]}-port are both 45871; choose different ones"


@pytest.mark.parametrize(("kept", "free", "told"), [(False, 63, True), (False, 65, False), (True, 63, False), (True, 0, True)])
def test_a_full_disk_is_told_before_anything_is_written(
    kept: bool, free: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath="userspace", ports=FREE_PORTS)
    if kept:
        (settings.files.etcd / "data").mkdir(parents=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free << 20))
    found = list(problems(settings))
    assert len(found) == told and all(problem.startswith(f"the disk of {tmp_path} is full: {free} MiB are free, and ") for problem in found)


def test_a_path_that_is_too_long_for_etcd_is_told_before_anything_is_written(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path / ("ü" * 50), runtime="hollow", datapath="userspace", ports=FREE_PORTS)
    (problem,) = problems(settings)
    assert problem.startswith("the data directory's path is too long for a socket") and not settings.files.root.exists()


@pytest.mark.parametrize("command", ["up --runtime hollow", "status", "down", "kubeconfig"])
def test_a_directory_that_is_gone_is_told_with_the_way_out(command: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    program = f"{shlex.quote(sys.executable)} -P -c 'from services.command.main import main; main()'"
    script = f"cd {here} && rmdir {here} && PYTHONPATH={ROOT} {program} {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2 and "the directory that you are in is there no more" in done.stderr


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_data_directory_that_is_not_utf_8_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as caught:
        run([command, "--data-dir", f"{tmp_path}/a\udcff"], monkeypatch)
    assert caught.value.code == 2 and "is not UTF-8" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_whole_path_is_shown_where_the_directory_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    here.rmdir()
    assert up._shown(tmp_path / "kubeconfig") == str(tmp_path / "kubeconfig")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>&1"])
def test_where_output_leads_is_no_reason_to_fail(redirection: str, tmp_path: Path) -> None:
    """A closed stream gives its number to what is opened next: the directory's lock, and a pipe to the cluster's process."""
    command = f"{shlex.quote(sys.executable)} -P -c 'from services.command.main import main; main()' down --data-dir {tmp_path}"
    done = subprocess.run(["bash", "-c", f"{command} {redirection}"], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_whoever_interrupts_it_while_it_loads_is_shown_no_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "services.command.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "services.command.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130 and capsys.readouterr() == ("", "")


@pytest.mark.parametrize("command", ["completion bash", "simulate tests/simulation/golden/growth.yaml"])
@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), ("| true", 0), (">/dev/null", 0)])
def test_what_a_command_was_called_for_is_not_lost_in_silence(command: str, redirection: str, code: int) -> None:
    command = f"{shlex.quote(sys.executable)} -P -c 'from services.command.main import main; main()' {command}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} {redirection}"], capture_output=True, text=True, check=False, timeout=30, cwd=ROOT
    )
    assert (done.returncode, done.stderr) == (code, "error: standard output: No space left on device\n" if code else "")


def test_down_waits_for_what_a_start_brings(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A start holds the directory before its process can be found."""
    files, lock = Files(tmp_path), ExitStack()
    files.prepare()
    lock.enter_context(held(tmp_path))
    found = iter([False, False, True])

    def stop(_: Files) -> bool:
        ended = next(found, False)
        if ended:
            lock.close()
        return ended

    monkeypatch.setattr(process, "stop", stop)
    with pytest.raises(SystemExit) as caught:
        run(["down", "--data-dir", str(tmp_path)], monkeypatch)
    assert (caught.value.code, capsys.readouterr().out) == (0, "the cluster's process has stopped\n")


def test_ranges_that_do_not_fit_are_refused() -> None:
    settings = ClusterSettings(runtime="hollow", ports=FREE_PORTS, pod_cidr="10.1.0.0/24", service_cidr="10.244.0.0/16")
    text = "\n".join(problems(settings))
    assert "--pod-cidr 10.1.0.0/24 lies outside --cluster-cidr 10.244.0.0/16" in text
    assert "--service-cidr 10.244.0.0/16 overlaps" in text


def test_a_load_balancer_pool_among_the_services_is_refused() -> None:
    settings = ClusterSettings(runtime="hollow", ports=FREE_PORTS, load_balancer_pool="10.96.7.0/24")
    assert any("--service-cidr 10.96.0.0/16 overlaps --load-balancer-pool 10.96.7.0/24" in problem for problem in problems(settings))


def test_a_taken_nameserver_port_is_named_with_its_option() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 0))
        port = holder.getsockname()[1]
        found = list(problems(ClusterSettings(runtime="hollow", ports=dataclasses.replace(FREE_PORTS, nameserver=port))))
    assert any(f"port {port} (nameserver)" in problem and "--nameserver-port" in problem for problem in found)


def test_no_engine_is_a_clear_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    text = "\n".join(problems(ClusterSettings(ports=FREE_PORTS)))
    assert "no Docker engine answers" in text
    assert "--runtime hollow" in text


HOLLOW = ["--runtime", "hollow", "--datapath", "userspace"]


def test_up_beside_another_up_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with held(tmp_path), pytest.raises(SystemExit) as caught:
        run(["up", "--data-dir", str(tmp_path), *HOLLOW], monkeypatch)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: another knarr command is at work in {tmp_path}; wait until it has ended, then try again\n"
    assert list(tmp_path.iterdir()) == []


def test_up_beside_a_running_cluster_is_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path)
    process.write_pid(files)
    files.state.touch()
    with held(tmp_path), pytest.raises(SystemExit) as caught:
        run(["up", "--data-dir", str(tmp_path), *HOLLOW], monkeypatch)
    assert caught.value.code == 0
    assert f"the cluster runs already (pid {os.getpid()})" in capsys.readouterr().out


def test_an_up_that_cannot_be_leaves_no_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["up", "--data-dir", str(tmp_path / "k"), *HOLLOW, "--pod-cidr", "10.1.0.0/24"], monkeypatch)
    assert caught.value.code == 1
    assert "--pod-cidr 10.1.0.0/24 lies outside" in capsys.readouterr().err
    assert not (tmp_path / "k").exists()


def test_down_works_with_settings_that_are_no_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Files(tmp_path).settings.write_text("")
    with pytest.raises(SystemExit) as caught:
        run(["down", "--data-dir", str(tmp_path)], monkeypatch)
    assert caught.value.code == 0
    told = capsys.readouterr()
    assert told.out == "no cluster process was running\n"
    assert told.err.startswith(f"warning: {tmp_path}/settings.json is not JSON")
    assert told.err.count("\n") == 1


def test_a_read_only_directory_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(path: Path, mode: int) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "chmod", refused)
    with pytest.raises(SystemExit) as caught:
        run(["up", "--data-dir", str(tmp_path)], monkeypatch)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: permission denied; run with sudo, or choose another --data-dir\n"


def test_help_tells_units_and_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["up", "--help"], monkeypatch)
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--service-cidr CIDR addresses of Services (default: 10.96.0.0/16)" in text
    assert "--rest-port PORT TCP port of the Kubernetes REST API; 0 lets the system choose (default: 6443)" in text
    assert "--runtime docker|containerd|hollow what runs containers, or simulates them (default: docker)" in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_learns_to_complete(shell: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        run(["completion", shell], monkeypatch)
    assert caught.value.code == 0
    assert f"_KNARR_COMPLETE={shell}_complete" in capsys.readouterr().out


COMMANDS = {
    "addon",
    "ui",
    "up",
    "down",
    "list",
    "switch",
    "boot",
    "pause",
    "resume",
    "delete",
    "status",
    "node",
    "doctor",
    "top",
    "logs",
    "export",
    "kubeconfig",
    "load",
    "backup",
    "restore",
    "auth",
    "why",
    "whatif",
    "simulate",
    "certs",
    "audit",
    "secrets",
    "completion",
    "version",
}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("knarr ", COMMANDS),
        ("knarr up --runtime ", {"docker", "containerd", "hollow"}),
    ],
)
def test_what_is_completed(words: str, offered: set[str]) -> None:
    environment = {**os.environ, "_KNARR_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
    command = [sys.executable, "-c", "from services.command.main import main; main()"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert {line.partition(",")[2] for line in done.stdout.split()} == offered


def test_the_command_imports_nothing_heavy() -> None:
    code = "import sys, services.command.main; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"grpc", "google", "asyncio", "cryptography", "numpy", "rich", "aiohttp", "docker", "uvloop"} & set(done.stdout.split())


def test_a_machine_whose_name_is_none_for_a_node_is_told_of_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "my_machine")
    (problem,) = problems(ClusterSettings(runtime="hollow", datapath="userspace", ports=FREE_PORTS))
    assert "'my_machine' is not a node's name" in problem and problem.endswith("give --node-name")


@pytest.mark.parametrize("option", ["service_cidr", "cluster_cidr", "load_balancer_pool"])
def test_ranges_that_nobody_routes_are_refused(option: str) -> None:
    settings = ClusterSettings(runtime="hollow", datapath="userspace", ports=FREE_PORTS)
    for network in ("127.4.0.0/16", "224.0.0.0/16", "169.254.0.0/16", "0.0.0.0/4"):
        chosen: dict[str, Any] = {option: network}
        found = list(problems(dataclasses.replace(settings, **chosen)))
        assert any(f"--{option.replace('_', '-')} {network} has addresses that no machine routes" in problem for problem in found)


def test_a_path_with_spaces_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "start", lambda *_: {"node": "n", "seconds": 1.0, "server": "https://x"})
    monkeypatch.setattr(up, "_check", lambda _: None)
    with pytest.raises(SystemExit) as caught:
        run(["up", "--data-dir", str(tmp_path / "my cluster"), *HOLLOW], monkeypatch)
    assert caught.value.code == 0
    line = capsys.readouterr().out.splitlines()[-1].strip()
    assert shlex.split(line) == ["export", f"KUBECONFIG={tmp_path}/my cluster/kubeconfig"]


def test_a_full_disk_is_told_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(tmp_path / "knarr.log"))

    monkeypatch.setattr(process, "start", full)
    monkeypatch.setattr(up, "_check", lambda _: None)
    with pytest.raises(SystemExit) as caught:
        run(["up", "--data-dir", str(tmp_path), *HOLLOW], monkeypatch)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/knarr.log: No space left on device\n"


def test_a_state_that_is_damaged_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    process.write_pid(Files(tmp_path))
    Files(tmp_path).state.write_text("{")
    with pytest.raises(SystemExit) as caught:
        run(["status", "--data-dir", str(tmp_path)], monkeypatch)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path}/state.json is damaged; `knarr down` and `knarr up` make it anew\n"


@pytest.mark.parametrize("runs", [True, False])
def test_nothing_needs_to_be_loaded_into_a_cluster_of_one_process(
    runs: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_nodes(*_: object) -> None:
        raise compose_load.NoNodes("no node of the compose cluster 'knarr' runs")

    monkeypatch.setattr(compose_load, "load", no_nodes)
    if runs:
        process.write_pid(Files(tmp_path))
    with pytest.raises(SystemExit) as caught:
        run(["load", "--data-dir", str(tmp_path), "web:1"], monkeypatch)
    told = capsys.readouterr()
    if runs:
        assert (caught.value.code, told.out) == (0, f"nothing to load: the cluster in {tmp_path} runs this machine's images as they are\n")
    else:
        assert (caught.value.code, told.err) == (1, "error: no node of the compose cluster 'knarr' runs\n")


def test_units_run_nothing_that_lies_in_the_current_directory() -> None:
    units = list((ROOT / "deploy/systemd").glob("*.service"))
    assert len(units) == 10
    for unit in units:
        assert "ExecStart=/opt/knarr/bin/python -P -m knarr.services." in unit.read_text()


def test_a_restore_that_was_cut_off_does_not_end_in_an_empty_cluster(tmp_path: Path) -> None:
    settings = ClusterSettings(data_dir=tmp_path, runtime="hollow", datapath="userspace", ports=FREE_PORTS)
    aside = settings.files.etcd / "data.before-restore-20261128T100000Z"
    aside.mkdir(parents=True)
    (problem,) = problems(settings)
    assert problem == f"a restore was interrupted: give `knarr restore` again, or move {aside} back to {tmp_path}/etcd/data"
    (settings.files.etcd / "data").mkdir()
    assert not list(problems(settings))


def test_a_process_of_root_is_not_stopped_by_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    process.write_pid(Files(tmp_path))

    def refused(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "kill", refused)
    with pytest.raises(SystemExit) as caught:
        run(["down", "--data-dir", str(tmp_path)], monkeypatch)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "error: the cluster's process: permission denied; run with sudo, or choose another --data-dir\n"


@pytest.mark.parametrize("command", ["up", "restore"])
def test_a_directory_of_something_else_is_neither_closed_nor_used(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root, one slip would close /tmp to everybody."""
    tmp_path.chmod(0o755)
    (tmp_path / "thesis.tex").touch()
    monkeypatch.setattr("services.standalone.backup.snapshot.check", lambda path: None)
    with pytest.raises(SystemExit) as caught:
        run([command, "--data-dir", str(tmp_path), *(HOLLOW if command == "up" else [str(tmp_path / "file.db")])], monkeypatch)
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"error: {tmp_path} holds files that are no cluster's; choose an empty --data-dir, or a new one\n"
    assert tmp_path.stat().st_mode & 0o777 == 0o755 and [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
