"""``python -m services.compose.trust DIR``: what the components of a cluster of several machines need to trust one another.

Each component gets a folder of its own for its ``--trust`` option, with a certificate that it serves with and is known by. The
authority's key stays in ``authority/``. What is there and good stays as it is, so that it may run before every start:

    DIR/authority/                  for nobody but this command
    DIR/apiserver/ scheduler/ controller/ cloud/ dns/ web/
    DIR/NODE/kubelet/ NODE/proxy/   one folder for each --node
    DIR/NODE/gateway/               for each --gateway, which names such a node: whoever has it may read all Secrets
    DIR/hollow/                     with --hollow-nodes: what simulated nodes serve with, and in nodes/ what each of them is known by
    DIR/etcd/                       with --etcd: the certificate of a member of etcd, by an authority of etcd's own
    DIR/admin/kubeconfig            and what grpcurl shows: certificate and key, or the token
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from knarr.objects.hollow import EVERY_NODE, MOST_NODES, PAIRS, node_name
from knarr.service.authentication import KUBELET_CLIENT, NODE_PREFIX, NODES, TokenTable, User, kept_token
from knarr.service.certificates import CertificateAuthority
from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, PUBLIC, write_whole
from knarr.service.keypair import KeyPair
from knarr.service.options import number
from knarr.service.signing_key import FURTHER_KEYS, SIGNING_KEY, keep_signing_key
from services.apiserver.bootstrap import service_names
from services.apiserver.shown import ETCD_FILES, FRONT_PROXY_FILES, KUBELET_CLIENT_FILES
from services.compose import earlier_tokens
from services.standalone.credentials import ADMIN, APISERVER, Credentials, keep_front_proxy, write_kubeconfig

LOCAL = ("127.0.0.1", "localhost")
# As whom the API server speaks to etcd: nobody else has a certificate of that authority but the members.
ETCD_CLIENT = "kube-apiserver-etcd-client"
ETCD_AUTHORITY = "knarr-etcd-ca"
SHARED_KEY = 0o640


@dataclass(frozen=True, slots=True)
class Member:
    """One component: its folder below the root, who it is, and under which names and addresses it is called."""

    folder: str
    user: User
    hosts: tuple[str, ...]
    # Of a kubelet, its node.
    node: str = ""


# The components of the control plane by their folders.
CONTROL_PLANE = {
    "apiserver": APISERVER,
    "scheduler": User("system:kube-scheduler"),
    "controller": User("system:kube-controller-manager"),
    "cloud": User("system:cloud-controller-manager"),
    "dns": User("system:kube-dns"),
    "web": User("system:knarr-web"),
}


def members(hosts: Mapping[str, list[str]], nodes: Mapping[str, str], gateways: Iterable[str] = ()) -> list[Member]:
    """All components.

    ``hosts`` are names and addresses besides this machine's own, by the control plane's folders; ``nodes`` are addresses by node name,
    ``gateways`` names of those that run a gateway.
    """
    control = [Member(name, user, (*LOCAL, *hosts.get(name, []))) for name, user in CONTROL_PLANE.items()]
    kubelets = [
        Member(f"{name}/kubelet", User(f"{NODE_PREFIX}{name}", groups=(NODES,)), (*LOCAL, name, ip), name) for name, ip in nodes.items()
    ]
    proxies = [Member(f"{name}/proxy", User("system:kube-proxy", uid=name), (*LOCAL, name, ip)) for name, ip in nodes.items()]
    fronts = [Member(f"{name}/gateway", User("system:knarr-gateway", uid=name), (*LOCAL, name, nodes[name])) for name in gateways]
    return [*control, *kubelets, *proxies, *fronts]


def make(root: Path, found: list[Member], server: str, *, end_tokens: bool = False) -> None:
    """Fills the folders; ``server`` is the URL of the REST API for the kubeconfig. Tokens that a version before has made for components
    stay good unless they are to end."""
    kept = root / "authority"
    authority = CertificateAuthority.load_or_create(kept)
    kept.chmod(0o700)
    for member in found:
        folder = root / member.folder
        folder.mkdir(parents=True, exist_ok=True)
        authority.kept_pair(folder, "server", member.user.name, organizations=member.user.groups, hosts=member.hosts)
        write_whole(folder / "ca.crt", authority.pair.certificate, mode=PUBLIC)
    authority.kept_pair(root / "apiserver", _stem(KUBELET_CLIENT_FILES["key"]), KUBELET_CLIENT)
    admin_token = kept_token(kept / "admin.token")
    folders = [member.folder for member in found]
    if end_tokens:
        earlier_tokens.take_back(root, kept, folders)
    users = {member.folder: member.user for member in found}
    nodes = {member.folder: member.node for member in found if member.node}
    earlier_tokens.hand_out(root, earlier_tokens.earlier(kept, folders), users, nodes, admin_token)
    # What signs requests for certificates, for the controllers that do.
    authority.pair.save(root / "controller", "signing")
    make_front_proxy(root)
    _share_signing_key(kept, root / "apiserver")
    admin = authority.kept_pair(kept, "admin", ADMIN.name, organizations=ADMIN.groups)
    folder = root / "admin"
    folder.mkdir(exist_ok=True)
    write_whole(folder / "ca.crt", authority.pair.certificate, mode=PUBLIC)
    write_whole(folder / "token", f"{admin_token}\n".encode(), mode=PRIVATE)
    admin.save(folder, "admin")
    credentials = Credentials(authority.pair.certificate, admin, admin, admin_token, "", TokenTable({}))
    write_kubeconfig(folder / "kubeconfig", credentials, server)
    _hand_over(folder)


def _stem(file: str) -> str:
    """What a pair is called whose key has this name."""
    return file.removesuffix(".key")


def _share_signing_key(kept: Path, folder: Path) -> None:
    """Gives all API servers the same key for the tokens of service accounts, and those public keys that were laid beside it."""
    write_whole(folder / SIGNING_KEY, keep_signing_key(kept), mode=PRIVATE)
    if (kept / FURTHER_KEYS).exists():
        write_whole(folder / FURTHER_KEYS, (kept / FURTHER_KEYS).read_bytes(), mode=PUBLIC)


def make_etcd(root: Path, hosts: Mapping[str, list[str]], group: int | None = None) -> None:
    """What etcd and the API servers need to trust one another, by an authority of etcd's own: a member of the cluster is no client of
    its store. ``hosts`` are names and addresses of etcd's members, by their folders; their keys may be read by a ``group`` as well."""
    kept = root / "authority" / "etcd"
    authority = CertificateAuthority.load_or_create(kept, ETCD_AUTHORITY)
    kept.chmod(0o700)
    for name, served in hosts.items():
        folder = root / name
        folder.mkdir(exist_ok=True)
        authority.kept_pair(folder, "server", name, hosts=[*LOCAL, *served])
        write_whole(folder / "ca.crt", authority.pair.certificate, mode=PUBLIC)
        if group is not None:
            os.chown(folder / "server.key", -1, group)
            (folder / "server.key").chmod(SHARED_KEY)
    authority.kept_pair(root / "apiserver", _stem(ETCD_FILES["key"]), ETCD_CLIENT)
    write_whole(root / "apiserver" / ETCD_FILES["ca"], authority.pair.certificate, mode=PUBLIC)


def make_hollow(root: Path, count: int, hosts: Iterable[str]) -> None:
    """What so many simulated nodes need, which are one process: each is known by a pair of its own, and they serve by one for them all."""
    authority, folder = CertificateAuthority.load_or_create(root / "authority"), root / "hollow"
    folder.mkdir(exist_ok=True)
    names = [node_name(number) for number in range(1, count + 1)]
    authority.kept_pair(folder, "server", f"{NODE_PREFIX}{names[0]}", organizations=(NODES,), hosts=(*LOCAL, EVERY_NODE, *hosts))
    for name in names:
        authority.kept_pair(folder / PAIRS, name, f"{NODE_PREFIX}{name}", organizations=(NODES,))
    write_whole(folder / "ca.crt", authority.pair.certificate, mode=PUBLIC)


def make_front_proxy(root: Path) -> None:
    """What the API servers show to those of others, by an authority of their own; all of them the same."""
    kept = root / "authority" / "front-proxy"
    authority = keep_front_proxy(kept)
    kept.chmod(0o700)
    KeyPair.load(kept, "client").save(root / "apiserver", _stem(FRONT_PROXY_FILES["key"]))
    write_whole(root / "apiserver" / FRONT_PROXY_FILES["ca"], authority.pair.certificate, mode=PUBLIC)


def _hand_over(folder: Path) -> None:
    """Gives the admin's files to whom the folder belongs: this may run as root in a container, they are for a person outside."""
    owner = folder.stat()
    for path in folder.iterdir():
        os.chown(path, owner.st_uid, owner.st_gid)


def _node(text: str) -> tuple[str, str]:
    name, _, ip = text.partition("=")
    try:
        return name, str(ipaddress.IPv4Address(ip))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=IP, like node-1=192.0.2.11") from None


def _etcd(text: str) -> tuple[str, str]:
    name, _, host = text.rpartition("=")
    if name in (*CONTROL_PLANE, "admin", "authority", "hollow") or "/" in name or not host:
        raise argparse.ArgumentTypeError(f"{text!r} is not [FOLDER=]HOST with a folder of its own, like etcd-2=192.0.2.12")
    return name or "etcd", host


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m services.compose.trust", description="Make certificates and tokens for a cluster.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--apiserver", action="append", required=True, metavar="HOST", help="a name or address of the API server")
    for name in sorted(CONTROL_PLANE.keys() - {"apiserver"}):
        parser.add_argument(f"--{name}", action="append", default=[], metavar="HOST", help=f"one of the component {name}")
    parser.add_argument(
        "--etcd",
        action="append",
        type=_etcd,
        default=[],
        metavar="[FOLDER=]HOST",
        help="one of a member of etcd, and its folder (etcd); none: etcd without TLS",
    )
    parser.add_argument("--etcd-group", type=int, metavar="GID", help="a group that may read the keys of etcd's members")
    parser.add_argument(
        "--end-tokens", action="store_true", help="take back the tokens that a version before has made for components: they need none"
    )
    parser.add_argument("--node", action="append", type=_node, default=[], metavar="NAME=IP")
    parser.add_argument("--gateway", action="append", default=[], metavar="NAME", help="a node, of those above, that runs a gateway")
    parser.add_argument("--hollow-nodes", type=number(0, MOST_NODES), default=0, metavar="NUMBER", help="how many nodes are simulated")
    parser.add_argument("--hollow", action="append", default=[], metavar="HOST", help="a name or address of the simulated nodes' process")
    parser.add_argument("--server", required=True, metavar="URL", help="where the kubeconfig's owner reaches the REST API")
    arguments = parser.parse_args()
    hosts = {name: getattr(arguments, name) for name in CONTROL_PLANE}
    hosts["apiserver"].extend(service_names())
    nodes = dict(arguments.node)
    for name in arguments.gateway:
        if name not in nodes:
            parser.error(f"--gateway {name}: there is no --node {name}=IP")
    found = members(hosts, nodes, dict.fromkeys(arguments.gateway))
    try:
        make(arguments.folder, found, arguments.server, end_tokens=arguments.end_tokens)
        if arguments.hollow_nodes:
            make_hollow(arguments.folder, arguments.hollow_nodes, arguments.hollow)
        if arguments.etcd:
            members_of_etcd: dict[str, list[str]] = {}
            for folder, host in arguments.etcd:
                members_of_etcd.setdefault(folder, []).append(host)
            make_etcd(arguments.folder, members_of_etcd, arguments.etcd_group)
    except CommandError as error:
        sys.exit(f"error: {error}")
    print(f"{arguments.folder}: certificates and tokens are in place; kubeconfig for {arguments.server}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
