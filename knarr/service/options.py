"""Types of command-line options. Each turns text into a value, or says what it should look like.

Imports little, since the ``knarr`` command uses them too.
"""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

MAX_PORT = 65535
MAX_DOMAIN = 253
# It is the value of a label, too.
MAX_NODE_NAME = 63
# Of the names of volume drivers, and of a Unix socket's path in bytes.
LONGEST_DRIVER = 63
LONGEST_SOCKET = 107
# What of a URL an image's name may begin with.
_MIRROR = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*/?")
_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def address(text: str) -> str:
    """``host:port``, as given."""
    host, _, port = text.rpartition(":")
    if not host or not _is_number(port) or int(port) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not host:port, like 127.0.0.1:6444")
    return text


def readable_file(text: str) -> Path:
    """A file that exists and may be read."""
    path = Path(text)
    try:
        with path.open("rb"):
            return path
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {text}: {error.strerror}") from error


def optional_path(text: str) -> str:
    """A file, whether or not it is there, by its whole path; or nothing."""
    return str(Path(text).absolute()) if text else ""


def optional_log(text: str) -> str:
    """The same, or one of the words that say where else lines go: ``-``, ``none``."""
    return text if text in ("-", "none") else optional_path(text)


def optional_names(text: str) -> str:
    """Names with commas between them; or nothing."""
    return ",".join(name for part in text.split(",") if (name := part.strip()))


def driver_sockets(text: str) -> dict[str, str]:
    """``NAME=unix:///path,…`` as endpoints by the names of drivers; empty: none."""
    found = dict[str, str]()
    for part in filter(None, (one.strip() for one in text.split(","))):
        name, equals, endpoint = part.partition("=")
        path = endpoint.removeprefix("unix://")
        if not equals or not name or not endpoint.startswith("unix:///") or path.endswith("/"):
            raise argparse.ArgumentTypeError(f"{part!r} is not NAME=unix:///PATH, as in disks.example.com=unix:///run/disks/csi.sock")
        if len(name) > LONGEST_DRIVER or not all(_LABEL.match(label) for label in name.lower().split(".")):
            raise argparse.ArgumentTypeError(f"{name!r} is no name of a driver: a domain name of at most {LONGEST_DRIVER} characters")
        if len(path.encode()) > LONGEST_SOCKET:
            raise argparse.ArgumentTypeError(f"{path!r} is too long for a socket, whose path has at most {LONGEST_SOCKET} bytes")
        if name in found:
            raise argparse.ArgumentTypeError(f"{name!r} is named twice")
        found[name] = endpoint
    return found


def optional_drivers(text: str) -> str:
    """The same, in one spelling."""
    return ",".join(f"{name}={endpoint}" for name, endpoint in driver_sockets(text).items())


def optional_mirror(text: str) -> str:
    """The URL of a registry that has copies of another's images, without a slash at its end; or nothing."""
    if not text:
        return ""
    parts, words = urlsplit(text), "write it like https://mirror.example.com, or http://127.0.0.1:5000/path"
    try:
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known or parts.query or parts.fragment or parts.username is not None or _MIRROR.fullmatch(f"{parts.netloc}{parts.path}") is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no URL of a mirror; {words}")
    return text.rstrip("/")


def optional_amount(least: str, words: str) -> Callable[[str], str]:
    """A quantity, in its one form; or nothing. ``words`` say why it is not less."""

    def parse(text: str) -> str:
        if not text:
            return ""
        # Those alone load it who give one.
        from knarr.machinery import quantity

        try:
            found = quantity.canonical(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no amount, like 2, 500m or 4Gi") from None
        if quantity.compare(found, least) < 0:
            raise argparse.ArgumentTypeError(f"{text} is too little: {words}; give at least {least}")
        return found

    return parse


def own_directory(text: str) -> Path:
    """A directory that may be written to; made when it is missing."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot make {text}: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"cannot write to {text}")
    return path


def unix_endpoint(text: str) -> str:
    """A socket on this machine, as ``unix:///path``; its path alone does, too."""
    path = text.removeprefix("unix://")
    if not path.startswith("/"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a socket's address, like unix:///run/containerd/containerd.sock")
    return f"unix://{path}"


def ipv4(text: str) -> str:
    """An IPv4 address."""
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 address") from None


def optional_ipv4(text: str) -> str:
    """An IPv4 address, or nothing."""
    return ipv4(text) if text else ""


def domain(text: str) -> str:
    """A DNS name, in lower case and without a dot at its end."""
    name = text.lower().rstrip(".")
    if len(name) > MAX_DOMAIN or not all(_LABEL.match(label) for label in name.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a domain name; write it like cluster.local")
    return name


def cidr(text: str) -> str:
    """An IPv4 range."""
    try:
        return str(IPv4Network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IPv4 range: {error}; write it like 10.244.0.0/16") from None


def cidr_for(what: str, prefix: int) -> Callable[[str], str]:
    """An IPv4 range with room for what is meant: its prefix is ``prefix`` at most."""

    def parse(text: str) -> str:
        network = IPv4Network(cidr(text))
        if network.prefixlen > prefix:
            least = 2 ** (32 - prefix)
            raise argparse.ArgumentTypeError(
                f"{str(network)!r} has {network.num_addresses} address{'es' * (network.num_addresses > 1)}, too few for {what}; "
                f"give a range of {least} or more: /{prefix} or a smaller number"
            )
        return str(network)

    return parse


def node_name(text: str) -> str:
    """The name of a node, as Kubernetes takes it."""
    if len(text) > MAX_NODE_NAME or not all(_LABEL.match(label) for label in text.split(".")):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a node's name: at most {MAX_NODE_NAME} lower-case letters, digits, '-' and '.'; write it like node-1"
        )
    return text


def optional_node_name(text: str) -> str:
    """The name of a node, or nothing."""
    return node_name(text) if text else ""


def optional_cidr(text: str) -> str:
    """An IPv4 range, or nothing."""
    return cidr(text) if text else ""


def port(text: str) -> int:
    """A TCP or UDP port; 0 lets the system choose."""
    if not _is_number(text) or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to {MAX_PORT}")
    return int(text)


def boolean(text: str) -> bool:
    """As Kubernetes' commands take it: ``true`` or ``false``."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"


def add_boolean(parser: argparse._ActionsContainer, name: str, help_text: str) -> None:
    """Adds a flag that is false, and true where it is given alone or with ``true``."""
    parser.add_argument(name, type=boolean, nargs="?", const=True, default=False, metavar="BOOL", help=help_text)


def checked(parse: Callable[[str], T]) -> Callable[[str], T]:
    """What raises ValueError as the type of a flag, whose error has its words."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def one_of(*choices: str) -> Callable[[str], str]:
    """One word of a list."""

    def parse(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(choices)})")
        return text

    return parse


def number(lowest: int, highest: int) -> Callable[[str], int]:
    """A whole number within bounds, both included."""

    def parse(text: str) -> int:
        if not _is_number(text) or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest} to {highest}")
        return int(text)

    return parse


def decimal(lowest: float, highest: float) -> Callable[[str], float]:
    """A number, whole or not, within bounds, both included."""

    def parse(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not lowest <= found <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {lowest:g} to {highest:g}, like {(lowest + highest) / 2:g}")
        return found

    return parse


def duration(lowest_seconds: float, highest_seconds: float) -> Callable[[str], float]:
    """A time as Kubernetes writes it (``2m0s``), in seconds, within bounds, both included."""

    def parse(text: str) -> float:
        from knarr.machinery.forms import parse_duration

        try:
            found = parse_duration(text) / 1e9
        except ValueError:
            found = -1.0
        if not lowest_seconds <= found <= highest_seconds:
            raise argparse.ArgumentTypeError(f"{text!r} is not a time from {lowest_seconds:g}s to {highest_seconds:g}s, like 24h")
        return found

    return parse


def seconds(text: str) -> float:
    """A time in seconds, as a number or as Kubernetes writes it (``15s``)."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a time in seconds, like 15s")
    return value
