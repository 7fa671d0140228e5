"""By what the API server is known to those whom it calls: etcd, kubelets, extension API servers. The options of it, and the files."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Mapping
from pathlib import Path

from knarr.service.command import TRUST_FILES, read_token, trusted_file
from knarr.service.errors import CommandError
from knarr.service.keypair import KeptPair
from knarr.service.options import readable_file
from services.apiserver.aggregation.front_proxy import FrontProxy, FrontProxyFiles
from services.apiserver.storage.connection import EtcdTls

# In the folder of `--trust`.
FRONT_PROXY_FILES = {"ca": "front-proxy-ca.crt", "cert": "front-proxy.crt", "key": "front-proxy.key"}
ETCD_FILES = {"ca": "etcd-ca.crt", "cert": "etcd.crt", "key": "etcd.key"}
KUBELET_CLIENT_FILES = {"certificate": "kubelet-client.crt", "key": "kubelet-client.key"}


def add_options(made: argparse.ArgumentParser) -> None:
    """Adds the options that name the files."""
    for name, what in (
        ("ca", "certificate of etcd's CA: speak TLS to it"),
        ("cert", "certificate shown to etcd"),
        ("key", "its private key"),
    ):
        made.add_argument(
            f"--etcd-{name}",
            type=readable_file,
            metavar="FILE",
            help=f"{what}, PEM (default: {ETCD_FILES[name]} of --trust, where it has one)",
        )
    for name, what in (("certificate", "certificate shown to kubelets that ask for one"), ("key", "its private key")):
        made.add_argument(
            f"--kubelet-client-{name}",
            type=readable_file,
            metavar="FILE",
            help=f"{what}, PEM (default: {KUBELET_CLIENT_FILES[name]} of --trust, where it has one, or else that of --cert and --key)",
        )
    for name, what in (
        ("ca", "certificate of the authority by which extension API servers know this one"),
        ("cert", "certificate shown to them"),
        ("key", "its private key"),
    ):
        made.add_argument(
            f"--front-proxy-{name}", type=readable_file, metavar="FILE", help=f"{what}, PEM (default: {FRONT_PROXY_FILES[name]} of --trust)"
        )


def _given(arguments: argparse.Namespace, prefix: str, files: Mapping[str, str]) -> dict[str, Path]:
    """The files of options that begin with a prefix; of those that were not given, what the folder of --trust has."""
    found = {name: trusted_file(arguments, f"{prefix}_{name}", file) for name, file in files.items()}
    return {name: path for name, path in found.items() if path is not None}


def _pair(cert: Path, key: Path, prefix: str) -> KeptPair:
    try:
        return KeptPair(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise CommandError(f"{prefix} {cert} and {key} are not a certificate and its key: {error}") from error


def etcd_tls(arguments: argparse.Namespace) -> EtcdTls | None:
    """How etcd is spoken to; CommandError when the options do not fit together."""
    found = _given(arguments, "etcd", ETCD_FILES)
    if ("cert" in found) != ("key" in found) or ("cert" in found and "ca" not in found):
        raise CommandError("--etcd-cert and --etcd-key belong together, and to --etcd-ca")
    if "cert" in found:
        _pair(found["cert"], found["key"], "--etcd-cert, --etcd-key:")
    return EtcdTls(found["ca"], found.get("cert"), found.get("key")) if "ca" in found else None


def kubelet_client(arguments: argparse.Namespace) -> KeptPair:
    """What kubelets are shown; CommandError when the options do not fit together."""
    found = _given(arguments, "kubelet_client", KUBELET_CLIENT_FILES)
    if not found:
        return KeptPair(arguments.cert, arguments.key)
    if len(found) < len(KUBELET_CLIENT_FILES):
        raise CommandError("--kubelet-client-certificate and --kubelet-client-key belong together")
    return _pair(found["certificate"], found["key"], "--kubelet-client-certificate, --kubelet-client-key:")


def kubelet_token(arguments: argparse.Namespace) -> str:
    """By what kubelets know this server that know callers by tokens; empty where it has none."""
    path = trusted_file(arguments, "token", TRUST_FILES["token"])
    return read_token(path) if path is not None else ""


def front_proxy(arguments: argparse.Namespace) -> FrontProxy | None:
    """How extension API servers are shown who speaks; None without files, CommandError when they do not fit together."""
    found = _given(arguments, "front_proxy", FRONT_PROXY_FILES)
    if not found:
        return None
    if len(found) < len(FRONT_PROXY_FILES):
        missing = FRONT_PROXY_FILES.keys() - found.keys()
        raise CommandError(f"of --front-proxy-ca, --front-proxy-cert and --front-proxy-key these are missing: {', '.join(sorted(missing))}")
    _pair(found["cert"], found["key"], "--front-proxy-cert, --front-proxy-key:")
    return FrontProxy(FrontProxyFiles(found["ca"], found["cert"], found["key"], arguments.client_ca_file or arguments.ca))
