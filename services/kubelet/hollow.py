"""``python -m services.kubelet.hollow``: many simulated nodes as a process of their own, beside the machines of a cluster.

Each node is known to the API server by a certificate of its own, over a connection of its own, and may do what concerns it alone. They
serve by one certificate, for they have one port; it is the first node's, as whom the process asks what its callers may.
"""

from __future__ import annotations

import argparse
import ssl
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from knarr.client.rpc import CertifiedRpcClient
from knarr.objects.hollow import LABEL, MOST_NODES, PAIRS, node_name
from knarr.objects.labels import EXCLUDED
from knarr.service.command import Parser, api_client, client_parser, introduce, read_ca, run, serve, server_settings
from knarr.service.errors import CommandError
from knarr.service.keypair import KeptPair
from knarr.service.options import ipv4, number, optional_path, own_directory
from services.kubelet.configuration import with_configuration
from services.kubelet.hollow_faults import read_faults
from services.kubelet.hollow_nodes import NONE, HollowNodes, HollowNodesSettings
from services.kubelet.node_flags import add_node_flags, node_settings
from services.kubelet.registration_flags import add_registration_flags
from services.kubelet.settings import KubeletSettings

# Of every one of them: it is no machine, and nothing that comes to it is passed on.
LABELS = {LABEL: "true", EXCLUDED: ""}


def arguments_parser() -> Parser:
    made = client_parser("kubelet.hollow", "Run simulated nodes.", port=10250)
    made.set_defaults(credential="certificate")
    made.add_argument("--nodes", required=True, type=number(1, MOST_NODES), metavar="NUMBER", help="how many nodes there are")
    made.add_argument("--node-ip", required=True, type=ipv4, metavar="IP", help="by which the API server reaches all of them")
    made.add_argument(
        "--node-certificates",
        type=Path,
        metavar="DIR",
        help=f"where each node's certificate and key lie, as {node_name(1)}.crt and .key (default: {PAIRS} in the folder of --trust)",
    )
    made.add_argument(
        "--hollow-faults",
        type=optional_path,
        default="",
        metavar="FILE",
        help="a file of HollowFaults: what befalls the nodes, and when (default: nothing)",
    )
    made.add_argument(
        "--data-dir", type=own_directory, default="/var/lib/knarr/hollow", metavar="DIR", help="for what nodes keep (default: %(default)s)"
    )
    add_registration_flags(made)
    add_node_flags(made)
    return made


def settings_of(arguments: argparse.Namespace) -> HollowNodesSettings:
    """Raises ValueError where flags contradict one another, CommandError for a file of faults that is no good."""
    node = KubeletSettings(
        node_name="",
        data_dir=arguments.data_dir,
        node_ip=arguments.node_ip,
        port=int(arguments.listen.rpartition(":")[2]),
        taints=arguments.register_with_taints,
        labels=LABELS,
        **node_settings(arguments),
    )
    faults = read_faults(Path(arguments.hollow_faults)) if arguments.hollow_faults else NONE
    # The controller gives each of them its range of pod addresses, as it does for machines.
    return HollowNodesSettings(node, range(1, arguments.nodes + 1), lambda number: "", faults=faults)


def node_pairs(arguments: argparse.Namespace) -> dict[str, KeptPair]:
    """What each node is known by, by its name. Raises CommandError where one of them has none."""
    folder: Path | None = arguments.node_certificates or (arguments.trust / PAIRS if arguments.trust is not None else None)
    if folder is None:
        raise CommandError("--node-certificates DIR is missing; or --trust")
    pairs = {}
    for name in map(node_name, range(1, arguments.nodes + 1)):
        try:
            pairs[name] = KeptPair(folder / f"{name}.crt", folder / f"{name}.key")
        except (OSError, ssl.SSLError) as error:
            words = f"`python -m services.compose.trust` makes them with --hollow-nodes {arguments.nodes}"
            raise CommandError(f"{folder} has no certificate and key of {name} ({error}); {words}") from error
    return pairs


async def serve_nodes(arguments: argparse.Namespace, settings: HollowNodesSettings) -> None:
    """Hosts them until cancelled. Raises CommandError where their files do not fit together or are refused."""
    listening, pairs, authority = server_settings(arguments), node_pairs(arguments), read_ca(arguments.ca)
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(api_client(arguments))
        await introduce(own, arguments)
        clients = {name: CertifiedRpcClient(arguments.apiserver, authority, pair) for name, pair in pairs.items()}
        for client in clients.values():
            await stack.enter_async_context(client)
        await serve(arguments, listening, own, HollowNodes(clients.__getitem__, settings))


def main() -> int:
    parser = arguments_parser()
    try:
        arguments = parser.parse_args(with_configuration(parser, sys.argv[1:]))
        settings = settings_of(arguments)
    except (ValueError, CommandError) as error:
        parser.error(str(error))
    return run(arguments, lambda: serve_nodes(arguments, settings))


if __name__ == "__main__":
    raise SystemExit(main())
