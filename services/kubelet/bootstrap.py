"""A kubelet that is given no certificates: it asks the cluster for its own, first by a bootstrap token, later by what it has.

Until its serving certificate is signed it shows one of its own making, which the API server does not take: logs and commands wait for it.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
from collections.abc import Callable
from pathlib import Path

from knarr.client.client import Client
from knarr.client.rpc import CertifiedRpcClient, connect
from knarr.machinery.errors import StatusError, Unauthorized
from knarr.service.command import read_ca, read_token, serve
from knarr.service.component import Component
from knarr.service.errors import CommandError
from knarr.service.host import ServerSettings
from knarr.service.keypair import KeptPair
from knarr.service.tasks import run_together
from services.kubelet.node.own_certificates import (
    CLIENT,
    RETRY_SECONDS,
    SERVING,
    NotIssued,
    OwnCertificate,
    client_certificate,
    serving_certificate,
)

log = logging.getLogger(__name__)


async def serve_by_requests(arguments: argparse.Namespace, make: Callable[[Client], Component]) -> None:
    """Hosts the kubelet until cancelled. Raises CommandError where it has no certificate and nothing to ask for one with."""
    folder, node, ca = arguments.cert_dir, arguments.node_name, read_ca(arguments.ca)
    share = random.random()
    own = OwnCertificate(node, client_certificate(), folder, share=share)
    serving = OwnCertificate(node, serving_certificate(node), folder, share=share, authority=ca)
    if not serving.is_there:
        await asyncio.to_thread(_first_serving, folder, node, arguments.node_ip)
    if not own.is_good:
        await _begin(arguments, own)
    shown = KeptPair(folder / f"{SERVING}.crt", folder / f"{SERVING}.key")
    settings = ServerSettings(arguments.listen, shown, None, client_ca=arguments.client_ca_file or arguments.ca)
    async with CertifiedRpcClient(arguments.apiserver, ca, KeptPair(folder / f"{CLIENT}.crt", folder / f"{CLIENT}.key")) as client:
        parts = {
            "component": serve(arguments, settings, client, make(client)),
            "client certificate": own.run(client),
            "serving certificate": serving.run(client),
        }
        await run_together("kubelet", parts)


def _first_serving(folder: Path, node: str, address: str) -> None:
    """A pair of the node's own making."""
    from knarr.service.certificates import CertificateAuthority

    CertificateAuthority.create("knarr-not-signed-yet").issue(node, hosts=[node, address]).save(folder, SERVING)


async def _begin(arguments: argparse.Namespace, own: OwnCertificate) -> None:
    """Asks for the first certificate until there is one. Raises CommandError where the token is refused, or missing."""
    if arguments.bootstrap_token is None or arguments.bootstrap_apiserver is None:
        words = "give --bootstrap-token and --bootstrap-apiserver; `kubectl create` a Secret of type bootstrap.kubernetes.io/token for it"
        raise CommandError(f"--cert-dir {arguments.cert_dir} has no client certificate that is good: {words}")
    async with connect(arguments.bootstrap_apiserver, arguments.ca, read_token(arguments.bootstrap_token)) as client:
        while not own.is_good:
            try:
                await own.renew(client)
            except Unauthorized as error:
                raise CommandError(f"the API server refuses the token in {arguments.bootstrap_token}; it may have expired") from error
            except (NotIssued, StatusError) as error:
                words = error.status.message if isinstance(error, StatusError) else str(error)
                log.warning("there is no certificate yet; trying again", extra={"error": words})
                await asyncio.sleep(RETRY_SECONDS)
