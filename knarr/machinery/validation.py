"""Why an object is refused, in Kubernetes' words: field paths, causes and the formats of names and values.

A format check takes a value and answers a list of sentences, empty when the value is well formed;
``check_format`` makes causes of them.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from knarr.machinery.errors import Cause

NOT_NEGATIVE = "must be greater than or equal to 0"
IMMUTABLE = "field is immutable"
EMPTY = "must be non-empty"

Format = Callable[[str], list[str]]


class Path(str):
    """A field path such as ``spec.containers[0].ports[1].name``."""

    __slots__ = ()

    def child(self, *names: str) -> Path:
        more = names[0] if len(names) == 1 else ".".join(names)
        return Path(f"{self}.{more}" if self else more)

    def index(self, position: int) -> Path:  # type: ignore[override]
        return Path(f"{self}[{position}]")

    def key(self, key: str) -> Path:
        return Path(f"{self}[{key}]")


class Verbatim(str):
    """A value that is already written as an error message shows it."""

    __slots__ = ()


class Structure(dict[str, Any]):
    """A value's fields by their names in Go, in the order that they have there."""


# What is too large to be of use to anybody.
CUT, CUT_LIST, CUT_TEXT = Verbatim("{…}"), Verbatim("[…]"), Verbatim('"…"')


def shown(value: Any) -> str:
    """A value as an error message shows it: as JSON. Maps are sorted; an empty list is none."""
    if isinstance(value, Verbatim):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        keys = value if isinstance(value, Structure) else sorted(value)
        return "{" + ",".join(f"{shown(str(key))}:{shown(value[key])}" for key in keys) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(shown(item) for item in value) + "]" if value else "null"
    return str(value)


def _with(head: str, detail: str) -> str:
    return f"{head}: {detail}" if detail else head


# Kubernetes' path of what is wrong with no field alone.
NO_FIELD = "[]"


def required(path: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", _with("Required value", detail), path)


def invalid(path: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", _with(f"Invalid value: {shown(value)}", detail), path)


def invalid_as_it_is(path: str, detail: str) -> Cause:
    """As ``invalid`` about something too large, or too far apart, to be shown."""
    return Cause("FieldValueInvalid", _with("Invalid value", detail), path)


def not_supported(path: str, value: Any, supported: Iterable[str]) -> Cause:
    choices = ", ".join(shown(choice) for choice in sorted(supported))
    return Cause("FieldValueNotSupported", _with(f"Unsupported value: {shown(value)}", f"supported values: {choices}"), path)


def check_distinct_choices(path: Path, values: Sequence[str], choices: Sequence[str]) -> list[Cause]:
    """About each of ``values`` that is none of ``choices``, and each that is there already."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value not in choices:
            causes.append(not_supported(path.index(index), value, choices))
        if value in seen:
            causes.append(duplicate(path.index(index), value))
        seen.add(value)
    return causes


def check_distinct(path: Path, values: Iterable[str]) -> list[Cause]:
    """About each of ``values`` that is there already."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            causes.append(duplicate(path.index(index), value))
        seen.add(value)
    return causes


def check_each(path: Path, values: Sequence[Any], limit: int | None, check: Callable[[Any, Path], list[Cause]]) -> list[Cause]:
    """What ``check`` says of each of ``values``; where there are too many, none is looked at."""
    if limit is not None and len(values) > limit:
        return [too_many(path, len(values), limit)]
    return [cause for index, value in enumerate(values) for cause in check(value, path.index(index))]


def duplicate(path: str, value: Any, detail: str = "") -> Cause:
    return Cause("FieldValueDuplicate", _with(f"Duplicate value: {shown(value)}", detail), path)


def not_found(path: str, value: Any, detail: str = "") -> Cause:
    return Cause("FieldValueNotFound", _with(f"Not found: {shown(value)}", detail), path)


def forbidden(path: str, detail: str = "") -> Cause:
    return Cause("FieldValueForbidden", _with("Forbidden", detail), path)


def too_long(path: str, limit_bytes: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit_bytes} byte{'s' if limit_bytes != 1 else ''}", path)


def too_many(path: str, count: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} item{'s' if limit != 1 else ''}", path)


def check_format(path: str, value: str, format_: Format) -> list[Cause]:
    """One Invalid cause for every sentence of a format check."""
    return [invalid(path, value, sentence) for sentence in format_(value)]


def check_named(path: str, value: str, format_: Format) -> list[Cause]:
    """As ``check_format`` about what has to be given: Required when empty."""
    return check_format(path, value, format_) if value else [required(path)]


def check_port_number(path: str, value: int) -> list[Cause]:
    return [] if 1 <= value <= 65535 else [invalid(path, value, range_error(1, 65535))]


def check_not_negative(path: str, value: int) -> list[Cause]:
    return [invalid(path, value, NOT_NEGATIVE)] if value < 0 else []


def check_choice(path: str, value: str, choices: Iterable[str], *, optional: bool = False) -> list[Cause]:
    """Required when empty (unless optional), NotSupported when it is none of the choices."""
    if not value:
        return [] if optional else [required(path)]
    return [] if value in choices else [not_supported(path, value, choices)]


def check_given_choice(path: str, message: Message, field: str, choices: Iterable[str]) -> list[Cause]:
    """NotSupported when the message's field is given, an empty text too, and is none of the choices."""
    value = getattr(message, field)
    return [] if value in choices or not message.HasField(field) else [not_supported(path, value, choices)]


def check_immutable(path: str, new: Any, old: Any, value: Any = None) -> list[Cause]:
    """Invalid when the two differ; ``value`` is what to show when it is not ``new`` itself."""
    return [] if new == old else [invalid(path, new if value is None else value, IMMUTABLE)]


def range_error(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def length_error(limit: int) -> str:
    return f"must be no more than {limit} characters"


def regex_error(sentence: str, pattern: str, *examples: str) -> str:
    shown_examples = "e.g. " + " or ".join(f"'{example}', " for example in examples) if examples else ""
    return f"{sentence} ({shown_examples}regex used for validation is '{pattern}')"


def _form(sentence: str, pattern: str, *examples: str, limit: int | None = None) -> Format:
    """The check that a value matches a pattern and has at most so many characters. Pattern and words are made once."""
    matches, message = re.compile(pattern, re.ASCII).fullmatch, regex_error(sentence, pattern, *examples)

    def check(value: str) -> list[str]:
        found = [length_error(limit)] if limit is not None and len(value) > limit else []
        return found if matches(value) else [*found, message]

    return check


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
_NAME_PART = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_NAME_SENTENCE = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_NAME_ERROR = regex_error(_NAME_SENTENCE, _NAME_PART, "MyName", "my.name", "123-abc")

_dns1123_label = _form(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
    limit=63,
)
dns1123_subdomain = _form(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    rf"{_LABEL}(\.{_LABEL})*",
    "example.com",
    limit=253,
)


def dns1123_label(value: str) -> list[str]:
    """One part of a DNS name. Of several it is said shortly."""
    found = _dns1123_label(value)
    return found if not found or not _SUBDOMAIN.fullmatch(value) or "." not in value else [*found[:-1], "must not contain dots"]


# Services that DNS is asked for (`_sip._udp`) are called so.
_UNDERSCORED = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
underscored_subdomain = _form(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
    "and must start and end with an alphanumeric character",
    rf"{_UNDERSCORED}(\.{_UNDERSCORED})*",
    "example.com",
    limit=253,
)
dns1035_label = _form(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character",
    "[a-z]([-a-z0-9]*[a-z0-9])?",
    "my-name",
    "abc-123",
    limit=63,
)
_wildcard = _form(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric "
    "characters, '-' or '.' and end with an alphanumeric character",
    rf"\*\.{_LABEL}(\.{_LABEL})*",
    "*.example.com",
    limit=253,
)
label_value = _form(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    f"({_NAME_PART})?",
    "MyValue",
    "my_value",
    "12345",
    limit=63,
)
c_identifier = _form(
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
    "[A-Za-z_][A-Za-z0-9_]*",
    "my_name",
    "MY_NAME",
    "MyName",
)
condition_reason = _form(
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', "
    "and must end with an alphanumeric character or '_'",
    "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
    "my_name",
    "MY_NAME",
    "MyName",
    "ReasonA,ReasonB",
    "ReasonA:ReasonB",
)
http_header_name = _form("a valid HTTP header must consist of alphanumeric characters or '-'", "[-A-Za-z0-9]+", "X-Header-Name")
percent = _form("a valid percent string must be a numeric string followed by an ending '%'", "[0-9]+%", "1%", "93%")
_name_part = _form(_NAME_SENTENCE, _NAME_PART, "MyName", "my.name", "123-abc", limit=63)
_config_key = _form(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    "[-._a-zA-Z0-9]+",
    "key.name",
    "KEY_NAME",
    "key-name",
    limit=253,
)


def path_segment(value: str) -> list[str]:
    """What may stand between two slashes of a path: the names of kinds that ask for no more."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{part}'" for part in ("/", "%") if part in value]


def qualified_name(value: str) -> list[str]:
    """A label or annotation key: a name with an optional DNS prefix, ``example.com/name``."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return [f"a valid label key {_NAME_ERROR} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    found = []
    if slash:
        found = [f"prefix part {text}" for text in (dns1123_subdomain(prefix) if prefix else [EMPTY])]
    if not name:
        return [*found, f"name part {EMPTY}", f"name part {_NAME_ERROR}"]
    return found + [f"name part {text}" for text in _name_part(name)]


_http_path = _form("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+")


def check_domain_prefixed(path: str, value: str) -> list[Cause]:
    """A path under somebody's domain: ``example.com/name``."""
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        return [invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    return check_format(path, domain, dns1123_subdomain) + check_format(path, rest, _http_path)


def env_var_name(value: str) -> list[str]:
    """What is not empty, can be printed and has no equals sign: what a process can be given."""
    if not value:
        return [f"environment variable name {EMPTY}"]
    printed = value.isascii() and value.isprintable() and "=" not in value
    return [] if printed else ["a valid environment variable name must consist only of printable ASCII characters other than '='"]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or a Secret: it may become a file name."""
    return _config_key(value) + _dots(value)


def _dots(value: str) -> list[str]:
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    return ["must not start with '..'"] if value.startswith("..") else []


def wildcard_subdomain(value: str) -> list[str]:
    """A DNS name whose first label is a star: ``*.example.com``."""
    return _wildcard(value)


def port_name(value: str) -> list[str]:
    """The name of a container's port (an IANA service name)."""
    found = [length_error(15)] if len(value) > 15 else []
    if not re.fullmatch("[-a-z0-9]+", value, re.ASCII):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


# Rules that came later than the fields: what an object says already it may go on saying.
_ZEROS_IN_ADDRESS = "must not have leading 0s"
_MAPPED_ADDRESS = "must not be an IPv4-mapped IPv6 address"
_ZEROS_IN_RANGE = "must not have leading 0s in IP or prefix length"
_MAPPED_RANGE = "must not have an IPv4-mapped IPv6 address"
_NO_RANGE = "must not have bits set beyond the prefix length"
NO_INTEGER = "must be a 32bit integer"
# As those about where a projected token lies; all other paths were always held to them.
NOT_RELATIVE = "must be a relative path"
CLIMBING = "must not contain '..'"
RESERVED = "must not start with '..'"
TIGHTENED = frozenset(
    {_ZEROS_IN_ADDRESS, _MAPPED_ADDRESS, _ZEROS_IN_RANGE, _MAPPED_RANGE, _NO_RANGE, NO_INTEGER, NOT_RELATIVE, CLIMBING, RESERVED}
)
# Of an octet, as ``010`` in ``10.9.010.1``: some take it for octal, others do not.
_LEADING_ZEROS = re.compile(r"(?<![0-9A-Fa-f])0+(?=[0-9]+(?:\.|$))")


def _address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    # Python would take an IPv6 address with a zone (fd00::1%eth0) too, which means something on one machine only.
    try:
        return None if "%" in value else ipaddress.ip_address(value)
    except ValueError:
        return None


def _without_leading_zeros(value: str) -> str:
    head, colon, octets = value.rpartition(":")
    return head + colon + _LEADING_ZEROS.sub("", octets) if "." in octets else value


def is_address(value: str) -> bool:
    """Whether somebody may take it for an address."""
    return _address(_without_leading_zeros(value)) is not None


def ip_address(value: str) -> list[str]:
    """An address that everybody reads alike."""
    address = _address(value)
    if address is None:
        return [_ZEROS_IN_ADDRESS if is_address(value) else "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [_MAPPED_ADDRESS] if _is_mapped(address) else []


def _is_mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def cidr(value: str) -> list[str]:
    """A range of addresses that begins where it says."""
    text, _, digits = value.partition("/")
    address = _address(_without_leading_zeros(text))
    # Python would take a netmask (10.0.0.0/255.0.0.0) too.
    if address is None or not (digits.isascii() and digits.isdecimal()) or int(digits[:20]) > address.max_prefixlen:
        return ["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"]
    if _address(text) is None or digits != str(int(digits)):
        return [_ZEROS_IN_RANGE]
    if _is_mapped(address):
        return [_MAPPED_RANGE]
    return [] if ipaddress.ip_network(value, strict=False).network_address == address else [_NO_RANGE]


def but_kept(causes: list[Cause], before: Callable[[], list[Cause]]) -> list[Cause]:
    """``causes`` of a changed object without those that a tightened rule has about a value which was there ``before``, wherever it
    stands now; asked only where there are such."""
    if not any(cause.message.endswith(sentence) for cause in causes for sentence in TIGHTENED):
        return causes
    kept = {cause.message for cause in before() for sentence in TIGHTENED if cause.message.endswith(sentence)}
    return [cause for cause in causes if cause.message not in kept]
