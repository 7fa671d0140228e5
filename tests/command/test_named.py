"""Named clusters: their names, places, ports and ranges, their contexts, and what stands in the way."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import click
import orjson
import pytest

from knarr.service.errors import CommandError
from services.command import main as cli
from services.command.commands import up
from services.command.named import contexts, freezing, kubeconfig_text, making, place, slots
from services.standalone import preflight, process
from services.standalone.lock import Busy, held
from services.standalone.settings import ClusterSettings, Ports

HOLLOW = ["--runtime", "hollow", "--datapath", "userspace"]
OWN = {"clusters": [{"cluster": {"server": "https://127.0.0.1:26000"}}], "users": [{"user": {"token": "t"}}]}


@pytest.fixture(autouse=True)
def person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody with a home of his own, who has no cluster yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("KUBECONFIG", "SUDO_UID", "SUDO_GID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(preflight, "read_route_problems", lambda settings: ())
    monkeypatch.setattr(making, "read_route_problems", lambda settings: ())
    return tmp_path


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["knarr", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    told = capsys.readouterr()
    return int(caught.value.code or 0), told.out, told.err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """`knarr up` up to where a process would be started; the options that one would get."""
    asked: list[list[str]] = []

    def start(files: Any, arguments: list[str], *_: object) -> dict[str, Any]:
        asked.append(arguments)
        files.kubeconfig.write_bytes(orjson.dumps(OWN))
        return {"node": "n", "seconds": 1.0, "server": "https://127.0.0.1:26000"}

    monkeypatch.setattr(process, "start", start)
    monkeypatch.setattr(up, "_check", lambda _: None)
    return asked


@pytest.mark.parametrize("name", ["", "Dev", "-dev", "dev-", "a.b", "a/b", "..", "a" * 33, "ünser", "a b"])
def test_a_name_that_is_none_is_refused(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(["up", f"--name={name}", *HOLLOW], monkeypatch, capsys)
    assert code == 2 and "is no cluster's name: small letters, digits and -" in complaint
    assert not place.folder().exists()


def test_the_way_to_the_files_is_given_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(["up", "--name", "dev", "--data-dir", "d"], monkeypatch, capsys)
    assert code == 2 and "both say where the cluster's files are" in complaint
    code, _, complaint = run(["pause", "--name", "dev", "test"], monkeypatch, capsys)
    assert code == 2 and "two clusters are named: " in complaint


@pytest.mark.parametrize(
    "command",
    [
        *(["status"], ["down"], ["kubeconfig"], ["logs"], ["doctor"], ["audit"], ["export"], ["certs", "list"], ["why", "pod", "p"]),
        *(["whatif", "drain", "n"], ["backup", "f"], ["load", "i"], ["secrets", "rotate"], ["auth", "why", "get", "pods"]),
    ],
)
def test_every_command_takes_a_name_and_says_which_there_are(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place.data_dir("test").mkdir(parents=True)
    code, _, complaint = run([*command, "--name", "dev"], monkeypatch, capsys)
    assert code == 1
    assert complaint == "error: there is no cluster 'dev' (there are: test); `knarr up --name dev` makes it\n"


def test_a_new_cluster_gets_a_place_that_it_keeps(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("dev", "test", "dev"):
        assert run(["up", "--name", name, *HOLLOW], monkeypatch, capsys)[0] == 0
    first, _, again = started
    assert first == again and f"--data-dir={place.data_dir('dev')}" in first
    kept = {name: ClusterSettings.saved(place.data_dir(name)) for name in ("dev", "test")}
    assert not slots.meet(kept["dev"], kept["test"]) and f"--rest-port={kept['dev'].ports.rest}" in first
    # What is said wins.
    assert run(["up", "--name", "third", "--rest-port", "7443", *HOLLOW], monkeypatch, capsys)[0] == 0
    assert "--rest-port=7443" in started[-1] and f"--apiserver-port={slots.slot(2, Path()).ports.apiserver}" in started[-1]


def test_one_that_is_refused_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(["up", "--name", "dev", *HOLLOW, "--pod-cidr", "192.168.0.0/24"], monkeypatch, capsys)
    assert code == 1 and "--pod-cidr 192.168.0.0/24 lies outside" in complaint
    assert place.names() == []


def test_a_kubeconfig_that_is_no_good_is_told_before_anything_is_started(
    person: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = person / ".kube/config"
    path.parent.mkdir()
    path.write_text("clusters: [\n")
    code, _, complaint = run(["up", "--name", "dev", *HOLLOW], monkeypatch, capsys)
    assert code == 1 and complaint.startswith(f"error: {path} is no kubeconfig: line 2: ") and "KUBECONFIG" in complaint
    assert started == [] and place.names() == [] and path.read_text() == "clusters: [\n"
    # A cluster that runs already is stopped all the same.
    making.reserve(place.data_dir("dev"))
    code, told, complaint = run(["down", "--name", "dev"], monkeypatch, capsys)
    assert code == 0 and "no cluster process was running" in told and complaint.startswith(f"warning: {path} is no kubeconfig")


def test_slots_lie_apart_from_one_another_and_from_the_defaults() -> None:
    found = [ClusterSettings(), *(slots.slot(number, Path()) for number in range(slots.SLOTS))]
    for place_, one in enumerate(found):
        ports = [getattr(one.ports, name) for name in Ports.__dataclass_fields__]
        assert len(set(ports)) == len(ports) and max(ports) < 30_000
        assert not list(preflight.range_problems(one))
        assert not any(slots.meet(one, other) for other in found[:place_])
    assert IPv4Network(found[1].service_cidr).num_addresses == 4096


def test_what_others_have_is_not_chosen(tmp_path: Path) -> None:
    first = slots.slot(0, tmp_path)
    free = {1: False}
    chosen = slots.choose(tmp_path, [first], lambda one: free.pop(1, True))
    assert chosen == slots.slot(2, tmp_path)
    with pytest.raises(CommandError, match="no ports and ranges are free for one more cluster"):
        slots.choose(tmp_path, [], lambda one: False)


def test_a_port_that_somebody_has_moves_the_next_cluster_on() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", slots.slot(0, Path()).ports.scheduler))
        making.reserve(place.data_dir("dev"))
    assert ClusterSettings.saved(place.data_dir("dev")).ports == slots.slot(1, Path()).ports


def test_eight_at_once_get_eight_places() -> None:
    """Processes, since the lock is one between processes."""
    code = "import sys; from services.command.named import making, place; making.reserve(place.data_dir(sys.argv[1]))"
    names = [f"c{number}" for number in range(8)]
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in names]
    assert [one.wait(60) for one in running] == [0] * 8
    found = [ClusterSettings.saved(place.data_dir(name)) for name in names]
    assert len({one.ports.rest for one in found}) == 8
    assert not any(slots.meet(one, other) for number, one in enumerate(found) for other in found[:number])


def write_own(folder: Path) -> Path:
    path = folder / "own"
    path.write_bytes(orjson.dumps(OWN))
    return path


def test_a_context_comes_into_the_persons_file_and_goes_again(person: Path) -> None:
    path = person / ".kube/config"
    assert contexts.add("dev", write_own(person)) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and contexts.current() == "knarr-dev"
    path.chmod(0o640)
    assert contexts.remove("dev") == [path] and contexts.remove("dev") == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 and contexts.current() == ""
    assert list(path.parent.iterdir()) == [path]


def test_of_several_files_the_one_that_says_what_is_current_is_taken(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (person / name for name in ("one", "two", "three"))
    monkeypatch.setenv("KUBECONFIG", f"{one}::{two}:{three}")
    assert contexts.add("dev", write_own(person)) == three
    two.write_text("current-context: mine\n")
    assert contexts.add("test", write_own(person)) == two
    assert contexts.remove("dev") == [three] and contexts.current() == "knarr-test"


def test_a_link_is_followed_and_stays(person: Path) -> None:
    real = person / "dotfiles"
    real.write_text("# mine\n")
    (person / ".kube").mkdir()
    (person / ".kube/config").symlink_to(real)
    contexts.add("dev", write_own(person))
    assert (person / ".kube/config").is_symlink() and real.read_text().startswith("# mine\n") and "knarr-dev" in real.read_text()


def test_lines_keep_the_ends_that_they_have(person: Path) -> None:
    path = person / ".kube/config"
    path.parent.mkdir()
    mine = b"# mine\r\napiVersion: v1\r\nkind: Config\r\nclusters:\r\n- name: a\r\n  cluster: {}\r\ncurrent-context: a\r\n"
    path.write_bytes(mine)
    contexts.add("dev", write_own(person))
    assert path.read_bytes().startswith(b"# mine\r\napiVersion: v1\r\nkind: Config\r\nclusters:\r\n- name: a\r\n  cluster: {}\r\n")
    assert contexts.current() == "knarr-dev"


def test_a_device_or_a_pipe_is_no_kubeconfig(
    person: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = person / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setenv("KUBECONFIG", str(pipe))
    code, _, complaint = run(["up", "--name", "dev", *HOLLOW], monkeypatch, capsys)
    assert code == 1 and f"{pipe} is no ordinary file" in complaint and started == []
    with pytest.raises(CommandError, match="is no ordinary file"):
        contexts.add("dev", write_own(person))
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_another_programs_lock_is_waited_for_and_told(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = person / "config"
    lock = person / "config.lock"
    monkeypatch.setenv("KUBECONFIG", str(path))
    # kubectl's is empty, and anybody's may be there for a moment only.
    lock.touch()
    threading.Timer(0.2, lock.unlink).start()
    contexts.add("dev", write_own(person))
    lock.touch()
    with pytest.raises(CommandError, match="another program changes"), contexts.locked(path, 0.1):
        pass
    assert lock.exists()


def test_a_lock_whose_owner_was_killed_is_taken_over(person: Path) -> None:
    path = person / "config"
    code = f"""
from pathlib import Path
from services.command.named import contexts
with contexts.locked(Path({str(path)!r})):
    print(flush=True)
    input()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"\n"
    with pytest.raises(CommandError, match="another program changes"), contexts.locked(path, 0.1):
        pass
    holder.kill()
    holder.communicate()
    assert (person / "config.lock").exists()
    with contexts.locked(path, 0.1):
        pass
    assert not (person / "config.lock").exists()


def test_many_writers_lose_nothing(person: Path) -> None:
    code = """
import sys
from pathlib import Path
from services.command.named import contexts
for turn in range(3):
    contexts.add(sys.argv[1], Path(sys.argv[2]))
    if turn < 2:
        contexts.remove(sys.argv[1])
"""
    own = write_own(person)
    running = [subprocess.Popen([sys.executable, "-c", code, f"c{number}", str(own)]) for number in range(8)]
    assert [one.wait(100) for one in running] == [0] * 8
    document = kubeconfig_text.read((person / ".kube/config").read_text())
    for section in ("clusters", "contexts", "users"):
        assert sorted(entry["name"] for entry in document[section]) == [f"knarr-c{number}" for number in range(8)]
    assert [path.name for path in (person / ".kube").iterdir()] == ["config"]


def test_what_killed_commands_left_beside_the_file_is_swept(person: Path) -> None:
    folder = person / ".kube"
    folder.mkdir()
    for name in (".config.0badcafe", ".config.lock.4711", ".other.0badcafe"):
        (folder / name).touch()
    contexts.add("dev", write_own(person))
    assert sorted(path.name for path in folder.iterdir()) == [".other.0badcafe", "config"]


@contextmanager
def process_of(name: str) -> Iterator[subprocess.Popen[bytes]]:
    """Something that lives in the place of a cluster's process."""
    making.reserve(place.data_dir(name))
    files = ClusterSettings(data_dir=place.data_dir(name)).files
    made = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    files.pid.write_text(f"{made.pid} {process.start_time(made.pid)}\n")
    files.settings.write_bytes(orjson.dumps({**ClusterSettings.saved(files.root).as_dict(), "runtime": "hollow", "datapath": "userspace"}))
    files.kubeconfig.write_bytes(orjson.dumps(OWN))
    try:
        yield made
    finally:
        made.kill()
        made.communicate()


def test_clusters_are_listed_with_what_they_do(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there are no named clusters" in run(["list"], monkeypatch, capsys)[1]
    making.reserve(place.data_dir("stopped"))
    broken = place.data_dir("broken")
    broken.mkdir()
    (broken / "settings.json").write_text("{")
    (place.folder() / f"{place.DOOMED}12345678").mkdir()
    with process_of("dev") as running:
        assert run(["switch", "dev"], monkeypatch, capsys)[0] == 0
        told = {one["name"]: one for one in json.loads(run(["list", "-o", "json"], monkeypatch, capsys)[1])}
        assert {name: one["state"] for name, one in told.items()} == {"broken": "damaged", "dev": "starting", "stopped": "stopped"}
        code, _, complaint = run(["pause", "dev"], monkeypatch, capsys)
        assert code == 1 and "is still starting" in complaint and not freezing.is_frozen(running.pid)
        assert told["dev"]["pid"] == running.pid and told["dev"]["current"] and not told["stopped"]["current"]
        (place.data_dir("dev") / "state.json").touch()
        assert run(["list"], monkeypatch, capsys)[1].splitlines()[2].split()[:3] == ["*", "dev", "running"]


def test_every_command_answers_programs_but_those_whose_output_is_what_it_is() -> None:
    """As docs/output.md says."""

    def commands(found: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
        if isinstance(found, click.Group):
            for name, command in found.commands.items():
                yield from commands(command, (*path, name))
        else:
            yield " ".join(path), found

    silent = {name for name, command in commands(cli.knarr, ()) if not any("--output" in option.opts for option in command.params)}
    assert silent == {"logs", "kubeconfig", "ui", "completion"}


def test_what_was_done_is_answered_and_words_go_beside_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, told, beside = run(["down", "-o", "json"], monkeypatch, capsys)
    assert (code, json.loads(told)["stopped"], beside) == (0, False, "no cluster process was running\n")
    code, told, complaint = run(["resume", "-o", "json"], monkeypatch, capsys)
    assert (code, told) == (1, "") and complaint.startswith("error: no cluster runs from")


def test_a_paused_cluster_is_frozen_and_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with process_of("dev") as running:
        (place.data_dir("dev") / "state.json").touch()
        for _ in range(2):
            assert run(["pause", "dev"], monkeypatch, capsys)[:2] == (0, "frozen: the cluster's process, etcd\n")
            os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WNOWAIT)
            assert freezing.is_frozen(running.pid)
        assert json.loads(run(["list", "-o", "json"], monkeypatch, capsys)[1])[0]["state"] == "paused"
        code, told, _ = run(["status", "--name", "dev"], monkeypatch, capsys)
        assert code == 1 and "is paused" in told
        assert run(["resume", "dev"], monkeypatch, capsys)[0] == 0
        os.waitid(os.P_PID, running.pid, os.WCONTINUED)
        assert not freezing.is_frozen(running.pid)
    for command in ("pause", "resume"):
        code, _, complaint = run([command, "dev"], monkeypatch, capsys)
        assert code == 1 and "no cluster runs from" in complaint


def test_a_switch_to_what_does_not_run_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    making.reserve(place.data_dir("dev"))
    code, _, complaint = run(["switch", "dev"], monkeypatch, capsys)
    assert code == 1 and "`knarr up --name dev` starts it" in complaint


def test_a_cluster_is_removed_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    making.reserve(place.data_dir("dev"))
    (place.folder() / f"{place.DOOMED}12345678").mkdir()
    code, told, _ = run(["delete", "dev"], monkeypatch, capsys)
    assert code == 0 and f"removed {place.data_dir('dev')}" in told
    assert list(place.folder().iterdir()) == []
    assert run(["delete", "dev"], monkeypatch, capsys)[0] == 1


def test_nothing_that_runs_or_is_mounted_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    with process_of("dev"), pytest.raises(CommandError, match="somebody has started it again"):
        making.discard(place.data_dir("dev"))
    monkeypatch.setattr("services.kubelet.node.mounts.mounts_below", lambda path: [path / "kubelet/pods/x"])
    with pytest.raises(CommandError, match=r"kubelet/pods/x is still mounted"):
        making.discard(place.data_dir("dev"))
    assert place.names() == ["dev"]


def test_a_damaged_kubeconfig_of_a_cluster_is_told_with_the_way_out(
    person: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with process_of("dev"):
        for text in ("{", "{}", "[]", '{"clusters": [], "users": []}'):
            (place.data_dir("dev") / "kubeconfig").write_text(text)
            code, _, complaint = run(["switch", "dev"], monkeypatch, capsys)
            assert code == 1 and "is damaged; `knarr down --name dev`" in complaint
    assert not (person / ".kube").exists()


def test_a_cluster_that_was_ready_when_its_start_was_interrupted_is_stopped(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped: list[Path] = []
    monkeypatch.setattr(process, "stop", lambda files: stopped.append(files.root))

    @contextmanager
    def interrupted() -> Iterator[None]:
        monkeypatch.setattr(up, "undisturbed", nullcontext)
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(up, "undisturbed", interrupted)
    code, _, told = run(["up", "--name", "dev", *HOLLOW], monkeypatch, capsys)
    assert code == 130 and "stopping the cluster again" in told and stopped == [place.data_dir("dev")]


def test_a_linked_cluster_is_not_removed_and_nothing_of_it_is_in_the_way(
    person: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = person / "big-disk"
    elsewhere.mkdir()
    making.reserve(place.data_dir("other"))
    place.data_dir("dev").symlink_to(elsewhere)
    making.reserve(place.data_dir("dev"))
    code, _, complaint = run(["delete", "dev"], monkeypatch, capsys)
    assert code == 1 and f"is a link to {elsewhere}" in complaint
    assert place.data_dir("dev").is_symlink() and (elsewhere / "settings.json").exists()
    assert run(["delete", "other"], monkeypatch, capsys)[0] == 0


def test_what_an_earlier_removal_could_not_remove_is_in_nobodys_way(
    person: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    making.reserve(place.data_dir("dev"))
    left = place.folder() / f"{place.DOOMED}12345678"
    left.symlink_to(person)
    assert run(["delete", "dev"], monkeypatch, capsys)[0] == 0
    assert place.names() == [] and person.is_dir()


def test_a_cluster_that_you_may_not_stop_keeps_its_context(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(files: Any) -> bool:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(process, "stop", refuse)
    with process_of("dev"):
        assert run(["switch", "dev"], monkeypatch, capsys)[0] == 0
        code, _, complaint = run(["down", "--name", "dev"], monkeypatch, capsys)
    assert code == 1 and "permission denied" in complaint and contexts.current() == "knarr-dev"


def test_one_that_cannot_be_read_keeps_nobody_from_having_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """As while root makes one for the same person."""
    making.reserve(place.data_dir("other"))

    def salvaged(data_dir: Path) -> tuple[ClusterSettings, str]:
        raise PermissionError(13, "Permission denied", str(data_dir))

    monkeypatch.setattr(ClusterSettings, "salvaged", salvaged)
    assert making.reserve(place.data_dir("dev"))


def test_who_has_no_home_may_use_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Path:
        raise CommandError("your home directory is not known")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(place, "home", unknown)
    assert place.name_of(tmp_path / "cluster") == ""


def test_a_directory_that_was_removed_while_one_waited_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()

    def remove() -> None:
        if folder.exists():
            folder.rmdir()
            first.__exit__(None, None, None)

    first = held(folder)
    first.__enter__()
    with pytest.raises(Busy), held(folder, wait_seconds=10, meanwhile=remove):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root works for others")
def test_with_sudo_all_that_lies_in_the_persons_home_is_his(person: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where a link there leads to what only root may write."""
    home = Path(subprocess.run(["mktemp", "-d", "/tmp/knarr-home-XXXXXX"], capture_output=True, text=True, check=True).stdout.strip())
    try:
        os.chown(home, 1234, 1234)
        monkeypatch.setenv("SUDO_UID", "1234")
        monkeypatch.setenv("SUDO_GID", "1234")
        monkeypatch.setattr(place, "home", lambda: home)
        monkeypatch.delenv("XDG_STATE_HOME")
        own = write_own(person)
        contexts.add("dev", own)
        making.reserve(place.data_dir("dev"))
        for path in (home / ".kube", home / ".kube/config", home / ".local", place.folder()):
            assert path.stat().st_uid == 1234, path
        assert (os.geteuid(), os.getegid()) == (0, 0)
        secret = person / "root-only"
        secret.write_text("# root's\n")
        secret.chmod(0o600)
        (home / ".kube/config").unlink()
        (home / ".kube/config").symlink_to(secret)
        with pytest.raises(CommandError, match="cannot be read: Permission denied"):
            contexts.add("dev", own)
        assert secret.read_text() == "# root's\n" and os.geteuid() == 0
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=True)
