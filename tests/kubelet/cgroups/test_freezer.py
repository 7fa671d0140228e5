"""A group whose processes are held where they are: in both versions of the kernel's interface, and with both drivers' names."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.kubelet.cgroups import freezer
from services.kubelet.cgroups.freezer import Freezer

GROUP = ("knarr_c_n", "kubepods")
SLICE = "knarr_c_n.slice/knarr_c_n-kubepods.slice"


class Kernel:
    """The files of a group, which answer as the kernel does; ``stands``: whether its processes come to rest."""

    def __init__(self, mounts: Path, *, unified: bool, place: str = "knarr_c_n/kubepods") -> None:
        if unified:
            (mounts / "cgroup.controllers").write_text("cpu memory")
        self.unified = unified
        self.place = (mounts if unified else mounts / "freezer") / place
        (self.place / "podx" / "docker-abc.scope").mkdir(parents=True)
        self.switch = self.place / ("cgroup.freeze" if unified else "freezer.state")
        self.switch.write_text("0" if unified else "THAWED")
        (self.place / "cgroup.events").write_text("populated 1\nfrozen 0\n")

    def come_to_rest(self) -> None:
        (self.place / "cgroup.events").write_text("populated 1\nfrozen 1\n")


@pytest.mark.parametrize("place", ["knarr_c_n/kubepods", SLICE])
@pytest.mark.parametrize("unified", [False, True])
def test_everything_below_is_held_and_let_go(tmp_path: Path, unified: bool, place: str) -> None:
    kernel = Kernel(tmp_path, unified=unified, place=place)
    kernel.come_to_rest()
    assert list(Freezer(GROUP, tmp_path).groups()) == ["docker-abc.scope"]
    for made in (Freezer(GROUP, tmp_path), Freezer(GROUP, tmp_path)):
        made.freeze()
        assert kernel.switch.read_text() == ("1" if unified else "FROZEN")
    made.thaw()
    assert kernel.switch.read_text() == ("0" if unified else "THAWED")


def test_who_does_not_stand_in_time_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezer, "STAND_SECONDS", 0.0)
    kernel = Kernel(tmp_path, unified=True)
    with pytest.raises(TimeoutError, match="do not stand after 0 s"):
        Freezer(GROUP, tmp_path).freeze()
    assert kernel.switch.read_text() == "0"


def test_who_waits_for_another_that_stands_is_let_go_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, unified=True)

    def goes_on(seconds: float) -> None:
        assert kernel.switch.read_text() == "0" and seconds == freezer.BEGIN_SECONDS
        kernel.come_to_rest()

    monkeypatch.setattr(freezer, "ANEW_SECONDS", 0.0)
    monkeypatch.setattr("services.kubelet.cgroups.freezer.time.sleep", goes_on)
    Freezer(GROUP, tmp_path).freeze()
    assert kernel.switch.read_text() == "1"


def test_without_the_group_there_is_nothing_to_hold(tmp_path: Path) -> None:
    made = Freezer(GROUP, tmp_path)
    made.freeze()
    made.thaw()
    assert list(made.groups()) == []


def test_what_is_being_begun_is_let_come_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever asks the engine about the container waits for as long as it stands."""
    kernel = Kernel(tmp_path, unified=False)
    (kernel.place / "podx" / "docker-abc.scope" / "cgroup.procs").write_text("7\n8\n9\n")
    proc, begins = tmp_path / "proc", ["runc:[2:INIT]\n", "runc:[2:INIT]\n", "sleep\n"]
    for pid, name in (("7", "sh\n"), ("8", "runc:[2:INIT]\n")):
        (proc / pid).mkdir(parents=True)
        (proc / pid / "comm").write_text(name)

    def goes_on(seconds: float) -> None:
        assert kernel.switch.read_text() == "THAWED" and seconds == freezer.BEGIN_SECONDS
        (proc / "8" / "comm").write_text(begins.pop(0))

    monkeypatch.setattr("services.kubelet.cgroups.freezer.time.sleep", goes_on)
    Freezer(GROUP, tmp_path, proc).freeze()
    assert kernel.switch.read_text() == "FROZEN" and begins == []
