"""The formats that a schema may ask of strings; others are ignored, as in Kubernetes."""

from __future__ import annotations

import binascii
import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

from knarr.machinery.forms import parse_duration
from knarr.machinery.validation import dns1123_label, dns1123_subdomain

Format = Callable[[str], bool]
# A longer text is none of these; only bytes and passwords may be so long.
MAX_LETTERS = 2048
_SCALA_UNITS = "w(?:eeks?)?|d(?:ays?)?|h(?:ours?)?|m(?:in(?:ute)?s?)?|s(?:ec(?:ond)?s?)?|[mnuµ]s|(?:milli|micro|nano)(?:second)?s?"
_SCALA_DURATION = rf"\d{{1,30}}(?:\.\d{{1,30}})? ?(?:{_SCALA_UNITS})"
_UUID = "[0-9a-fA-F]{{8}}-?[0-9a-fA-F]{{4}}-?{}-?{}-?[0-9a-fA-F]{{12}}"
_HEX4, _VARIANT = "[0-9a-fA-F]{4}", "[89abAB][0-9a-fA-F]{3}"


def _pattern(pattern: str) -> Format:
    """For patterns of a bounded length only, which cannot take long."""
    matches = re.compile(pattern, re.ASCII).fullmatch
    return lambda text: len(text) <= MAX_LETTERS and matches(text) is not None


def _parses(parse: Callable[[str], object]) -> Format:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, OverflowError, TypeError):
            return False
        return True

    return check


def is_byte(text: str) -> bool:
    try:
        b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date_time(text: str) -> None:
    if re.fullmatch(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,30})?(?:[Zz]|[+-]\d\d:\d\d)?", text, re.ASCII) is None:
        raise ValueError(text)
    datetime.fromisoformat(re.sub(r"\.\d+", "", text[:19]))


def _date(text: str) -> None:
    if len(text) != 10:
        raise ValueError(text)
    date.fromisoformat(text)


def _uri(text: str) -> None:
    parts = urlsplit(text)
    if (not parts.scheme and not text.startswith("/")) or any(letter.isspace() or ord(letter) < 0x20 for letter in text):
        raise ValueError(text)
    _ = parts.port


def _duration(text: str) -> None:
    if re.fullmatch(_SCALA_DURATION, text, re.ASCII) is None:
        parse_duration(text)


def _address(version: int) -> Callable[[str], object]:
    def parse(text: str) -> object:
        found = ipaddress.ip_address(text)
        if "%" in text or found.version != version:
            raise ValueError(text)
        return found

    return parse


def _network(text: str) -> object:
    address, slash, bits = text.partition("/")
    if not slash or not bits.isdecimal() or "%" in address:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _isbn10(text: str) -> None:
    digits = text.replace("-", "").replace(" ", "")
    if re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII) is None:
        raise ValueError(text)
    if sum((10 - index) * (10 if digit == "X" else int(digit)) for index, digit in enumerate(digits)) % 11:
        raise ValueError(text)


def _isbn13(text: str) -> None:
    digits = text.replace("-", "").replace(" ", "")
    if (
        re.fullmatch(r"\d{13}", digits, re.ASCII) is None
        or sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits)) % 10
    ):
        raise ValueError(text)


_is_isbn10, _is_isbn13 = _parses(_isbn10), _parses(_isbn13)

FORMATS: dict[str, Format] = {
    "bsonobjectid": _pattern("[0-9a-fA-F]{24}"),
    "uri": _parses(_uri),
    "email": _pattern(r"[^@\s<>]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?"),
    "hostname": _pattern(r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.){0,127}[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}[A-Za-z0-9])?\.?"),
    "ipv4": _parses(_address(4)),
    "ipv6": _parses(_address(6)),
    "cidr": _parses(_network),
    "mac": _pattern(r"[0-9a-fA-F]{2}(?:[:-][0-9a-fA-F]{2}){5,19}|[0-9a-fA-F]{4}(?:\.[0-9a-fA-F]{4}){2,9}"),
    "uuid": _pattern(_UUID.format(_HEX4, _HEX4)),
    "uuid3": _pattern(_UUID.format("3[0-9a-fA-F]{3}", _HEX4)),
    "uuid4": _pattern(_UUID.format("4[0-9a-fA-F]{3}", _VARIANT)),
    "uuid5": _pattern(_UUID.format("5[0-9a-fA-F]{3}", _VARIANT)),
    "isbn": lambda text: _is_isbn10(text) or _is_isbn13(text),
    "isbn10": _is_isbn10,
    "isbn13": _is_isbn13,
    "ssn": _pattern(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _pattern("#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _pattern(r"rgb\(\s{0,9}(?:\d{1,3}\s{0,9},\s{0,9}){2}\d{1,3}\s{0,9}\)"),
    "byte": is_byte,
    "date": _parses(_date),
    "date-time": _parses(_date_time),
    "datetime": _parses(_date_time),
    "duration": _parses(_duration),
    "k8s-short-name": lambda text: not dns1123_label(text),
    "k8s-long-name": lambda text: not dns1123_subdomain(text),
}
