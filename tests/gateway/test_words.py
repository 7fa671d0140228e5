"""Nothing of an object is configuration: whatever is in its fields, it is one word of a line, or the object is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.gateway.haproxy.backends import lines_of, users_of
from services.gateway.haproxy.frontends import Bind, entries_of, frontend
from services.gateway.haproxy.program import Limits, Program, Reload, escaped
from services.gateway.haproxy.words import BadWord, expression, formatted, literal, quoted
from services.gateway.routing.actions import Action, Cookie, Cors, Headers, Login, Options, Redirect, Rewrite, Server, Target, Weighted
from services.gateway.routing.conditions import Condition
from services.gateway.routing.table import Host, HostRoutes, Match, Origin, PathKind, Route
from services.gateway.sources.ingress import compile_ingress
from tests.gateway.configurations import refusal
from tests.gateway.world import ingress_of, needs_haproxy

NASTY = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="'\"\\%[]{}()#$ \t\n\r;,<>|&!-", max_size=20),
    st.sampled_from(
        ["' } server x 1.2.3.4:80 #", "%[env(SECRET)]", "${HOME}", "a\nbackend evil", "x' -- '", "--", "-f /etc/passwd", "\\'", "%%[src]"]
    ),
)
TARGET = Weighted(Target("default", "web", "80"))
SAFE = "x"


def words_of(line: str) -> list[str]:
    """A line as HAProxy reads it: words between blanks, quotes, and what a backslash takes the meaning of."""
    words: list[str] = []
    word, quote, begun, position = "", "", False, 0
    while position < len(line):
        sign = line[position]
        if quote == "'":
            quote, word = ("", word) if sign == "'" else (quote, word + sign)
        elif sign == "\\":
            position += 1
            word, begun = word + line[position : position + 1], True
        elif sign in ("'", '"'):
            quote, begun = ("" if quote == sign else sign), True
        elif not quote and sign == "#":
            break
        elif not quote and sign in " \t":
            if begun:
                words.append(word)
            word, begun = "", False
        else:
            word, begun = word + sign, True
        position += 1
    assert not quote, line
    return [*words, word] if begun else words


def shape(lines: list[str]) -> list[int]:
    assert all(character.isprintable() or character == "\t" for line in lines for character in line)
    return [len(words_of(line)) for line in lines]


ACTIONS: dict[str, Callable[[str], Action]] = {
    "header name": lambda text: Action((TARGET,), request=Headers(set=((text, "v"),))),
    "header value": lambda text: Action((TARGET,), request=Headers(set=(("X-A", text),))),
    "answer value": lambda text: Action((TARGET,), response=Headers(add=(("X-A", text),))),
    "removed header": lambda text: Action((TARGET,), request=Headers(remove=(text,))),
    "host": lambda text: Action((TARGET,), rewrite=Rewrite(host=text or SAFE)),
    "path": lambda text: Action((TARGET,), rewrite=Rewrite(path=f"/{text}")),
    "prefix": lambda text: Action((TARGET,), rewrite=Rewrite(prefix=f"/{text}", replacement="/y")),
    "replacement": lambda text: Action((TARGET,), rewrite=Rewrite(prefix="/x", replacement=f"/{text}")),
    "pattern": lambda text: Action((TARGET,), rewrite=Rewrite(pattern=f"^/{text}", replacement="/y")),
    "replacement of a pattern": lambda text: Action((TARGET,), rewrite=Rewrite(pattern="^/(x)", replacement=text)),
    "redirect": lambda text: Action(redirect=Redirect(host=text or SAFE)),
    "realm": lambda text: Action((TARGET,), options=Options(login=Login(text, (("u", "p"),)))),
    "origin": lambda text: Action((TARGET,), options=Options(cors=Cors((text,)))),
    "methods of origins": lambda text: Action((TARGET,), options=Options(cors=Cors(methods=text or SAFE))),
    "exposed": lambda text: Action((TARGET,), options=Options(cors=Cors(exposed=text or SAFE))),
    "network": lambda text: Action((TARGET,), options=Options(allowed=(text,))),
    "cookie": lambda text: Action((TARGET,), options=Options(cookie=Cookie(text or SAFE))),
    "kind of a cookie": lambda text: Action((TARGET,), options=Options(cookie=Cookie("c", same_site=text or SAFE))),
}
SAFE_FOR = {"network": "10.0.0.0/8", "origin": "https://x"}


@pytest.mark.parametrize("field", ACTIONS)
@given(text=NASTY)
@settings(max_examples=50, deadline=None)
def test_a_word_of_an_action_stays_one(field: str, text: str) -> None:
    make = ACTIONS[field]
    plain = shape(lines_of(make(SAFE_FOR.get(field, SAFE))))
    try:
        lines = lines_of(make(text))
    except BadWord:
        return
    if field == "prefix" or field == "replacement" or field == "origin":
        # Nothing but slashes, or a star, is another line.
        assert len(lines) in (len(plain), len(plain) - 1) and all(len(words_of(line)) >= 1 for line in lines)
        assert all(words_of(line)[0] in ("http-request", "http-response") for line in lines)
    else:
        assert shape(lines) == plain


@given(name=NASTY, secret=NASTY)
@settings(max_examples=50, deadline=None)
def test_users_stay_words(name: str, secret: str) -> None:
    try:
        lines = users_of(Login("r", ((name, secret),)))
    except BadWord:
        return
    assert [len(words_of(line)) for line in lines] == [2, 4]


MATCHES: dict[str, Callable[[str], Match]] = {
    "header": lambda text: Match(headers=(Condition(text, "v"),)),
    "value": lambda text: Match(headers=(Condition("X-A", text),)),
    "expression": lambda text: Match(headers=(Condition("X-A", text, regex=True),)),
    "cookie": lambda text: Match(cookies=(Condition(text, "v"),)),
    "value of a cookie": lambda text: Match(cookies=(Condition("c", text),)),
    "parameter": lambda text: Match(query=(Condition(text, "v"),)),
    "value of a parameter": lambda text: Match(query=(Condition("q", text),)),
    "method": lambda text: Match(method=text or "GET"),
    "path": lambda text: Match(PathKind.REGEX, f"/{text}"),
    "path that is not": lambda text: Match(path=f"/{text}", method="GET"),
}


@pytest.mark.parametrize("field", MATCHES)
@given(text=NASTY)
@settings(max_examples=50, deadline=None)
def test_a_word_of_a_match_stays_one(field: str, text: str) -> None:
    def lines(said: str) -> list[str]:
        host, match = Host(80, "a.example"), MATCHES[field](said)
        route = Route(80, "a.example", match, Action((TARGET,)), Origin("Ingress", "n", "x"))
        entries = entries_of(host, HostRoutes({match.place: [route]}), lambda _: "p0")
        for key in (*entries.exact, *entries.prefix):
            assert key.isascii() and key.isprintable() and " " not in key and len(words_of(escaped(key).replace("'", "\\'"))) == 1
        return list(frontend(Bind(80, (("127.0.0.1", 80),), tls=False), {host: entries}, {}))

    try:
        found = lines(text)
    except BadWord:
        return
    assert shape(found) == shape(lines("GET" if field == "method" else SAFE))


@given(host=NASTY)
@settings(max_examples=80, deadline=None)
@example("a.example\n")
@example("*.a.*.example")
def test_a_host_is_one_or_refused(host: str) -> None:
    match = Match()
    route = Route(80, host, match, Action((TARGET,)), Origin("Ingress", "n", "x"))
    try:
        entries = entries_of(Host(80, host), HostRoutes({match.place: [route]}), lambda _: "p0")
    except BadWord:
        return
    (key,) = entries.prefix
    assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.*/")


@given(text=NASTY)
def test_what_is_quoted_is_what_it_was(text: str) -> None:
    try:
        assert words_of(quoted(text)) == [text]
        assert words_of(formatted(text)) == [text.replace("%", "%%") or "%[str()]"]
    except BadWord:
        assert any(not (" " <= sign <= "~") and sign != "\t" for sign in text)


@given(text=st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=30))
def test_a_literal_matches_itself_alone(text: str) -> None:
    assert re.fullmatch(literal(text), text) and not re.fullmatch(literal(text), f"{text}x")


@pytest.mark.parametrize(
    "text",
    [
        "(?<=x)y",
        "(?P<n>x)",
        "a++",
        "[[:alpha:]]",
        "(*UTF)",
        "\\K",
        "\\Q",
        "(",
        "a" * 600,
        "x\\",
        "é",
        "(?#c)",
        "[a--b]",
        "[a&&b]",
        "[a||b]",
        "[a~~b]",
    ],
)
def test_expressions_that_are_read_otherwise_elsewhere_are_refused(text: str) -> None:
    with pytest.raises(BadWord):
        expression(text)


@needs_haproxy
@given(
    host=NASTY, path=NASTY, header=NASTY, value=NASTY, target=NASTY,
    kind=st.sampled_from(["Exact", "Prefix", "ImplementationSpecific"]), regex=st.booleans(),
)  # fmt: skip
@example(host="", path="", header="0", value="", target="", kind="Exact", regex=False)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_haproxy_takes_every_configuration(
    tmp_path: Path, host: str, path: str, header: str, value: str, target: str, kind: str, regex: bool
) -> None:
    """Also of objects that the API server would refuse: of another version of it, or of before."""
    given_annotations = {
        "nginx.ingress.kubernetes.io/rewrite-target": target, "nginx.ingress.kubernetes.io/use-regex": str(regex).lower(),
        "nginx.ingress.kubernetes.io/enable-cors": "true", "nginx.ingress.kubernetes.io/cors-allow-origin": value,
        "nginx.ingress.kubernetes.io/cors-allow-headers": value, "nginx.ingress.kubernetes.io/session-cookie-name": header,
        "nginx.ingress.kubernetes.io/session-cookie-samesite": value,
        "nginx.ingress.kubernetes.io/affinity": "cookie", "nginx.ingress.kubernetes.io/whitelist-source-range": value,
        "nginx.ingress.kubernetes.io/auth-type": "basic", "nginx.ingress.kubernetes.io/auth-secret": "s",
        "nginx.ingress.kubernetes.io/auth-realm": value, "nginx.ingress.kubernetes.io/proxy-body-size": "8m",
    }  # fmt: skip
    canary = {
        "nginx.ingress.kubernetes.io/canary": "true", "nginx.ingress.kubernetes.io/canary-by-header": header,
        "nginx.ingress.kubernetes.io/canary-by-header-value": value, "nginx.ingress.kubernetes.io/canary-by-cookie": header,
    }  # fmt: skip
    if any("\ud800" <= sign <= "\udfff" for text in (host, path, header, value, target) for sign in text):
        return
    secret = core.Secret(data={"auth": f"{header}:$5$a$b\nme:$5$a$b".encode()})
    program = Program(Limits(1, 100), [Bind(80, (("127.0.0.1", 1),), tls=False)])
    for number, wanted in enumerate(({}, given_annotations, canary)):
        ingress = ingress_of(f"i{number}", host, f"/{path}", kind=kind, annotations=wanted)
        origin = Origin("Ingress", "default", f"i{number}")
        routes = [route for route in compile_ingress(ingress, lambda *_: secret).routes if route.port == 80]
        program.put(origin, routes)
    conditional = Match(path="/q", headers=(Condition(header, value),), query=(Condition(header, value, regex=True),))
    program.put(
        Origin("HTTPRoute", "d", "c"), [Route(80, "c.example", conditional, ACTIONS["header value"](value), Origin("HTTPRoute", "d", "c"))]
    )
    program.put_endpoints(Target("default", "web", "80"), (Server("192.0.2.1", 80),))
    change = program.change()
    assert isinstance(change, Reload)
    assert not refusal(tmp_path, change)
