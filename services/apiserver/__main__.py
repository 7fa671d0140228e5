"""``python -m services.apiserver``: the API server as a process of its own, both faces."""

from __future__ import annotations

import argparse
import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from knarr.service.command import parser, read_ca, read_tokens, run, server_settings, start, trusted_file
from knarr.service.errors import CommandError
from knarr.service.host import Host
from knarr.service.signing_key import FURTHER_KEYS, SIGNING_KEY
from knarr.service.tls import tls_context
from services.apiserver import shown
from services.apiserver.audit import options as audit
from services.apiserver.component import ApiServer
from services.apiserver.flags import add_flags, settings_of
from services.apiserver.kubelet_channels import KubeletChannels
from services.apiserver.rest.server import RestServer
from services.apiserver.rest_face import rest_face
from services.apiserver.tokens.keys import SigningKeys

log = logging.getLogger(__name__)


def arguments_parser() -> argparse.ArgumentParser:
    made = parser("apiserver", "Serve the Kubernetes API from etcd, by REST and gRPC.", port=6444)
    made.spared = lambda arguments: ("token",)
    shown.add_options(made)
    add_flags(made)
    audit.add_options(made)
    return made


def signing_keys(arguments: argparse.Namespace) -> SigningKeys | None:
    """What signs the tokens of service accounts; CommandError for files that are no keys."""
    key = trusted_file(arguments, "service_account_key", SIGNING_KEY)
    further = trusted_file(arguments, "service_account_public_keys", FURTHER_KEYS)
    if key is None:
        log.warning("there is no key to sign tokens of service accounts with: pods get none", extra={"option": "--service-account-key"})
        return None
    try:
        return SigningKeys.read(key, further)
    except (OSError, ValueError) as error:
        raise CommandError(f"--service-account-key {key}, --service-account-public-keys {further}: no keys in PEM: {error}") from error


async def serve(arguments: argparse.Namespace) -> None:
    """Runs both faces until cancelled."""
    settings = settings_of(arguments)
    listen = server_settings(arguments)
    kubelets = KubeletChannels(read_ca(arguments.ca), shown.kubelet_token(arguments), shown.kubelet_client(arguments))
    apiserver = ApiServer(
        settings,
        kubelets,
        authenticate=read_tokens(arguments.tokens).authenticate,
        front_proxy=shown.front_proxy(arguments),
        keys=signing_keys(arguments),
        auditor=audit.auditor_of(arguments),
        kubelet_credentials=kubelets.credentials,
    )
    client_ca = arguments.client_ca_file or arguments.ca
    rest = _rest_of(apiserver, arguments, client_ca)
    known = replace(listen, tokens=apiserver.callers, impersonate=apiserver.impersonate, pace=apiserver.pace)
    grpc_host = Host(apiserver, replace(known, client_ca=client_ca, mutual_listen=arguments.mutual_listen))
    await start(grpc_host, arguments.listen, arguments.mutual_listen)
    serving = asyncio.create_task(grpc_host.run(), name="apiserver")
    try:
        await _listen(rest, arguments.rest_listen)
        await asyncio.wait({serving})
        serving.result()
    finally:
        # What is under way is answered, and needs the store for it; who comes anew goes elsewhere.
        await apiserver.withdraw()
        await rest.stop()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await kubelets.close()


def _rest_of(apiserver: ApiServer, arguments: argparse.Namespace, client_ca: Path) -> RestServer:
    host, _, port = arguments.rest_listen.rpartition(":")
    return RestServer(rest_face(apiserver), tls_context(str(arguments.cert), str(arguments.key), str(client_ca)), host=host, port=int(port))


async def _listen(rest: RestServer, listen: str) -> None:
    try:
        await rest.start()
    except OSError as error:
        raise CommandError(f"apiserver: cannot serve REST on {listen}: {error.strerror or error}") from error


def main() -> int:
    arguments = arguments_parser().parse_args()
    return run(arguments, lambda: serve(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
