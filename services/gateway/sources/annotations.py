"""The annotations of ingress-nginx that are honoured; all others of its prefix are told by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from services.gateway.haproxy.words import BadWord, expression, network, shown, token
from services.gateway.routing.actions import HTTP, HTTP2, HTTPS, HTTPS2, Cookie, Cors, Login, Options
from services.gateway.routing.canaries import Canary

PREFIX = "nginx.ingress.kubernetes.io/"
PROTOCOLS = {"HTTP": HTTP, "HTTPS": HTTPS, "GRPC": HTTP2, "GRPCS": HTTPS2}
SIZE = re.compile(r"(\d{1,12})([kKmMgG]?)")
UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
TRUE, FALSE = "true", "false"
# Kinds of passwords that crypt(3) of the distribution checks.
CRYPTS = ("$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$y$")
ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9*.:-]{1,260}")

SecretOf = Callable[[str, str], core.Secret | None]


@dataclass(slots=True)
class Wishes:
    """What annotations ask for. ``problems`` says in words what of it is not done; ``closed`` that nobody may pass, since it is not
    known who may. ``secrets`` are those that were read, namespace and name."""

    options: Options = field(default_factory=Options)
    rewrite_target: str = ""
    use_regex: bool = False
    ssl_redirect: bool = True
    force_ssl_redirect: bool = False
    problems: list[str] = field(default_factory=list)
    secrets: list[tuple[str, str]] = field(default_factory=list)
    closed: bool = False
    canary: Canary | None = None


def read(annotations: Mapping[str, str], namespace: str, secret_of: SecretOf) -> Wishes:
    """Of an Ingress in ``namespace``."""
    reader = _Reader({key.removeprefix(PREFIX): text for key, text in annotations.items() if key.startswith(PREFIX)}, namespace, secret_of)
    return reader.read()


class _Reader:
    def __init__(self, given: Mapping[str, str], namespace: str, secret_of: SecretOf) -> None:
        self._given, self._namespace, self._secret_of = given, namespace, secret_of
        self._known: set[str] = set()
        self._wishes = Wishes()

    def read(self) -> Wishes:
        wishes = self._wishes
        wishes.rewrite_target = self._text("rewrite-target")
        wishes.use_regex = self._flag("use-regex", default=False)
        wishes.ssl_redirect = self._flag("ssl-redirect", default=True)
        wishes.force_ssl_redirect = self._flag("force-ssl-redirect", default=False)
        wishes.options = Options(
            protocol=self._protocol(),
            timeout_seconds=max(self._number("proxy-read-timeout", 86_400), self._number("proxy-send-timeout", 86_400)),
            body_bytes=self._size("proxy-body-size"),
            allowed=self._networks(),
            login=self._login(),
            cors=self._cors(),
            cookie=self._cookie(),
        )
        wishes.canary = self._canary()
        for name in sorted(self._given.keys() - self._known):
            wishes.problems.append(f"the annotation {PREFIX}{name} is not known here, and nothing is done by it")
        return wishes

    def _text(self, name: str) -> str:
        self._known.add(name)
        return self._given.get(name, "").strip()

    def _bad(self, name: str, what: str) -> None:
        self._wishes.problems.append(f"the annotation {PREFIX}{name} is left out: {what}")

    def _flag(self, name: str, *, default: bool) -> bool:
        text = self._text(name)
        if text and text not in (TRUE, FALSE):
            self._bad(name, f"{shown(text)} is neither true nor false")
        return default if text not in (TRUE, FALSE) else text == TRUE

    def _number(self, name: str, most: float) -> float:
        text = self._text(name).removesuffix("s")
        if not text:
            return 0
        if not re.fullmatch(r"\d{1,9}(\.\d{1,3})?", text) or float(text) > most:
            self._bad(name, f"{shown(text)} is no number from 0 to {most:,.0f}")
            return 0
        return float(text)

    def _size(self, name: str) -> int:
        text = self._text(name)
        found = SIZE.fullmatch(text)
        if text and found is None:
            self._bad(name, f"{shown(text)} is no size, like 8m")
        return int(found[1]) * UNITS[found[2].lower()] if found else 0

    def _protocol(self) -> str:
        text = self._text("backend-protocol").upper()
        if text and text not in PROTOCOLS:
            self._bad("backend-protocol", f"{shown(text)} is none of {', '.join(PROTOCOLS)}")
        return PROTOCOLS.get(text, HTTP)

    def _networks(self) -> tuple[str, ...]:
        found = []
        for name in ("whitelist-source-range", "allowlist-source-range"):
            for text in filter(None, (part.strip() for part in self._text(name).split(","))):
                try:
                    found.append(network(text))
                except BadWord as error:
                    self._bad(name, str(error))
                    # Who is let in by a typing error is not known: nobody is.
                    self._wishes.closed = True
        return tuple(found)

    def _login(self) -> Login | None:
        kind, name = self._text("auth-type"), self._text("auth-secret")
        realm, form = self._text("auth-realm") or "Authentication Required", self._text("auth-secret-type") or "auth-file"
        if not kind and not name:
            return None
        self._wishes.closed = True
        if kind != "basic":
            self._bad("auth-type", f"{shown(kind)} is not done, basic is: nobody is let in")
            return None
        namespace, _, found_name = name.rpartition("/")
        if namespace not in ("", self._namespace):
            self._bad("auth-secret", "a Secret of another namespace is not read: nobody is let in")
            return None
        self._wishes.secrets.append((self._namespace, found_name))
        secret = self._secret_of(self._namespace, found_name)
        if secret is None:
            self._bad("auth-secret", f"there is no Secret {self._namespace}/{found_name}: nobody is let in")
            return None
        users = tuple(self._users(secret, form))
        if not users:
            self._bad(
                "auth-secret", f"the Secret {self._namespace}/{found_name} names no user whose password can be checked: nobody is let in"
            )
            return None
        self._wishes.closed = False
        return Login(realm, users)

    def _users(self, secret: core.Secret, form: str) -> list[tuple[str, str]]:
        if form == "auth-map":
            lines = [f"{name}:{value.decode(errors='replace')}" for name, value in secret.data.items()]
        else:
            lines = secret.data.get("auth", b"").decode(errors="replace").splitlines()
        found = []
        for line in lines:
            name, _, password = line.strip().partition(":")
            if not name or name.startswith("#"):
                continue
            if password.startswith(CRYPTS) and password.isprintable() and password.isascii() and name.isprintable() and name.isascii():
                found.append((name, password))
            else:
                self._bad("auth-secret", f"the password of {shown(name)} is not one of bcrypt, MD5 ($1$) or SHA ($5$, $6$): it is left out")
        return found

    def _cors(self) -> Cors | None:
        enabled = self._flag("enable-cors", default=False)
        fresh = Cors()
        origins = tuple(filter(None, (part.strip() for part in self._text("cors-allow-origin").split(",")))) or fresh.origins
        made = Cors(
            tuple(origin for origin in origins if self._origin(origin)),
            self._text("cors-allow-methods") or fresh.methods,
            self._text("cors-allow-headers") or fresh.headers,
            self._text("cors-expose-headers"),
            self._flag("cors-allow-credentials", default=True),
            int(self._number("cors-max-age", 10**9)) or fresh.max_age_seconds,
        )
        return made if enabled and made.origins else None

    def _origin(self, text: str) -> bool:
        good = ORIGIN.fullmatch(text) is not None and text.count("*") <= 1
        if not good:
            self._bad("cors-allow-origin", f"{shown(text)} is no origin, like https://example.com or https://*.example.com")
        return good

    def _cookie(self) -> Cookie | None:
        kind = self._text("affinity")
        same_site = self._text("session-cookie-samesite")
        if same_site not in ("", "Strict", "Lax", "None"):
            self._bad("session-cookie-samesite", f"{shown(same_site)} is none of Strict, Lax and None")
            same_site = ""
        expires, age = (int(self._number(name, 10**9)) for name in ("session-cookie-expires", "session-cookie-max-age"))
        name, secure = self._token("session-cookie-name", "INGRESSCOOKIE"), self._flag("session-cookie-secure", default=False)
        made = Cookie(name, age or expires, same_site, secure)
        if kind not in ("", "cookie"):
            self._bad("affinity", f"{shown(kind)} is not done, cookie is")
        return made if kind == "cookie" else None

    def _canary(self) -> Canary | None:
        wanted = self._flag("canary", default=False)
        whole = int(self._number("canary-weight-total", 10**6)) or 100
        value, pattern = self._text("canary-by-header-value"), self._text("canary-by-header-pattern")
        if pattern and not value:
            try:
                value = expression(pattern)
            except BadWord as error:
                self._bad("canary-by-header-pattern", str(error))
                pattern = ""
        made = Canary(
            int(self._number("canary-weight", whole)),
            whole,
            self._token("canary-by-header", ""),
            value,
            bool(pattern) and value == pattern,
            self._token("canary-by-cookie", ""),
        )
        return made if wanted else None

    def _token(self, name: str, default: str) -> str:
        try:
            return token(self._text(name) or default) if self._text(name) or default else ""
        except BadWord as error:
            self._bad(name, str(error))
            return default
