"""Finding the background process: a pid alone is not enough."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr.service.errors import CommandError
from services.standalone import etcd_process, process
from services.standalone.files import Files
from services.standalone.lock import held
from services.standalone.signals import interruptible


def test_a_living_process_is_found(tmp_path: Path) -> None:
    process.write_pid(Files(tmp_path))
    assert process.find(Files(tmp_path)) == process.Running(os.getpid())


def test_a_pid_that_now_belongs_to_another_is_not_ours(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.pid.write_text(f"{os.getpid()} 1\n")
    assert process.find(files) is None
    assert process.stop(files) is False


def test_a_dead_process_is_not_found(tmp_path: Path) -> None:
    files = Files(tmp_path)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    files.pid.write_text(f"{child.pid} 12345\n")
    assert process.find(files) is None


@pytest.mark.parametrize("text", ["", "\0" * 16, "4711", "x 4711", "1 2 3", "99999999999999999999 1"])
def test_a_damaged_pid_file_counts_for_nothing(tmp_path: Path, text: str) -> None:
    files = Files(tmp_path)
    files.pid.write_text(text)
    assert process.find(files) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others")
def test_a_stranger_names_no_process_but_his_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or he would have root end any, by a data directory where root starts to work."""
    files, stranger = Files(tmp_path), 4711
    process.write_pid(files)
    os.chown(files.pid, stranger, stranger)
    assert process.find(files) is None
    monkeypatch.setenv("SUDO_UID", str(stranger))
    monkeypatch.setenv("SUDO_GID", str(stranger))
    assert process.find(files) == process.Running(os.getpid())
    monkeypatch.delenv("SUDO_UID")
    with subprocess.Popen(["/bin/sleep", "60"], user=stranger, group=stranger) as his:
        files.pid.write_text(f"{his.pid} {process.start_time(his.pid)}\n")
        assert process.find(files) == process.Running(his.pid)
        his.kill()


def test_a_start_that_fails_shows_the_end_of_the_log_each_line_once(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.log.write_text("".join(f"12:00:0{number} warning the network overlaps\n" for number in range(9)))
    with held(tmp_path) as lock, pytest.raises(CommandError) as caught:
        process.start(files, ["--no-such-option"], lambda step, seconds: None, lock)
    text = str(caught.value)
    assert text.count("the network overlaps") == 1
    assert "12:00:08" in text
    assert "unrecognized arguments: --no-such-option" in text


def test_a_folder_of_the_same_name_where_the_command_is_given_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services/__init__.py").write_text("raise SystemExit('the services of somebody else')")
    monkeypatch.chdir(tmp_path)
    with held(tmp_path) as lock, pytest.raises(CommandError, match="unrecognized arguments: --no-such-option"):
        process.start(Files(tmp_path), ["--no-such-option"], lambda step, seconds: None, lock)


def test_a_start_is_told_from_where_the_command_began() -> None:
    """What a person waits for begins before anything is loaded."""
    before = time.monotonic()
    script = "import time; time.sleep(0.2); from services.standalone import process; print(process.begun())"
    told = float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    # The kernel tells it in hundredths of a second.
    assert before - 0.02 <= told <= time.monotonic() - 0.18


def test_a_cluster_goes_on_without_complaint_in_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in that of somebody's tests, whose warnings may be errors."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, sys, time\n"
        "progress = next(int(word.partition('=')[2]) for word in sys.argv if word.startswith('--progress-fd='))\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        'os.write(progress, b\'{"ready": {}, "seconds": 0}\\n\')\n'
        "time.sleep(60)\n"
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    files, complaints = Files(tmp_path), list[object]()
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with held(tmp_path) as lock:
        process.start(files, [], lambda step, seconds: None, lock)
    gc.collect()
    pid = int((tmp_path / "pid").read_text())
    files.pid.write_text(f"{pid} {process.start_time(pid)}\n")
    assert process.stop(files) is True
    assert not Path(f"/proc/{pid}").exists()
    gc.collect()
    assert complaints == []


def test_stopping_waits_for_the_end(tmp_path: Path) -> None:
    files = Files(tmp_path)
    # The grandchild is no child of this process, as a cluster's process is none of the CLI's.
    script = "import subprocess, sys; print(subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
    pid = int(subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True).stdout)
    files.pid.write_text(f"{pid} {process.start_time(pid)}\n")
    assert process.stop(files) is True
    assert process.start_time(pid) == ""
    process.forget(files)
    assert not files.pid.exists()


def test_a_long_log_of_etcd_is_begun_anew_under_whoever_appends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_process, "LOG_LIMIT_BYTES", 10)
    path = tmp_path / "etcd.log"
    with path.open("ab", buffering=0) as writer:
        writer.write(b"short")
        etcd_process.shorten(path)
        assert path.read_bytes() == b"short"
        writer.write(b"no more")
        etcd_process.shorten(path)
        writer.write(b"after")
    assert path.read_bytes() == b"after"
    etcd_process.shorten(tmp_path / "missing")


def test_who_waits_for_a_start_and_is_interrupted_leaves_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By Ctrl-C, by a terminal that closes, by whoever started the command; and once more while it tidies up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        children: list[subprocess.Popen[bytes]] = []

        def interrupted(
            reading: int, child: subprocess.Popen[bytes], *_: object, number: int = number, children: list[Any] = children
        ) -> dict[str, Any]:
            os.close(reading)
            children.append(child)
            os.kill(os.getpid(), number)
            raise AssertionError("not interrupted")

        monkeypatch.setattr(process, "_await_ready", interrupted)
        end = process._end

        def ended(child: subprocess.Popen[bytes], number: int = number, end: Callable[[subprocess.Popen[bytes]], None] = end) -> None:
            os.kill(os.getpid(), number)
            end(child)

        monkeypatch.setattr(process, "_end", ended)
        with held(tmp_path) as lock, pytest.raises(KeyboardInterrupt), interruptible():
            process.start(Files(tmp_path), ["--no-such-option"], lambda step, seconds: None, lock)
        monkeypatch.undo()
        assert children[0].returncode is not None


def test_the_log_is_its_owners_alone(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.log.touch(0o644)
    before = os.umask(0o777)
    try:
        for _ in range(2):
            with process._opened(files.log) as log:
                log.write(b"a line\n")
            assert files.log.stat().st_mode & 0o777 == 0o600
            files.log.rename(tmp_path / "former")
    finally:
        os.umask(before)
    assert (tmp_path / "former").read_bytes() == b"a line\n"


def test_a_disk_that_takes_no_writes_keeps_nobody_from_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise OSError(30, "Read-only file system", str(path))

    files = Files(tmp_path)
    files.pid.write_text("1 1\n")
    monkeypatch.setattr(Path, "unlink", refused)
    process.forget(files)
    assert process.find(files) is None


def test_a_start_is_given_longer_the_more_nodes_there_are(tmp_path: Path) -> None:
    assert process.start_timeout(1) == 60
    assert process.start_timeout(1000) > 300
    reading, writing = os.pipe()
    log = tmp_path / "log"
    log.touch()
    try:
        with pytest.raises(CommandError, match="not ready within 0 s"):
            list(process._messages(reading, log, 0.01))
    finally:
        os.close(writing)
