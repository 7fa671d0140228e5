"""An action as a backend of HAProxy: what is done to requests and answers, and the servers they go to. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from services.gateway.haproxy import limits, mirrors
from services.gateway.haproxy.words import (
    BadWord,
    expression,
    formatted,
    hash_of,
    host,
    literal,
    network,
    path,
    plain,
    quoted,
    replacement,
    token,
)
from services.gateway.routing.actions import (
    HTTP,
    HTTP2,
    HTTPS,
    HTTPS2,
    TCP,
    Action,
    Cookie,
    Cors,
    Endpoints,
    Headers,
    Login,
    Redirect,
    Rewrite,
    Server,
)

PROTOCOLS = {HTTP: "", HTTP2: " proto h2", HTTPS: " ssl verify none alpn http/1.1", HTTPS2: " ssl verify none alpn h2", TCP: ""}
MOST_WEIGHT = 256
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Placed:
    """A server of a backend."""

    server: Server
    weight: int
    protocol: str

    @property
    def name(self) -> str:
        return f"{self.server.address.replace(':', '-')}_{self.server.port}"

    @property
    def words(self) -> str:
        """As `server` and `add server` take it, after the name."""
        address = f"[{self.server.address}]" if ":" in self.server.address else self.server.address
        return f"{address}:{self.server.port} weight {self.weight}{PROTOCOLS[self.protocol]}"


def servers_of(action: Action, endpoints: Endpoints) -> dict[str, Placed]:
    """The servers of an action by name: each Service gets its share whatever the number of its pods, and each of those as much
    as the others."""
    groups = [(found, share.weight) for share in action.targets if share.target and share.weight and (found := endpoints.get(share.target))]
    if not groups:
        return {}
    common = math.lcm(*(len(found) for found, _ in groups))
    wanted = [(found, weight * common // len(found)) for found, weight in groups]
    divisor = math.gcd(*(weight for _, weight in wanted))
    most = max(weight for _, weight in wanted) // divisor
    scale = min(1.0, MOST_WEIGHT / most)
    placed = [
        Placed(server, max(1, round(weight // divisor * scale)), action.options.protocol) for found, weight in wanted for server in found
    ]
    made: dict[str, Placed] = {}
    for each in placed:
        # Two Services may have a pod in common, and a Service may be named twice.
        before = made.get(each.name)
        made[each.name] = replace(each, weight=min(MOST_WEIGHT, each.weight + before.weight)) if before is not None else each
    return made


def lines_of(action: Action, name_of: Callable[[Action], str] = lambda _: "p0", *, lua: bool = True) -> list[str]:
    """What stands in its backend before the servers. ``name_of`` names the backend of another action; ``lua``: whether HAProxy has it.
    BadWord where something of it cannot be written."""
    if action.mirrors and not lua:
        raise BadWord("copies of requests are made by HAProxy's Lua, and this one was built without it")
    return [] if action.plain else list(_lines(action, name_of, lua=lua))


def _lines(action: Action, name_of: Callable[[Action], str], *, lua: bool) -> Iterator[str]:
    options = action.options
    if options.protocol == TCP:
        yield "mode tcp"
        yield "no option redispatch"
        return
    if options.allowed:
        yield f"http-request deny deny_status 403 unless {{ src {' '.join(map(network, options.allowed))} }}"
    if options.cors is not None:
        yield from _cors(options.cors)
    if options.login is not None:
        yield f"http-request auth realm {quoted(options.login.realm)} unless {{ http_auth({list_name(options.login)}) }}"
    if options.body_bytes:
        yield from limits.lines_of(options.body_bytes, lua=lua)
    if action.redirect is not None:
        yield from _redirect(action.redirect)
        return
    lost = [share for share in action.targets if share.target is None and share.weight]
    total = sum(share.weight for share in action.targets)
    if total == 0 or sum(share.weight for share in lost) == total:
        yield f"http-request return status {lost[0].status if lost else 500}"
        return
    for share in lost:
        yield f"http-request return status {share.status} if {{ rand({total}) lt {share.weight} }}"
        total -= share.weight
    yield from _headers("http-request", action.request)
    if action.rewrite is not None:
        yield from _rewrite(action.rewrite)
    yield from mirrors.lines_of(action.mirrors, name_of)
    yield from _headers("http-response", action.response)
    if options.timeout_seconds:
        yield f"timeout server {max(1, round(options.timeout_seconds * 1000))}ms"
        yield f"timeout tunnel {max(3_600_000, round(options.timeout_seconds * 1000))}ms"
    if options.cookie is not None:
        yield from _cookie(options.cookie, action)
    elif options.affinity_seconds:
        yield "balance source"
        yield "hash-type consistent"


def _cookie(cookie: Cookie, action: Action) -> Iterator[str]:
    """Its value is made of a pod's address and the key: every gateway gives and knows the same, and servers that come get theirs."""
    yield f"dynamic-cookie-key {hash_of(repr(action.leads_to))}"
    attributes = [f'attr "SameSite={token(cookie.same_site)}"'] if cookie.same_site else []
    attributes += [f'attr "Max-Age={cookie.max_age_seconds}"'] if cookie.max_age_seconds else []
    attributes += ["secure"] if cookie.secure else []
    yield f"cookie {token(cookie.name)} insert indirect nocache httponly dynamic {' '.join(attributes)}".rstrip()


def list_name(login: Login) -> str:
    """The name of its users' list: the same for the same users."""
    return f"u{hash_of(repr(login.users))}"


def users_of(login: Login) -> list[str]:
    """The list of its users."""
    return [f"userlist {list_name(login)}", *(f"  user {quoted(name)} password {quoted(secret)}" for name, secret in login.users)]


def _headers(when: str, headers: Headers) -> Iterator[str]:
    for name in headers.remove:
        yield f"{when} del-header {token(name)}"
    for name, value in headers.set:
        yield f"{when} set-header {token(name)} {formatted(value)}"
    for name, value in headers.add:
        yield f"{when} add-header {token(name)} {formatted(value)}"


def _rewrite(rewrite: Rewrite) -> Iterator[str]:
    if rewrite.host:
        yield f"http-request set-header Host {formatted(host(rewrite.host))}"
    if rewrite.path is not None:
        yield f"http-request set-path {formatted(path(rewrite.path or '/'))}"
    elif rewrite.pattern is not None:
        yield f"http-request replace-path {quoted(expression(rewrite.pattern))} {replacement(rewrite.replacement)}"
    elif rewrite.prefix is not None:
        yield from _prefix(rewrite.prefix, rewrite.replacement)


def _prefix(prefix: str, into: str) -> Iterator[str]:
    into = path(into or "/").rstrip("/")
    taken = literal(path(prefix or "/").rstrip("/"))
    if into:
        yield f"http-request replace-path {quoted(f'^{taken}(/.*)?$')} {plain(into)[:-1]}\\1'"
    else:
        yield f"http-request replace-path {quoted(f'^{taken}/?(.*)$')} '/\\1'"


def _redirect(redirect: Redirect) -> Iterator[str]:
    yield from _rewrite(redirect.rewrite)
    named = formatted(host(redirect.host))[1:-1] if redirect.host else "%[req.hdr(host),field(1,:),rtrim(.),lower]"
    scheme = token(redirect.scheme)
    port = "" if redirect.port in (0, DEFAULT_PORTS.get(scheme)) else f":{redirect.port}"
    yield f"http-request redirect code {redirect.status} location '{scheme}://{named}{port}%[pathq]'"


def _cors(cors: Cors) -> Iterator[str]:
    """What a page of another origin is told; its questions before a request are answered at once."""
    yield "http-request set-var(txn.origin) req.hdr(Origin)"
    anybody = "*" in cors.origins
    if anybody:
        yield "http-request set-var(txn.cors) str(1) if { var(txn.origin) -m found }"
    for origin in cors.origins if not anybody else ():
        before, star, after = origin.partition("*")
        said = f"^{literal(before)}[^/]*{literal(after)}$" if star else f"^{literal(origin)}$"
        yield f"http-request set-var(txn.cors) str(1) if {{ var(txn.origin) -m reg -i -- {quoted(said)} }}"
    allowed = "'*'" if anybody and not cors.credentials else "%[var(txn.origin)]"
    told = [("Access-Control-Allow-Origin", allowed)]
    if cors.credentials:
        told.append(("Access-Control-Allow-Credentials", "true"))
    if cors.exposed:
        told.append(("Access-Control-Expose-Headers", formatted(cors.exposed)))
    before_request = [
        ("Access-Control-Allow-Methods", _said_or_asked(cors, cors.methods, "Access-Control-Request-Method")),
        ("Access-Control-Allow-Headers", _said_or_asked(cors, cors.headers, "Access-Control-Request-Headers")),
        ("Access-Control-Max-Age", str(cors.max_age_seconds)),
    ]
    words = " ".join(f"hdr {name} {value}" for name, value in (*told, *before_request) if value != "''")
    asks = "{ method OPTIONS } { var(txn.origin) -m found } { req.hdr(Access-Control-Request-Method) -m found }"
    yield f"http-request return status 204 {words} if {asks} {{ var(txn.cors) -m found }}"
    # Who is not allowed is told nothing: that is the answer.
    yield f"http-request return status 204 if {asks}"
    for name, value in told:
        yield f"http-response set-header {name} {value} if {{ var(txn.cors) -m found }}"
    yield "http-response add-header Vary Origin"


def _said_or_asked(cors: Cors, said: str, header: str) -> str:
    """With credentials a star means nothing to browsers: then all that one asks for is allowed by name."""
    return f"'%[req.fhdr({header})]'" if cors.credentials and said == "*" else formatted(said)
