"""``python -m services.apiserver``: the API server as a process of its own, both faces."""

from __future__ import annotations

import argparse
import asyncio
import logging
from dataclasses import replace
from pathlib import Path

from knarr.machinery.catalog import RETIRED
from knarr.service.command import parser, read_ca, read_tokens, run, server_settings, start, trusted_file
from knarr.service.errors import CommandError
from knarr.service.host import Host
from knarr.service.options import address, cidr_for, duration, ipv4, readable_file
from knarr.service.signing_key import FURTHER_KEYS, SIGNING_KEY
from knarr.service.tls import tls_context
from services.apiserver import shown
from services.apiserver.admission.catalog import NAMES
from services.apiserver.admission.configuration import read_admission
from services.apiserver.audit import options as audit
from services.apiserver.authorizers.catalog import MODES
from services.apiserver.component import ApiServer
from services.apiserver.encryption.reading import encryption
from services.apiserver.kubelet_channels import KubeletChannels
from services.apiserver.named import authorization_modes, check_plugins, plugins
from services.apiserver.rest.application import create_app
from services.apiserver.rest.server import RestServer
from services.apiserver.settings import AUTHORIZATION_MODES, ApiServerSettings, IdentitySettings
from services.apiserver.storage.etcd import EtcdSettings
from services.apiserver.storage.values import OLDER
from services.apiserver.tokens.keys import SigningKeys

log = logging.getLogger(__name__)

MOST_AT_ONCE = 100_000


def arguments_parser() -> argparse.ArgumentParser:
    made = parser("apiserver", "Serve the Kubernetes API from etcd, by REST and gRPC.", port=6444)
    made.spared = lambda arguments: ("token",)
    defaults = ApiServerSettings()
    made.add_argument("--etcd", action="append", required=True, type=address, metavar="HOST:PORT", help="a member of etcd; repeat for each")
    shown.add_options(made)
    made.add_argument(
        "--etcd-data",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="where a member of etcd keeps its data, if this machine can look there: a full disk is told as one then; repeat for each",
    )
    made.add_argument(
        "--sole", action="store_true", help="no other API server uses this etcd: then reads need not ask it what the newest state is"
    )
    made.add_argument(
        "--rest-listen", default="0.0.0.0:6443", type=address, metavar="HOST:PORT", help="where REST is served (default: %(default)s)"
    )
    made.add_argument(
        "--mutual-listen",
        default="0.0.0.0:6445",
        type=address,
        metavar="HOST:PORT",
        help="where gRPC is served to callers that show a client certificate (default: %(default)s)",
    )
    made.add_argument(
        "--service-account-key",
        type=readable_file,
        metavar="FILE",
        help="private key that signs the tokens of service accounts, PEM, the same for all API servers "
        f"(default: {SIGNING_KEY} in the folder of --trust, where it has one; without a key no tokens are issued)",
    )
    made.add_argument(
        "--service-account-public-keys",
        type=readable_file,
        metavar="FILE",
        help=f"public keys, PEM, whose tokens are good besides, as one's that signed before (default: {FURTHER_KEYS} there)",
    )
    made.add_argument("--service-cidr", default=defaults.service_cidr, type=cidr_for("Services", 28), metavar="CIDR")
    made.add_argument(
        "--runtime-config",
        default=frozenset(),
        type=runtime_config,
        metavar="GROUP/VERSION=true,...",
        help=f"retired versions to serve, for clients as old as they are; of {', '.join(RETIRED)}",
    )
    made.add_argument(
        "--storage-versions",
        default=frozenset(),
        type=storage_versions,
        metavar="GROUP/VERSION,...",
        help="older versions to store objects in, for older API servers on the same etcd",
    )
    made.add_argument(
        "--encryption-provider-config",
        type=readable_file,
        metavar="FILE",
        help="an EncryptionConfiguration: what is encrypted in etcd, and how",
    )
    audit.add_options(made)
    made.add_argument(
        "--requests-at-once",
        type=at_once,
        default=defaults.requests_at_once,
        metavar="N",
        help="requests at once, of all who are not exempt, shared out by FlowSchemas; 0: nobody waits (default: %(default)s)",
    )
    made.add_argument(
        "--authentication-config",
        type=readable_file,
        metavar="FILE",
        help="an AuthenticationConfiguration: issuers of tokens (OIDC), what they say of users, and where anonymous callers may ask",
    )
    made.add_argument(
        "--authentication-token-webhook-config-file",
        type=readable_file,
        metavar="FILE",
        help="a kubeconfig that names a webhook which knows tokens",
    )
    made.add_argument(
        "--authentication-token-webhook-cache-ttl",
        default=defaults.identity.webhook_ttl_seconds,
        type=duration(0, 3600),
        metavar="DURATION",
        help="how long its answers hold (default: %(default)s s)",
    )
    made.add_argument(
        "--enable-admission-plugins",
        default=frozenset(),
        type=plugins,
        metavar="NAME,...",
        help=f"admission plugins to turn on besides those that are on; of {', '.join(sorted(NAMES))}",
    )
    made.add_argument(
        "--disable-admission-plugins", default=frozenset(), type=plugins, metavar="NAME,...", help="admission plugins to turn off"
    )
    made.add_argument(
        "--admission-control-config-file",
        type=readable_file,
        metavar="FILE",
        help="an AdmissionConfiguration: what some plugins are told",
    )
    deciding = made.add_mutually_exclusive_group()
    deciding.add_argument(
        "--authorization-mode",
        default=defaults.authorization_modes,
        type=authorization_modes,
        metavar="MODE,...",
        help=f"who decides what callers may do, one after the other; of {', '.join(MODES)} (default: {','.join(AUTHORIZATION_MODES)})",
    )
    deciding.add_argument(
        "--authorization-config",
        type=readable_file,
        metavar="FILE",
        help="an AuthorizationConfiguration: who decides, webhooks among them; followed while the server runs",
    )
    made.add_argument("--advertise-address", type=ipv4, metavar="IP", help="by which pods reach the REST port (default: they do not)")
    return made


def runtime_config(text: str) -> frozenset[str]:
    """The retired versions that a ``--runtime-config``, as Kubernetes spells it, turns on."""
    found = {name: value for name, _, value in (part.partition("=") for part in text.split(",") if part)}
    for name, value in found.items():
        if name not in RETIRED:
            raise argparse.ArgumentTypeError(f"{name!r} is no version that can be turned on; those are {', '.join(RETIRED)}")
        if value not in ("", "true", "false"):
            raise argparse.ArgumentTypeError(f"{name}={value} is neither true nor false")
    return frozenset(name for name, value in found.items() if value != "false")


def storage_versions(text: str) -> frozenset[str]:
    """The older versions that objects are to be stored in."""
    found = frozenset(part for part in text.split(",") if part)
    if unknown := sorted(found - OLDER):
        raise argparse.ArgumentTypeError(f"nothing can be stored in {', '.join(unknown)}; there are {', '.join(sorted(OLDER))}")
    return found


def at_once(text: str) -> int:
    """A number of requests."""
    if not text.isascii() or not text.isdecimal() or int(text) > MOST_AT_ONCE:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to {MOST_AT_ONCE}")
    return int(text)


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
    defaults = ApiServerSettings()
    check_plugins(arguments.enable_admission_plugins, arguments.disable_admission_plugins)
    host, _, port = arguments.rest_listen.rpartition(":")
    settings = ApiServerSettings(
        etcd=EtcdSettings(tuple(arguments.etcd), shown.etcd_tls(arguments), data_folders=tuple(arguments.etcd_data)),
        shared_store=not arguments.sole,
        revived_versions=arguments.runtime_config,
        storage_versions=arguments.storage_versions,
        encryption=encryption(arguments.encryption_provider_config),
        requests_at_once=arguments.requests_at_once,
        encryption_file=arguments.encryption_provider_config,
        identity=IdentitySettings(
            arguments.authentication_config,
            arguments.authentication_token_webhook_config_file,
            arguments.authentication_token_webhook_cache_ttl,
        ),
        enabled_plugins=arguments.enable_admission_plugins,
        disabled_plugins=arguments.disable_admission_plugins,
        plugin_configurations=read_admission(arguments.admission_control_config_file),
        authorization_modes=arguments.authorization_mode,
        authorization_file=arguments.authorization_config,
        service_cidr=arguments.service_cidr,
        advertise_address=arguments.advertise_address or defaults.advertise_address,
        advertise_port=int(port),
    )
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
    app = create_app(
        apiserver.api,
        apiserver.callers,
        apiserver.registry,
        checks=apiserver.checks,
        aggregation=apiserver.aggregation,
        anonymous=lambda: apiserver.known.anonymous,
    )
    rest = RestServer(app, tls_context(str(arguments.cert), str(arguments.key), str(client_ca)), host=host, port=int(port))
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
