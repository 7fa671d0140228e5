"""What becomes of a request that a route takes: where it goes, and what is done to it on the way. Plain values, equal when
they act alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """A port of a Service: its number as text, or its name."""

    namespace: str
    service: str
    port: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class Weighted:
    """A share of the requests. Without a target it is answered ``status``."""

    target: Target | None
    weight: int = 1
    status: int = 503


@dataclass(frozen=True, slots=True)
class Headers:
    """Changes of headers, in this order; names and values."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Of the host (empty: as it is) and the path: as a whole (``path``), of the part that a prefix match took (``prefix`` becomes
    ``replacement``), or what a regular expression took (``pattern`` becomes ``replacement``, with ``\\1`` for its groups)."""

    host: str = ""
    path: str | None = None
    prefix: str | None = None
    pattern: str | None = None
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """To another place. An empty host stays as it is, port 0 is the usual one of the scheme. ``rewrite`` is of the path."""

    status: int = 302
    scheme: str = "https"
    host: str = ""
    port: int = 0
    rewrite: Rewrite = Rewrite()


@dataclass(frozen=True, slots=True)
class Login:
    """Basic authentication: a realm, and users with their passwords as crypt(3) makes them."""

    realm: str
    users: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Cors:
    """What pages of other origins may do. ``origins`` may be ``*``, or have one ``*`` in the place of a label."""

    origins: tuple[str, ...] = ("*",)
    methods: str = "GET, PUT, POST, DELETE, PATCH, OPTIONS"
    headers: str = "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization"
    exposed: str = ""
    credentials: bool = True
    max_age_seconds: int = 1728000


@dataclass(frozen=True, slots=True)
class Cookie:
    """Keeps a client with its pod. ``max_age_seconds``: 0 for as long as its browser runs; ``same_site``: empty for what browsers take."""

    name: str
    max_age_seconds: int = 0
    same_site: str = ""
    secure: bool = False


# How backends are spoken to; the last one is what a client sends, as it is.
HTTP, HTTP2, HTTPS, HTTPS2, TCP = "http", "h2c", "https", "h2", "tcp"


@dataclass(frozen=True, slots=True)
class Options:
    """``timeout_seconds``: the longest silence of a backend (0: the default). ``body_bytes``: the largest body (0: any). ``allowed``:
    CIDRs, empty for everybody. ``affinity_seconds``: how long a client's address stays with its pod; 0: not at all."""

    protocol: str = HTTP
    timeout_seconds: float = 0
    body_bytes: int = 0
    allowed: tuple[str, ...] = ()
    login: Login | None = None
    cors: Cors | None = None
    cookie: Cookie | None = None
    affinity_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Mirror:
    """Copies of ``part`` in ``whole`` requests, whose answers nobody waits for."""

    target: Target
    protocol: str = HTTP
    part: int = 1
    whole: int = 1

    @property
    def action(self) -> Action:
        """What becomes of a copy."""
        return Action(targets=(Weighted(self.target),), options=Options(protocol=self.protocol))


@dataclass(frozen=True, slots=True)
class Action:
    """``redirect`` answers at once; else a request goes to one of ``targets`` by their weights, and copies of it to ``mirrors``.
    ``choices`` are actions with their weights, of which each request gets one, and nothing else of this one counts."""

    targets: tuple[Weighted, ...] = ()
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    request: Headers = Headers()
    response: Headers = Headers()
    options: Options = Options()
    mirrors: tuple[Mirror, ...] = ()
    choices: tuple[tuple[int, Action], ...] = ()

    @property
    def leads_to(self) -> tuple[Target, ...]:
        """Where requests may go."""
        own = (share.target for share in self.targets if share.target is not None)
        return (*own, *(target for _, choice in self.choices for target in choice.leads_to))

    @property
    def shares(self) -> tuple[tuple[Target, int], ...]:
        """Where requests may go, each with its weight; of choices with that of the choice."""
        own = ((share.target, share.weight) for share in self.targets if share.target is not None)
        return (*own, *((target, weight) for weight, choice in self.choices for target in choice.leads_to))

    @property
    def plain(self) -> bool:
        """Whether it does no more than lead to one Service: of such there are many, and each looks like the other."""
        return len(self.targets) == 1 and self.targets[0].target is not None and self == Action(targets=(Weighted(self.targets[0].target),))


@dataclass(frozen=True, slots=True, order=True)
class Server:
    """An endpoint: an address and a port, and the pod behind it, where known."""

    address: str
    port: int
    pod: str = field(default="", compare=False)


Endpoints = Mapping[Target, tuple[Server, ...]]
