"""What the API server shows etcd, kubelets and extension API servers, by options or by the folder of --trust."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from services.apiserver import shown
from services.apiserver.__main__ import arguments_parser
from services.apiserver.storage.connection import EtcdTls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What every API server has."""
    authority = CertificateAuthority.create()
    authority.pair.save(tmp_path, "ca")
    authority.issue("system:kube-apiserver", hosts=["127.0.0.1"]).save(tmp_path, "server")
    (tmp_path / "tokens.csv").write_text("")
    return tmp_path


def parsed(folder: Path, *more: str) -> argparse.Namespace:
    found: argparse.Namespace = arguments_parser().parse_args(["--etcd=127.0.0.1:1", f"--trust={folder}", *more])
    return found


def test_without_files_of_its_own_it_is_known_by_its_servers(folder: Path) -> None:
    arguments = parsed(folder)
    assert shown.etcd_tls(arguments) is None is shown.front_proxy(arguments)
    assert shown.kubelet_client(arguments).latest().certificate == (folder / "server.crt").read_bytes()
    assert shown.kubelet_token(arguments) == ""


def test_the_folder_has_what_is_not_given(folder: Path) -> None:
    etcd = CertificateAuthority.create("etcd")
    (folder / "etcd-ca.crt").write_bytes(etcd.pair.certificate)
    etcd.issue("kube-apiserver-etcd-client").save(folder, "etcd")
    CertificateAuthority.create().issue("kube-apiserver-kubelet-client").save(folder, "kubelet-client")
    (folder / "token").write_text("secret\n")
    arguments = parsed(folder)
    assert shown.etcd_tls(arguments) == EtcdTls(folder / "etcd-ca.crt", folder / "etcd.crt", folder / "etcd.key")
    assert shown.kubelet_client(arguments).latest().certificate == (folder / "kubelet-client.crt").read_bytes()
    assert shown.kubelet_token(arguments) == "secret"
    given = parsed(folder, f"--kubelet-client-certificate={folder / 'server.crt'}", f"--kubelet-client-key={folder / 'server.key'}")
    assert shown.kubelet_client(given).latest().certificate == (folder / "server.crt").read_bytes()


@pytest.mark.parametrize(
    ("ask", "options", "words"),
    [
        (shown.etcd_tls, ["--etcd-cert=server.crt"], "belong together"),
        (shown.etcd_tls, ["--etcd-cert=server.crt", "--etcd-key=server.key"], "and to --etcd-ca"),
        (shown.etcd_tls, ["--etcd-ca=ca.crt", "--etcd-cert=server.crt", "--etcd-key=ca.key"], "--etcd-cert, --etcd-key: .* are not a"),
        (shown.kubelet_client, ["--kubelet-client-key=server.key"], "--kubelet-client-certificate and --kubelet-client-key belong"),
        (
            shown.kubelet_client,
            ["--kubelet-client-key=ca.key", "--kubelet-client-certificate=server.crt"],
            "are not a certificate and its key",
        ),
    ],
)
def test_files_that_do_not_fit_together_are_told(folder: Path, ask: object, options: list[str], words: str) -> None:
    placed = [f"{name}={folder / file}" for name, _, file in (option.partition("=") for option in options)]
    assert callable(ask)
    with pytest.raises(CommandError, match=words):
        ask(parsed(folder, *placed))
