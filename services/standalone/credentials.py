"""Everything that lets people and components trust one another, made once and kept."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from knarr.service.authentication import TokenTable, User, bound_token, hash_token, kept_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from knarr.service.keypair import KeyPair
from knarr.service.signing_key import keep_signing_key
from services.apiserver.aggregation.front_proxy import COMMON_NAME, FrontProxyFiles
from services.standalone.files import Files

log = logging.getLogger(__name__)

# How often a running cluster looks at its certificates, which are made anew 30 days before they expire.
RENEW_SECONDS = 6 * 3600.0
# … and at the time of day.
LOOK_SECONDS = 60.0
ADMIN = User("knarr-admin", groups=("system:masters",))
# As whom it speaks to kubelets: the role of that name says what for.
APISERVER = User("system:kube-apiserver")


@dataclass(frozen=True, slots=True)
class Credentials:
    """The cluster's trust material."""

    ca_certificate: bytes
    # What every server of this process presents.
    server: KeyPair
    admin: KeyPair
    admin_token: str
    # By which the apiserver calls kubelets.
    apiserver_token: str
    tokens: TokenTable

    def kubelet_tokens(self, *nodes: str) -> TokenTable:
        """Who may call the kubelet of a node, or of several that are one process."""
        return kubelet_tokens(self.admin_token, self.apiserver_token, *nodes)


def kubelet_tokens(admin_token: str, apiserver_token: str, *nodes: str) -> TokenTable:
    """The admin, and the API server by what it shows to that kubelet alone."""
    return TokenTable({hash_token(admin_token): ADMIN, **{hash_token(bound_token(apiserver_token, node)): APISERVER for node in nodes}})


class LatestTokens:
    """Knows callers by a table that may be exchanged."""

    def __init__(self) -> None:
        self.table = TokenTable({})

    def authenticate(self, authorization: str) -> User:
        return self.table.authenticate(authorization)


def load_or_create(files: Files, hosts: list[str]) -> Credentials:
    """Reads the material of a data directory and makes what is missing or about to expire."""
    authority = CertificateAuthority.load_or_create(files.pki)
    server = authority.kept_pair(files.pki, "server", "knarr-server", hosts=hosts)
    admin = authority.kept_pair(files.pki, "admin", ADMIN.name, organizations=ADMIN.groups)
    admin_token = kept_token(files.admin_token)
    apiserver_token = kept_token(files.pki / "apiserver.token")
    tokens = TokenTable({hash_token(admin_token): ADMIN, hash_token(apiserver_token): APISERVER})
    tokens.save(files.tokens)
    keep_front_proxy(files.front_proxy)
    keep_signing_key(files.pki)
    return Credentials(authority.pair.certificate, server, admin, admin_token, apiserver_token, TokenTable.load(files.tokens))


def keep_front_proxy(folder: Path) -> CertificateAuthority:
    """The authority kept in ``folder`` by which extension API servers know an API server, and the pair ``client`` that it shows there.

    Apart from the cluster's own: whom that one names may not speak for others.
    """
    authority = CertificateAuthority.load_or_create(folder, "knarr-front-proxy-ca")
    authority.kept_pair(folder, "client", COMMON_NAME)
    return authority


def front_proxy_files(folder: Path, client_ca: Path) -> FrontProxyFiles:
    """Where ``keep_front_proxy`` keeps them."""
    return FrontProxyFiles(folder / "ca.crt", folder / "client.crt", folder / "client.key", client_ca)


async def keep_renewed(files: Files, hosts: list[str], server: str) -> None:
    """Makes certificates of a running cluster anew before they expire: servers show them to the next connection, the kubeconfig has them.

    Works until cancelled. ``server`` is the URL of the REST API.
    """
    while True:
        await _until_due()
        try:
            write_kubeconfig(files.kubeconfig, await asyncio.to_thread(load_or_create, files, hosts), server)
        except (CommandError, OSError) as error:
            log.error("certificates could not be renewed; trying again", extra={"error": error, "seconds": RENEW_SECONDS})


async def _until_due() -> None:
    """Returns after RENEW_SECONDS by one of both clocks: a machine that sleeps stops the loop's, and may find last year's certificates
    when it awakes."""
    began, waited = time.time(), 0.0
    while waited < RENEW_SECONDS and 0 <= time.time() - began < RENEW_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        waited += LOOK_SECONDS


def kubeconfig(credentials: Credentials, server: str) -> dict[str, Any]:
    """A kubeconfig for the admin; ``server`` is the URL of the REST API."""

    def data(pem: bytes) -> str:
        return base64.b64encode(pem).decode()

    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "knarr",
        "clusters": [{"name": "knarr", "cluster": {"server": server, "certificate-authority-data": data(credentials.ca_certificate)}}],
        "users": [
            {
                "name": "knarr-admin",
                "user": {
                    "client-certificate-data": data(credentials.admin.certificate),
                    "client-key-data": data(credentials.admin.key),
                },
            }
        ],
        "contexts": [{"name": "knarr", "context": {"cluster": "knarr", "user": "knarr-admin"}}],
    }


def write_kubeconfig(path: Path, credentials: Credentials, server: str) -> None:
    """Writes the kubeconfig, readable by its owner only."""
    write_whole(path, orjson.dumps(kubeconfig(credentials, server), option=orjson.OPT_INDENT_2), mode=PRIVATE)
