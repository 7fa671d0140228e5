"""The functions that Kubernetes adds to CEL: regular expressions, URLs, addresses and networks, quantities, formats, versions."""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qs, quote, urlsplit

from knarr.machinery import quantity, validation
from knarr.machinery.cel.errors import EvaluationError
from knarr.machinery.cel.functions import TRAVERSAL, Cost, Library, Sizes, first, matched, one, together, traversed
from knarr.machinery.cel.standard import pattern
from knarr.machinery.cel.types import BOOL, CIDR, DOUBLE, FORMAT, INT, IP, QUANTITY, SEMVER, STRING, URL, Type, list_of, map_of, optional_of
from knarr.machinery.cel.values import INT_MOST, NONE, Optional
from knarr.machinery.custom.formats import FORMATS

KUBERNETES = Library()
function, method = KUBERNETES.function, KUBERNETES.method
MAX_LETTERS = 2048


def _regular_expressions() -> None:
    method("find", (STRING, STRING), STRING, lambda text, found: _all(text, found, 1)[0] if _all(text, found, 1) else "", matched, first)
    method("findAll", (STRING, STRING), list_of(STRING), lambda text, found: _all(text, found, -1), matched, first)
    method("findAll", (STRING, STRING, INT), list_of(STRING), _all, matched, first)


def _all(text: str, found: str, count: int) -> list[str]:
    matches: list[str] = []
    for match in pattern(found).finditer(text):
        if 0 <= count <= len(matches):
            break
        matches.append(match.group(0))
    return matches


@dataclass(frozen=True, slots=True)
class Url:
    cel_type: ClassVar[str] = URL.name
    text: str

    @property
    def parts(self) -> Any:
        return urlsplit(self.text)


def url(text: str) -> Url:
    try:
        parts = urlsplit(text[:MAX_LETTERS])
        _ = parts.port
    except ValueError:
        raise EvaluationError(f"URL parse error during conversion from string: {text[:MAX_LETTERS]}") from None
    if len(text) > MAX_LETTERS or re.search(r"[\x00-\x20\x7f]", text) or not (parts.scheme or text.startswith("/")):
        raise EvaluationError(f"URL parse error during conversion from string: {text[:MAX_LETTERS]}")
    return Url(text)


def _host(found: Url) -> str:
    return str(found.parts.netloc.rpartition("@")[2])


def _hostname(found: Url) -> str:
    host = _host(found)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _urls() -> None:
    function("url", (STRING,), URL, url, traversed(), first)
    # Kubernetes counts one for it, however long the text is: published definitions stay within their limits by that.
    function("isURL", (STRING,), BOOL, _whether(url))
    for name, part in (
        ("getScheme", lambda found: found.parts.scheme),
        ("getHost", _host),
        ("getHostname", _hostname),
        ("getPort", lambda found: str(found.parts.port) if found.parts.port is not None else ""),
        ("getEscapedPath", lambda found: quote(found.parts.path, safe="/%:@!$&'()*+,;=~-._")),
    ):
        method(name, (URL,), STRING, part, one, first)
    method(
        "getQuery",
        (URL,),
        map_of(STRING, list_of(STRING)),
        lambda found: parse_qs(found.parts.query, keep_blank_values=True, max_num_fields=1000),
    )


def _query(found: Url) -> dict[str, list[str]]:
    return parse_qs(found.parts.query, keep_blank_values=True, max_num_fields=1000)


def _whether(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except EvaluationError:
            return False
        return True

    return check


@dataclass(frozen=True, slots=True)
class Ip:
    cel_type: ClassVar[str] = IP.name
    address: Any

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Cidr:
    """``address`` is what was written, ``network`` where it lies."""

    cel_type: ClassVar[str] = CIDR.name
    address: Any
    network: Any

    def __str__(self) -> str:
        return f"{self.address}/{self.network.prefixlen}"

    @property
    def cel_size(self) -> int:
        """The bytes of its prefix."""
        return int(-(-self.network.prefixlen // 8))


def ip(text: str) -> Ip:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise EvaluationError(f"IP Address {text!r} parse error during conversion from string") from None
    if "%" in text:
        raise EvaluationError(f"IP address {text!r} with zone value is not allowed")
    if found.version == 6 and found.ipv4_mapped is not None:
        raise EvaluationError(f"IPv4-mapped IPv6 address {text!r} is not allowed")
    return Ip(found)


def cidr(text: str) -> Cidr:
    address, slash, bits = text.partition("/")
    if not slash or not bits.isdecimal() or "%" in address:
        raise EvaluationError(f"network address parse error during conversion from string: {text!r}")
    try:
        return Cidr(ip(address).address, ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise EvaluationError(f"network address parse error during conversion from string: {text!r}") from None


def _addresses() -> None:
    function("ip", (STRING,), IP, ip, traversed())
    function("isIP", (STRING,), BOOL, _whether(ip), traversed())
    function("ip.isCanonical", (STRING,), BOOL, lambda text: str(ip(text)) == text, traversed(times=2))
    function("cidr", (STRING,), CIDR, cidr, traversed())
    function("isCIDR", (STRING,), BOOL, _whether(cidr), traversed())
    for sort, result in ((IP, STRING), (CIDR, STRING)):
        function("string", (sort,), result, str, one, lambda sizes: 43)
    method("family", (IP,), INT, lambda found: found.address.version)
    method("isUnspecified", (IP,), BOOL, lambda found: found.address.is_unspecified)
    method("isLoopback", (IP,), BOOL, lambda found: found.address.is_loopback)
    method("isLinkLocalMulticast", (IP,), BOOL, lambda found: _in(found, "224.0.0.0/24", "ff02::/16"))
    method("isLinkLocalUnicast", (IP,), BOOL, lambda found: found.address.is_link_local)
    method("isGlobalUnicast", (IP,), BOOL, _is_global_unicast)
    method("ip", (CIDR,), IP, lambda found: Ip(found.address))
    method("masked", (CIDR,), CIDR, lambda found: Cidr(found.network.network_address, found.network))
    method("prefixLength", (CIDR,), INT, lambda found: found.network.prefixlen)
    for sort, read in ((STRING, ip), (IP, lambda found: found)):
        method("containsIP", (CIDR, sort), BOOL, functools.partial(_contains_ip, read), _prefixes(sort))
    for sort, read in ((STRING, cidr), (CIDR, lambda found: found)):
        method("containsCIDR", (CIDR, sort), BOOL, functools.partial(_contains_cidr, read), _prefixes(sort, masked=True))


def _prefixes(sort: Type, *, masked: bool = False) -> Cost:
    """Two prefixes are compared, once the other one is read if it is a text, and masked if it is a network."""

    def cost(sizes: Sizes) -> int:
        reading = -(-sizes[1] // TRAVERSAL) if sort is STRING else 0
        masking = -(-sizes[0] // TRAVERSAL) + 1 if masked else 0
        return -(-2 * sizes[0] // TRAVERSAL) + masking + reading

    return cost


def _in(found: Ip, *networks: str) -> bool:
    return any(found.address in ipaddress.ip_network(network) for network in networks)


def _is_global_unicast(found: Ip) -> bool:
    address = found.address
    limited = address == ipaddress.ip_address("255.255.255.255")
    return not (address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local or limited)


def _contains_ip(read: Callable[[Any], Ip], found: Cidr, other: Any) -> bool:
    return read(other).address in found.network


def _contains_cidr(read: Callable[[Any], Cidr], found: Cidr, other: Any) -> bool:
    inner = read(other).network
    return bool(inner.version == found.network.version and inner.subnet_of(found.network))


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity; two are equal when they are as much, however they are written."""

    cel_type: ClassVar[str] = QUANTITY.name
    text: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Amount) and quantity.compare(self.text, other.text) == 0

    def __hash__(self) -> int:
        return hash(quantity.parse(self.text))

    def __lt__(self, other: Amount) -> bool:
        return quantity.compare(self.text, other.text) < 0

    def __str__(self) -> str:
        return self.text


def amount(text: str) -> Amount:
    try:
        return Amount(quantity.canonical(text))
    except (ValueError, OverflowError, ArithmeticError):
        raise EvaluationError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'") from None


def _quantities() -> None:
    function("quantity", (STRING,), QUANTITY, amount, traversed())
    function("isQuantity", (STRING,), BOOL, _whether(amount), traversed())
    method("sign", (QUANTITY,), INT, lambda found: quantity.compare(found.text, "0"))
    method("isInteger", (QUANTITY,), BOOL, lambda found: _integer(found) is not None)
    method("asInteger", (QUANTITY,), INT, _as_integer)
    method("asApproximateFloat", (QUANTITY,), DOUBLE, lambda found: float(quantity.parse(found.text)))
    method("isGreaterThan", (QUANTITY, QUANTITY), BOOL, lambda found, other: found > other)
    method("isLessThan", (QUANTITY, QUANTITY), BOOL, lambda found, other: found < other)
    method("compareTo", (QUANTITY, QUANTITY), INT, lambda found, other: quantity.compare(found.text, other.text))
    for name, run in (("add", quantity.add), ("sub", quantity.subtract)):
        method(name, (QUANTITY, QUANTITY), QUANTITY, lambda found, other, run=run: Amount(run(found.text, other.text)))
        method(name, (QUANTITY, INT), QUANTITY, lambda found, other, run=run: Amount(run(found.text, str(other))))


def _integer(found: Amount) -> int | None:
    number = quantity.parse(found.text)
    whole = int(number)
    # The largest is what all larger ones are cut to.
    return whole if whole == number and -INT_MOST - 1 <= whole < INT_MOST else None


def _as_integer(found: Amount) -> int:
    whole = _integer(found)
    if whole is None:
        raise EvaluationError("cannot convert value to integer")
    return whole


@dataclass(frozen=True, slots=True)
class NamedFormat:
    cel_type: ClassVar[str] = FORMAT.name
    name: str
    check: Callable[[str], list[str]]


def _by_openapi(name: str, words: str) -> Callable[[str], list[str]]:
    return lambda text: [] if FORMATS[name](text) else [words]


def _uri(text: str) -> list[str]:
    return [] if _whether(url)(text) else [f"invalid URI: {text[:MAX_LETTERS]}"]


def _as_prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: check(text[:-1] + "a" if len(text) > 1 and text.endswith("-") else text)


NAMED_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": validation.dns1123_label,
    "dns1123Subdomain": validation.dns1123_subdomain,
    "dns1035Label": validation.dns1035_label,
    "qualifiedName": validation.qualified_name,
    "dns1123LabelPrefix": _as_prefix(validation.dns1123_label),
    "dns1123SubdomainPrefix": _as_prefix(validation.dns1123_subdomain),
    "dns1035LabelPrefix": _as_prefix(validation.dns1035_label),
    "labelValue": validation.label_value,
    "uri": _uri,
    "uuid": _by_openapi("uuid", "does not match the UUID format"),
    "byte": _by_openapi("byte", "invalid base64"),
    "date": _by_openapi("date", "invalid date"),
    "datetime": _by_openapi("date-time", "invalid datetime"),
}


def _formats() -> None:
    function("format.named", (STRING,), optional_of(FORMAT), _named)
    for name, check in NAMED_FORMATS.items():
        function(f"format.{name}", (), FORMAT, lambda name=name, check=check: NamedFormat(name, check))
    method(
        "validate", (FORMAT, STRING), optional_of(list_of(STRING)), _validate, lambda sizes: max(1, sizes[1] // 10 * 13), lambda sizes: 16
    )


def _validation(sizes: Sizes) -> int:
    """A pattern of about 128 letters against the text."""
    return max(1, sizes[1] // 10 * 13)


def _named(name: str) -> Optional:
    check = NAMED_FORMATS.get(name)
    return NONE if check is None else Optional(True, NamedFormat(name, check))


def _validate(found: NamedFormat, text: str) -> Optional:
    problems = found.check(text)
    return Optional(True, problems) if problems else NONE


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    cel_type: ClassVar[str] = SEMVER.name
    numbers: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    @property
    def _order(self) -> tuple[Any, ...]:
        # A release comes after what led to it; numbers come before words.
        return self.numbers, not self.pre, tuple((not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in self.pre)

    def __lt__(self, other: Version) -> bool:
        return self._order < other._order


_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII)


def semver(text: str, normalize: bool = False) -> Version:
    match = _SEMVER.fullmatch(_normalized(text) if normalize else text) if len(text) <= 256 else None
    if match is None:
        raise EvaluationError(f"semver parse error: {text[:256]!r}")
    pre = tuple((match[4] or "").split(".")) if match[4] else ()
    if any(part.isdecimal() and len(part) > 1 and part[0] == "0" for part in pre):
        raise EvaluationError("Numeric PreRelease version must not contain leading zeroes")
    return Version((int(match[1]), int(match[2]), int(match[3])), pre)


def _normalized(text: str) -> str:
    head = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", text, re.ASCII)
    if head is None:
        return text
    return ".".join(str(int(part or "0")) for part in head.groups()) + text[head.end() :]


def _versions() -> None:
    function("semver", (STRING,), SEMVER, semver, traversed())
    function("semver", (STRING, BOOL), SEMVER, semver, traversed(0))
    function("isSemver", (STRING,), BOOL, _whether(semver), traversed())
    function("isSemver", (STRING, BOOL), BOOL, lambda text, normalize: _whether(lambda found: semver(found, normalize))(text), traversed(0))
    for index, name in enumerate(("major", "minor", "patch")):
        method(name, (SEMVER,), INT, lambda found, index=index: found.numbers[index])
    method("isGreaterThan", (SEMVER, SEMVER), BOOL, lambda found, other: found > other)
    method("isLessThan", (SEMVER, SEMVER), BOOL, lambda found, other: found < other)
    method("compareTo", (SEMVER, SEMVER), INT, lambda found, other: (found > other) - (found < other))


def _patches() -> None:
    function("jsonpatch.escapeKey", (STRING,), STRING, lambda text: text.replace("~", "~0").replace("/", "~1"), traversed(), together)


_regular_expressions()
_urls()
_addresses()
_quantities()
_formats()
_versions()
_patches()
