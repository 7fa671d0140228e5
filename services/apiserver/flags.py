"""The command line of the API server: its flags, named as Kubernetes' where that has them, and the settings they make."""

from __future__ import annotations

import argparse
from pathlib import Path

from knarr.machinery.catalog import RETIRED
from knarr.service.options import address, cidr_for, duration, ipv4, readable_file
from knarr.service.signing_key import FURTHER_KEYS, SIGNING_KEY
from services.apiserver import shown
from services.apiserver.admission.catalog import NAMES
from services.apiserver.admission.configuration import read_admission
from services.apiserver.authorizers.catalog import MODES
from services.apiserver.encryption.reading import encryption
from services.apiserver.named import authorization_modes, check_plugins, plugins
from services.apiserver.settings import AUTHORIZATION_MODES, ApiServerSettings, IdentitySettings
from services.apiserver.storage.etcd import EtcdSettings
from services.apiserver.storage.values import OLDER

MOST_AT_ONCE = 100_000
FRESH = ApiServerSettings()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds them; ``settings_of`` reads them."""
    for add in (_add_serving, _add_storage, _add_authentication, _add_admission, _add_authorization):
        add(parser)


def settings_of(arguments: argparse.Namespace) -> ApiServerSettings:
    """CommandError for files that cannot be read as what they are, and for plugins that cannot be chosen so."""
    check_plugins(arguments.enable_admission_plugins, arguments.disable_admission_plugins)
    return ApiServerSettings(
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
        advertise_address=arguments.advertise_address or FRESH.advertise_address,
        advertise_port=int(arguments.rest_listen.rpartition(":")[2]),
    )


def _add_serving(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("serving")
    group.add_argument(
        "--rest-listen", default="0.0.0.0:6443", type=address, metavar="HOST:PORT", help="where REST is served (default: %(default)s)"
    )
    group.add_argument(
        "--mutual-listen",
        default="0.0.0.0:6445",
        type=address,
        metavar="HOST:PORT",
        help="where gRPC is served to callers that show a client certificate (default: %(default)s)",
    )
    group.add_argument("--advertise-address", type=ipv4, metavar="IP", help="by which pods reach the REST port (default: they do not)")
    group.add_argument("--service-cidr", default=FRESH.service_cidr, type=cidr_for("Services", 28), metavar="CIDR")
    group.add_argument(
        "--runtime-config",
        default=frozenset(),
        type=runtime_config,
        metavar="GROUP/VERSION=true,...",
        help=f"retired versions to serve, for clients as old as they are; of {', '.join(RETIRED)}",
    )
    group.add_argument(
        "--requests-at-once",
        type=at_once,
        default=FRESH.requests_at_once,
        metavar="N",
        help="requests at once, of all who are not exempt, shared out by FlowSchemas; 0: nobody waits (default: %(default)s)",
    )


def _add_storage(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("storage")
    group.add_argument(
        "--etcd", action="append", required=True, type=address, metavar="HOST:PORT", help="a member of etcd; repeat for each"
    )
    group.add_argument(
        "--etcd-data",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="where a member of etcd keeps its data, if this machine can look there: a full disk is told as one then; repeat for each",
    )
    group.add_argument(
        "--sole", action="store_true", help="no other API server uses this etcd: then reads need not ask it what the newest state is"
    )
    group.add_argument(
        "--storage-versions",
        default=frozenset(),
        type=storage_versions,
        metavar="GROUP/VERSION,...",
        help="older versions to store objects in, for older API servers on the same etcd",
    )
    group.add_argument(
        "--encryption-provider-config",
        type=readable_file,
        metavar="FILE",
        help="an EncryptionConfiguration: what is encrypted in etcd, and how",
    )


def _add_authentication(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("authentication")
    group.add_argument(
        "--service-account-key",
        type=readable_file,
        metavar="FILE",
        help="private key that signs the tokens of service accounts, PEM, the same for all API servers "
        f"(default: {SIGNING_KEY} in the folder of --trust, where it has one; without a key no tokens are issued)",
    )
    group.add_argument(
        "--service-account-public-keys",
        type=readable_file,
        metavar="FILE",
        help=f"public keys, PEM, whose tokens are good besides, as one's that signed before (default: {FURTHER_KEYS} there)",
    )
    group.add_argument(
        "--authentication-config",
        type=readable_file,
        metavar="FILE",
        help="an AuthenticationConfiguration: issuers of tokens (OIDC), what they say of users, and where anonymous callers may ask",
    )
    group.add_argument(
        "--authentication-token-webhook-config-file",
        type=readable_file,
        metavar="FILE",
        help="a kubeconfig that names a webhook which knows tokens",
    )
    group.add_argument(
        "--authentication-token-webhook-cache-ttl",
        default=FRESH.identity.webhook_ttl_seconds,
        type=duration(0, 3600),
        metavar="DURATION",
        help="how long its answers hold (default: %(default)s s)",
    )


def _add_admission(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("admission")
    group.add_argument(
        "--enable-admission-plugins",
        default=frozenset(),
        type=plugins,
        metavar="NAME,...",
        help=f"admission plugins to turn on besides those that are on; of {', '.join(sorted(NAMES))}",
    )
    group.add_argument(
        "--disable-admission-plugins", default=frozenset(), type=plugins, metavar="NAME,...", help="admission plugins to turn off"
    )
    group.add_argument(
        "--admission-control-config-file",
        type=readable_file,
        metavar="FILE",
        help="an AdmissionConfiguration: what some plugins are told",
    )


def _add_authorization(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("authorization")
    deciding = group.add_mutually_exclusive_group()
    deciding.add_argument(
        "--authorization-mode",
        default=FRESH.authorization_modes,
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
