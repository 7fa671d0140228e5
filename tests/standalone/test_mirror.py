"""``--registry-mirror``: URLs that are none, and mirrors that the engine would not speak to."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest

from knarr.service.options import optional_mirror
from services.standalone import mirror
from services.standalone.mirror import is_loopback, mirror_problems, speaks_plain
from services.standalone.settings import ClusterSettings

PLAIN = "http://mirror.lan:5000"


@pytest.mark.parametrize("text", ["", "https://mirror.example.com", "http://127.0.0.1:5000", "https://harbor.example.com/docker-hub"])
def test_a_url_stays_as_it_is(text: str) -> None:
    assert optional_mirror(text) == optional_mirror(f"{text}/" if text else "") == text


@pytest.mark.parametrize(
    "text",
    ["mirror.example.com", "ftp://mirror", "https://", "https://a:b@mirror", "https://mirror/?a=b", "https://mirror/Hub", "http://m:99999",
     "https://mirror/a b", "https://mirror/../x", "https://[::1]:5000"],
)  # fmt: skip
def test_what_is_no_mirror_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no URL of a mirror; write it like https://"):
        optional_mirror(text)


@pytest.mark.parametrize(
    ("host", "is_one"), [("127.0.0.1", True), ("127.1.2.3", True), ("localhost", True), ("192.0.2.1", False), ("mirror", False)]
)
def test_the_loopback(host: str, is_one: bool) -> None:
    assert is_loopback(host) is is_one


@pytest.mark.parametrize(
    ("place", "does"),
    [
        ("mirror.lan:5000", True),
        ("secure.lan", False),
        ("10.1.2.3:5000", True),
        ("10.1.2.3", True),
        ("192.0.2.1:5000", False),
        ("other.lan", False),
    ],
)
def test_to_whom_docker_speaks_plain(place: str, does: bool) -> None:
    indexes = {"mirror.lan:5000": {"Secure": False}, "secure.lan": {"Secure": True}}
    info = {"RegistryConfig": {"IndexConfigs": indexes, "InsecureRegistryCIDRs": ["127.0.0.0/8", "10.0.0.0/8"]}}
    assert speaks_plain(info, place) is does
    assert not speaks_plain({}, place)


def problems(url: str, runtime: str = "docker") -> list[str]:
    return list(mirror_problems(dataclasses.replace(ClusterSettings(), registry_mirror=url, runtime=runtime)))


def test_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "engine_info", dict)
    monkeypatch.setattr(mirror, "CONTAINERD_HOSTS", tmp_path)
    assert '"insecure-registries": ["mirror.lan:5000"] to /etc/docker/daemon.json' in problems(PLAIN)[0]
    (told,) = problems(PLAIN, "containerd")
    assert f'write [host."{PLAIN}"] into {tmp_path}/mirror.lan:5000/hosts.toml' in told
    (tmp_path / "mirror.lan:5000").mkdir()
    (tmp_path / "mirror.lan:5000/hosts.toml").write_text("")
    assert problems(PLAIN, "containerd") == []
    assert "nothing is pulled where containers are simulated" in problems(PLAIN, "hollow")[0]


@pytest.mark.parametrize("url", ["https://mirror.lan", "http://localhost:5000", "http://127.0.0.1:5000/hub"])
def test_what_engines_reach_by_themselves_is_no_problem(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "engine_info", dict)
    assert problems(url) == problems(url, "containerd") == []


def test_an_engine_that_does_not_answer_is_not_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    assert problems(PLAIN) == []
