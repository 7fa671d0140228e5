"""What is given wrongly on a component's command line is answered by one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.service.authentication import TokenTable, User, hash_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.command import api_client, client_parser, read_token, server_settings, trusted_file
from knarr.service.errors import CommandError

SERVICES = ("apiserver", "scheduler", "controller", "kubelet", "proxy", "dns")
NEEDED = {
    "apiserver": ["--etcd=127.0.0.1:1"],
    "kubelet": ["--apiserver=127.0.0.1:1", "--node-ip=127.0.0.1"],
    "dns": ["--apiserver=127.0.0.1:1", "--address=127.0.0.1"],
}
FILES = {"cert": "server.crt", "key": "server.key", "ca": "ca.crt", "tokens": "tokens.csv", "token": "token"}


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything a component needs, and two wrong things."""
    folder = tmp_path_factory.mktemp("trust")
    authority = CertificateAuthority.create()
    authority.pair.save(folder, "ca")
    authority.issue("server", hosts=["127.0.0.1"]).save(folder, "server")
    authority.issue("other", hosts=["127.0.0.1"]).save(folder, "other")
    (folder / "token").write_text("secret\n")
    TokenTable({hash_token("secret"): User("admin")}).save(folder / "tokens.csv")
    (folder / "prose").write_text("This is no token, no certificate and no table.\n")
    return folder


def options(service: str, trust: Path, **changed: object) -> list[str]:
    values = {**{name: trust / file for name, file in FILES.items()}, **changed}
    return [*(f"--{name}={value}" for name, value in values.items()), *NEEDED.get(service, ["--apiserver=127.0.0.1:1"])]


def error_of(service: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that an option is refused with."""
    monkeypatch.setattr(sys, "argv", [service, *arguments])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"services.{service}.__main__").main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("service", SERVICES)
def test_help_is_given(service: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [service, "--help"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module(f"services.{service}.__main__").main()
    assert end.value.code == 0
    assert "--tokens FILE" in capsys.readouterr().out


@pytest.mark.parametrize("service", SERVICES)
def test_missing_options_and_files(service: str, trust: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    needed = NEEDED.get(service, ["--apiserver=127.0.0.1:1"])
    assert f"required: {needed[0].partition('=')[0]}" in error_of(service, [], monkeypatch, capsys)
    own = "" if service == "apiserver" else ", --token"
    assert f"required: --cert, --key, --ca, --tokens{own}; or --trust" in error_of(service, needed, monkeypatch, capsys)
    for name in FILES:
        line = error_of(service, options(service, trust, **{name: trust / "none"}), monkeypatch, capsys)
        assert f"argument --{name}: cannot read {trust}/none: No such file or directory" in line


def test_a_folder_stands_for_what_is_not_given(trust: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = client_parser("scheduler", "", port=1)
    needed = ["--apiserver=127.0.0.1:1", f"--trust={trust}"]
    arguments = parser.parse_args([*needed, f"--cert={trust / 'other.crt'}"])
    assert arguments.cert == trust / "other.crt"
    assert {name: getattr(arguments, name) for name in FILES if name != "cert"} == {
        name: trust / file for name, file in FILES.items() if name != "cert"
    }
    with pytest.raises(SystemExit):
        parser.parse_args([*needed, "--trust=/nowhere"])
    assert "argument --trust: cannot read /nowhere/server.crt: No such file or directory" in capsys.readouterr().err


def test_who_is_known_by_a_certificate_needs_no_tokens(trust: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor are those of the folder taken that a version before has made."""
    needed = ["--apiserver=127.0.0.1:1", f"--client-ca-file={trust / 'ca.crt'}", "--credential=certificate"]
    arguments = client_parser("scheduler", "", port=1).parse_args([*needed, f"--trust={trust}"])
    assert arguments.token is None is arguments.tokens
    settings = server_settings(arguments)
    assert settings.tokens is None and settings.client_ca == trust / "ca.crt"
    for name in ("ca.crt", "server.crt", "server.key"):
        (tmp_path / name).write_bytes((trust / name).read_bytes())
    client_parser("scheduler", "", port=1).parse_args([*needed, f"--trust={tmp_path}"])
    for left_out, lacking in ((1, "tokens.csv"), (2, "token")):
        with pytest.raises(SystemExit):
            client_parser("scheduler", "", port=1).parse_args([*needed[:left_out], *needed[left_out + 1 :], f"--trust={tmp_path}"])
        assert f"cannot read {tmp_path}/{lacking}:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("service", "changed", "words"),
    [
        ("scheduler", {"listen": "here"}, "argument --listen: 'here' is not host:port"),
        ("scheduler", {"listen": "127.0.0.1:99999"}, "is not host:port"),
        ("scheduler", {"apiserver": "6444"}, "argument --apiserver: '6444' is not host:port"),
        ("apiserver", {"etcd": "http://"}, "argument --etcd: 'http://' is not host:port"),
        ("apiserver", {"service-cidr": "10.96.0.1/16"}, "argument --service-cidr: '10.96.0.1/16' is not an IPv4 range"),
        ("apiserver", {"advertise-address": "me"}, "argument --advertise-address: 'me' is not an IPv4 address"),
        ("kubelet", {"node-ip": "me"}, "argument --node-ip: 'me' is not an IPv4 address"),
        ("kubelet", {"data-dir": "/proc/none"}, "argument --data-dir: cannot make /proc/none"),
        ("proxy", {"cluster-cidr": "all"}, "argument --cluster-cidr: 'all' is not an IPv4 range"),
        ("controller", {"leader-elect-lease-duration": "soon"}, "'soon' is not a time in seconds"),
        ("controller", {"leader-elect-lease-duration": "3s"}, "must exceed -renew-deadline"),
    ],
)
def test_values_that_cannot_be(
    service: str, changed: dict[str, str], words: str, trust: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*options(service, trust), *(f"--{name}={value}" for name, value in changed.items())]
    assert words in error_of(service, given, monkeypatch, capsys)


def test_files_that_do_not_fit_together(trust: Path) -> None:
    def parsed(**changed: str) -> argparse.Namespace:
        files = {name: trust / file for name, file in changed.items()}
        arguments: argparse.Namespace = client_parser("test", "", port=1).parse_args(options("test", trust, **files))
        return arguments

    assert server_settings(parsed()).listen == "0.0.0.0:1"
    for wrong, words in (({"key": "other.key"}, "not a certificate and its key"), ({"tokens": "prose"}, "--tokens is not a token file")):
        with pytest.raises(CommandError, match=words):
            server_settings(parsed(**wrong))
    with pytest.raises(CommandError, match="holds no certificate"):
        api_client(parsed(ca="prose"))
    with pytest.raises(CommandError, match="holds no bearer token"):
        read_token(trust / "prose")


def test_what_an_option_names_goes_before_what_the_folder_has(trust: Path) -> None:
    def found(name: str, given: Path | None = None, folder: Path | None = trust) -> Path | None:
        return trusted_file(argparse.Namespace(trust=folder, key=given), "key", name)

    assert found("server.key") == trust / "server.key"
    assert found("nowhere.key") is None is found("server.key", folder=None)
    # No file of the folder stands in for it, whatever it is.
    assert found("server.key", Path("/dev/null")) == Path("/dev/null") == found("server.key", Path("/dev/null"), None)


def test_a_component_says_it_in_one_line_and_ends(trust: Path) -> None:
    command = [sys.executable, "-m", "services.scheduler", *options("scheduler", trust, key=trust / "other.key")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "are not a certificate and its key" in done.stderr


def test_a_half_of_what_signs_is_told_in_a_line_too(trust: Path) -> None:
    given = [*options("controller", trust), f"--cluster-signing-cert-file={trust / 'server.crt'}", "--log-style=text"]
    done = subprocess.run([sys.executable, "-m", "services.controller", *given], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("--cluster-signing-cert-file and --cluster-signing-key-file belong together")
