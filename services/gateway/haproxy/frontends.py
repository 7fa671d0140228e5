"""A port as a frontend of HAProxy: its routes as maps, and the rules for what maps cannot tell. Pure.

The maps have a key for each path of each host: ``HOST/PATH`` where the path is exact, and ``HOST/PATH/`` where it is a prefix, of which the
longest that a request begins with is found; a slash behind both makes it one of whole parts. The host is as requested, ``*.`` and the rest
of it where a wildcard stands for one label, ``**.`` where it stands for several, or nothing. A value names a backend, or a group (``g…``)
of routes that have conditions: rules that are asked one after the other. The order in which places are asked is that of
``services.gateway.routing.table``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.gateway.haproxy.words import expression, hash_of, host, method, path, quoted, token
from services.gateway.routing.actions import Action
from services.gateway.routing.conditions import Condition
from services.gateway.routing.table import PASSED, Host, HostRoutes, Match, PathKind, Place, entry_of, number_of

ANY, ONE_LABEL, MANY_LABELS, NAMED = "any", "one", "many", "named"
# Of the process's own sockets: the beginning of their names, as its environment has it.
INNER = "KNARR_INNER"
NOT_YET = "!{ var(txn.b) -m found }"


@dataclass(frozen=True, slots=True)
class Rule:
    """Leads to a backend where a request came to a group, or to an expression of a host, and meets conditions."""

    words: str
    backend: str


@dataclass(slots=True)
class Entries:
    """What one host is in the maps of its port, and beside them."""

    exact: dict[str, str] = field(default_factory=dict)
    prefix: dict[str, str] = field(default_factory=dict)
    # Of groups that the maps of exact paths and of prefixes name, and of expressions.
    exact_rules: list[Rule] = field(default_factory=list)
    expression_rules: list[Rule] = field(default_factory=list)
    prefix_rules: list[Rule] = field(default_factory=list)

    @property
    def rules(self) -> tuple[tuple[Rule, ...], ...]:
        return tuple(map(tuple, (self.exact_rules, self.expression_rules, self.prefix_rules)))


def stage(found: Host) -> str:
    """When it is asked."""
    if not found.name:
        return ANY
    if not found.name.startswith("*."):
        return NAMED
    return MANY_LABELS if found.deep else ONE_LABEL


def key_of(found: Host) -> str:
    """What stands for it in the keys of maps. BadWord when it is no host."""
    if not found.name:
        return ""
    return f"*{host(found.name)}" if found.deep else host(found.name)


def exact_key(found: Host, place: Place) -> str:
    return f"{key_of(found)}{path(place.path)}"


def prefix_key(found: Host, place: Place) -> str:
    return f"{key_of(found)}{path(place.path + '/')}"


def expression_words(found: Host, place: Place) -> list[str]:
    """That a request is for this host and path."""
    words = [f"var(txn.h) -m str -- {quoted(key_of(found))}"] if found.name else []
    said = place.path if place.path.startswith("^") else f"^(?:{place.path})"
    return [*words, f"path -m reg {'-i ' if place.ignore_case else ''}-- {quoted(expression(said))}"]


def conditions(words: Sequence[str]) -> str:
    return " ".join(f"{{ {each} }}" for each in words)


def match_words(match: Match) -> list[str]:
    """Its conditions besides host and path. BadWord where one cannot be written."""
    words = [f"method {method(match.method)}"] if match.method else []
    words += [f"req.fhdr({token(each.name).lower()}) {_said(each)}" for each in match.headers]
    words += [f"req.cook({token(each.name)}) {_said(each)}" for each in match.cookies]
    words += [f"url_param({token(each.name)}),url_dec(1) {_said(each)}" for each in match.query]
    return words


def _said(condition: Condition) -> str:
    if not condition.value:
        # An empty word would be the end of the line.
        return f"-m reg -- '{'^' if condition.regex else '^$'}'"
    return f"-m reg -- {quoted(expression(condition.value))}" if condition.regex else f"-m str -- {quoted(condition.value)}"


@dataclass(frozen=True, slots=True)
class Bind:
    """Where a port is served. ``tls``: with certificates. Of a ``passed`` one TLS goes on to backends as it comes, by the name that is
    asked for; where the same port has certificates too, they are for all other names."""

    port: int
    addresses: tuple[tuple[str, int], ...]
    tls: bool

    @property
    def passed(self) -> bool:
        return bool(self.port & PASSED)


Choices = Mapping[str, Sequence[tuple[int, str]]]


def frontend(bind: Bind, entries: dict[Host, Entries], choices: Choices, *, shared: bool = False) -> Iterator[str]:
    """``entries`` are those of all hosts of the port. ``choices``: what stands in maps for one of several backends, with their weights.
    ``shared``: TLS of one port is passed on for some names and ends here for others."""
    if bind.passed:
        yield from _passing(bind, entries, shared=shared)
        return
    yield f"frontend f{bind.port}"
    secure = f" ssl crt-list l{bind.port}.list alpn h2,http/1.1" if bind.tls else ""
    if shared:
        yield f'  bind "unix@${{{INNER}}}{bind.port}" mode 600 accept-proxy{secure}'
    for address, port in () if shared else bind.addresses:
        yield f"  bind {address}:{port}{secure}"
    # Clients may expect somebody to say who answers; who does is not contradicted.
    yield "  http-after-response set-header Server knarr-gateway unless { res.hdr(Server) -m found }"
    scheme = "https" if bind.tls else "http"
    # What clients say of who they are is not passed on.
    yield "  http-request set-header X-Forwarded-For %[src]"
    yield f"  http-request set-header X-Forwarded-Proto {scheme}"
    yield "  http-request set-header X-Forwarded-Host %[req.hdr(host)]"
    yield f"  http-request set-header X-Forwarded-Port {number_of(bind.port)}"
    # Else a host could say the beginning of a path, and what is looked up be another path than the one that a pod is asked for.
    yield "  http-request deny deny_status 400 if { req.hdr(host) -m sub / }"
    stages = {stage(found) for found in entries}
    for each in (NAMED, ONE_LABEL, MANY_LABELS, ANY):
        if each in stages or each in (NAMED, ANY):
            yield from _stage(bind.port, each, {found: said for found, said in entries.items() if stage(found) == each})
    for name, backends in sorted(choices.items()):
        left = sum(weight for weight, _ in backends)
        for weight, backend in backends:
            yield f"  http-request set-var(txn.b) str({backend}) if {{ var(txn.b) -m str {name} }} {{ rand({left}) lt {weight} }}"
            left -= weight
    yield f"  http-request return status 404 content-type text/plain string 'no route leads from here' if {NOT_YET}"
    yield "  use_backend %[var(txn.b)]"


def _passing(bind: Bind, entries: dict[Host, Entries], *, shared: bool) -> Iterator[str]:
    """Only the name in a client's first message is read. A client that says none, or one that nobody has, is left, or goes to the frontend
    with certificates."""
    yield f"frontend f{bind.port}"
    yield "  mode tcp"
    for address, port in bind.addresses:
        yield f"  bind {address}:{port}"
    yield "  tcp-request inspect-delay 5s"
    hello = "{ req.ssl_hello_type 1 }"
    yield f"  tcp-request content set-var(txn.host) req.ssl_sni,lower if {hello}"
    for each in (NAMED, MANY_LABELS, ANY):
        for found in sorted((one for one in entries if stage(one) == each), key=lambda one: (-len(one.name), one.name)):
            where = {NAMED: "-m str --", MANY_LABELS: "-m end --", ANY: "-m found"}[each]
            name = "" if each == ANY else quoted(key_of(found).removeprefix("**"))
            backend = next(iter(entries[found].prefix.values()))
            yield f"  tcp-request content set-var(txn.b) str({backend}) if {NOT_YET} {hello} {{ var(txn.host) {where} {name} }}"
    if not shared:
        yield f"  tcp-request content reject if {hello} {NOT_YET}"
    yield f"  tcp-request content accept if {hello}"
    yield "  tcp-request content reject if WAIT_END"
    yield "  use_backend %[var(txn.b)] if { var(txn.b) -m found }"
    if shared:
        port = entry_of(bind.port)
        yield f"  default_backend inner{port}"
        yield f"backend inner{port}"
        yield "  mode tcp"
        yield f'  server inner "unix@${{{INNER}}}{port}" send-proxy-v2'


def _stage(port: int, which: str, entries: dict[Host, Entries]) -> Iterator[str]:
    """Looks in the maps for the hosts of one kind."""
    if which == MANY_LABELS:
        for found in sorted(entries, key=lambda each: (-len(each.name), each.name)):
            name = key_of(found)
            # What was looked for before is not looked for again: a group of it would be taken for a backend.
            here = f"{NOT_YET} {{ var(txn.host) -m end -- {quoted(name.removeprefix('**'))} }}"
            yield f"  http-request set-var(txn.h) str({name}) if {here}"
            yield f"  http-request set-var-fmt(txn.k) '{name}%[path]' if {here}"
            yield from _lookups(port, [entries[found]], here)
        return
    plain = which == NAMED and not any(any(each.rules) for each in entries.values())
    unless = "" if which == NAMED and not plain else f" if {NOT_YET}"
    if plain:
        # Most requests name their host as it stands in the maps.
        yield f"  http-request set-var(txn.b) base,map_str(e{port}.map)"
        yield f"  http-request set-var(txn.b) base,concat(/),map_beg(p{port}.map) if {NOT_YET}"
    if which == NAMED:
        yield f"  http-request set-var(txn.host) req.hdr(host),field(1,:),rtrim(.),lower{unless}"
        yield f"  http-request set-var(txn.h) var(txn.host){unless}"
    elif which == ONE_LABEL:
        yield f"  http-request set-var-fmt(txn.h) '*.%[var(txn.host),field(2,.,0)]'{unless}"
    named = "" if which == ANY else "%[var(txn.h)]"
    yield f"  http-request set-var-fmt(txn.k) '{named}%[path]'{unless}"
    yield from _lookups(port, list(entries.values()), "" if which == NAMED and not plain else NOT_YET)


def _lookups(port: int, found: Sequence[Entries], where: str) -> Iterator[str]:
    """``where`` says of which requests; empty: of all, none of which has a backend yet."""
    exact = [rule for each in found for rule in each.exact_rules]
    expressions = [rule for each in found for rule in each.expression_rules]
    prefix = [rule for each in found for rule in each.prefix_rules]
    yield from _lookup(f"var(txn.k),map_str(e{port}.map)", exact, where)
    for rule in expressions:
        yield f"  http-request set-var(txn.b) str({rule.backend}) if {NOT_YET} {rule.words}"
    yield from _lookup(f"var(txn.k),concat(/),map_beg(p{port}.map)", prefix, where or NOT_YET)


def _lookup(words: str, rules: Sequence[Rule], where: str) -> Iterator[str]:
    here = f" if {where}" if where else ""
    if not rules:
        yield f"  http-request set-var(txn.b) {words}{here}"
        return
    yield f"  http-request set-var(txn.g) {words}{here}"
    for rule in rules:
        yield f"  http-request set-var(txn.b) str({rule.backend}) if {NOT_YET} {rule.words}"
    named = "{ var(txn.g) -m found } !{ var(txn.g) -m beg g }"
    yield f"  http-request set-var(txn.b) var(txn.g) if {where or NOT_YET} {named}"


def group_words(group: str, match: Match) -> str:
    """That a request came to a group and meets the conditions of one of its routes."""
    return conditions([f"var(txn.g) -m str {group}", *match_words(match)])


def entries_of(found: Host, routes: HostRoutes, backend: Callable[[Action], str]) -> Entries:
    """``backend`` names the one of an action. BadWord where something cannot be written."""
    entries = Entries()
    for place in routes.places:
        if place.kind is PathKind.REGEX:
            continue
        asked = routes.asked(place)
        if not asked:
            # Of a canary alone.
            continue
        exact = place.kind is PathKind.EXACT
        if not asked[0].match.conditional:
            value = backend(asked[0].action)
        else:
            # The same for as long as the place is there.
            value = f"g{hash_of(f'{found} {place}')}"
            rules = entries.exact_rules if exact else entries.prefix_rules
            rules += [Rule(group_words(value, each.match), backend(each.action)) for each in asked]
        if exact:
            entries.exact[exact_key(found, place)] = value
        else:
            entries.prefix[prefix_key(found, place)] = value
    for place in routes.expressions():
        words = expression_words(found, place)
        for each in routes.asked(place):
            entries.expression_rules.append(Rule(conditions([*words, *match_words(each.match)]), backend(each.action)))
    return entries
