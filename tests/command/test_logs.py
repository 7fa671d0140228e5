"""``knarr logs``: whose lines they are, and what comes while a log is begun anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from services.command import main as cli
from services.command.logs import show
from services.standalone.component_log import COMPONENTS, Log, Of
from services.standalone.files import Files
from tests.support.cluster_client import ROOT

TEXT = """\
12:00:01.250 info    services.kubelet.worker  container started  pod=default/web
12:00:01.300 error   services.standalone.cluster  a component failed; starting it again  component=kubelet seconds=1.0
Traceback (most recent call last):
  File "x.py", line 1, in <module>
12:00:01.400 info    services.scheduler.queue  placed  pod=default/kubelet
12:00:01.500 info    services.kubelets  is another
2026-05-04 12:00:02.000 info    services.dns.server  since lines have a date
"""
JSON = """\
{"time":"t","level":"info","logger":"services.kubelet","message":"one"}
{"time":"t","level":"info","logger":"services.dns.server","message":"two"}
{"time":"t","level":"error","logger":"services.standalone.cluster","message":"three","component":"kubelet"}
"""


def told(files: Files, component: str = "", tail: int | None = None) -> list[str]:
    lines: list[str] = []
    show(files, component, tail, False, lines.append)
    return lines


def test_lines_are_a_components_with_their_tracebacks(tmp_path: Path) -> None:
    files = Files(tmp_path)
    files.log.write_text(TEXT)
    lines = TEXT.splitlines()
    assert told(files) == lines
    assert told(files, "kubelet") == lines[:4]
    assert told(files, "kubelet", 1) == lines[3:4]
    assert told(files, "scheduler") == lines[4:5]
    assert told(files, "dns") == lines[6:]
    assert told(files, "proxy") == []
    files.log.write_text(JSON)
    assert told(files, "kubelet") == [JSON.splitlines()[0], JSON.splitlines()[2]]


def test_every_component_has_lines_of_its_own() -> None:
    for component in set(COMPONENTS) - {"etcd"}:
        assert (ROOT / "services" / component).is_dir()
        assert Of(component)(f"2026-05-04 12:00:01.250 info    services.{component}.x  y")


def test_etcd_has_a_log_of_its_own_and_none_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = Files(tmp_path)
    files.etcd.mkdir()
    (files.etcd / "etcd.log").write_text('{"level":"warn","msg":"slow"}\n')
    assert told(files, "etcd") == ['{"level":"warn","msg":"slow"}']
    for arguments, code, words in (
        (["scheduler"], 1, f"error: there is no {files.log}; start the cluster first: `knarr up`"),
        (["schedular"], 2, "'schedular' is no component (choose from apiserver, cloud,"),
    ):
        monkeypatch.setattr("sys.argv", ["knarr", "logs", "--data-dir", str(tmp_path), *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == code and words in capsys.readouterr().err


def test_what_was_rotated_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "l"
    path.with_name("l.1").write_text("one\n")
    path.write_text("two\n")
    with Log(path) as log:
        assert list(log.kept()) == ["one", "two"]
    # It is rotated after it was opened: no line is told twice.
    with Log(path) as log:
        path.replace(path.with_name("l.1"))
        assert list(log.kept()) == ["two"]


def test_a_follower_misses_nothing(tmp_path: Path) -> None:
    """Half a line, a file that is begun anew, one that is emptied: what happens between two looks."""
    path = tmp_path / "l"
    path.write_text("one\ntw")

    def append(text: str) -> None:
        with path.open("a") as file:
            file.write(text)

    def rotate() -> None:
        append("last\n")
        path.replace(path.with_name("l.1"))
        path.write_text("fresh\n")

    happenings: Iterator[Callable[[], object]] = iter(
        [lambda: append("o\nthree\n"), rotate, lambda: path.write_text(""), lambda: append("anew\n")]
    )
    with Log(path) as log:
        assert list(log.kept()) == ["one"]
        assert list(islice(log.coming(lambda: next(happenings)()), 5)) == ["two", "three", "last", "fresh", "anew"]
