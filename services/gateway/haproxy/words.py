"""How words of objects get into HAProxy's configuration: quoted, so that they are nothing but words, or not at all.

A configuration is read line by line; in single quotes everything but a single quote stands for itself. Where HAProxy reads a format of its
own within such a word, a percent sign is doubled. What has control characters is refused: no line may end within a word. Expressions are
refused unless Python and PCRE read them alike.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from ipaddress import ip_network
from urllib.parse import quote

TOKEN = re.compile(r"[0-9A-Za-z_.~-]{1,256}")
HOST = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
VISIBLE = re.compile(r"[\t\x20-\x7e]*")
METHOD = re.compile(r"[A-Z]{1,32}")
# Of an escape in an expression: a class, or a sign that stands for itself.
ESCAPES = frozenset("dDsSwWbB./\\-+*?()[]{}|^$&#~%=:,;!@_<>\"'")
# What of a path need not be written as a percent sign and two digits.
PATH_SAFE = "/-._~!$&'()*+,;=:@%"
LONGEST, LONGEST_EXPRESSION = 4096, 512


class BadWord(ValueError):
    """In words for the user; it does not say where it stands."""


def quoted(text: str) -> str:
    """As one word of a configuration, whatever is in it."""
    if VISIBLE.fullmatch(text) is None:
        raise BadWord(f"{shown(text)} has characters that are neither visible ASCII nor a blank")
    if len(text) > LONGEST:
        raise BadWord(f"is {len(text)} characters long; {LONGEST} are possible")
    return "'" + text.replace("'", "'\\''") + "'"


def formatted(text: str) -> str:
    """As one word where HAProxy looks for variables: there are none. An empty word, which it takes for none, is one."""
    return quoted(text.replace("%", "%%")) if text else "'%[str()]'"


def token(text: str) -> str:
    """The name of a header, a cookie or a query parameter."""
    if TOKEN.fullmatch(text) is None:
        raise BadWord(f"{shown(text)} is no name that can be used here: letters, digits, '_', '.', '~' and '-'")
    return text


def method(text: str) -> str:
    if METHOD.fullmatch(text) is None:
        raise BadWord(f"{shown(text)} is no method, like GET")
    return text


def host(text: str) -> str:
    """A name, or ``*.NAME``, in small letters."""
    if len(text) > 253 or HOST.fullmatch(text) is None:
        raise BadWord(f"{shown(text)} is no host name, like example.com or *.example.com")
    return text


def path(text: str) -> str:
    """A path as clients write it in a request."""
    if not text.startswith("/"):
        raise BadWord(f"{shown(text)} does not begin with a slash")
    written = quote(text, safe=PATH_SAFE)
    if len(written) > LONGEST:
        raise BadWord(f"is {len(written)} characters long; {LONGEST} are possible")
    return written


def network(text: str) -> str:
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError:
        raise BadWord(f"{shown(text)} is no CIDR, like 192.0.2.0/24") from None


def expression(text: str) -> str:
    """A regular expression that Python's and HAProxy's library read alike. BadWord says what of it is not taken."""
    if len(text) > LONGEST_EXPRESSION:
        raise BadWord(f"is {len(text)} characters long; an expression may have {LONGEST_EXPRESSION}")
    if VISIBLE.fullmatch(text) is None or "\t" in text:
        raise BadWord(f"{shown(text)} has characters that are not visible ASCII")
    if re.search(r"\(\?(?!:|i\))", text) or "[[" in text or "[:" in text or re.search(r"[*+?}][+]", text) or "(*" in text:
        raise BadWord(f"{shown(text)}: groups are (…) and (?:…); there are no look-arounds, names, possessive repeats and classes by name")
    position = 0
    while (position := text.find("\\", position)) >= 0:
        if text[position + 1 : position + 2] not in ESCAPES or position + 1 >= len(text):
            raise BadWord(f"{shown(text)}: \\{text[position + 1 : position + 2]} is not taken; \\d, \\s, \\w, \\b and signs are")
        position += 2
    try:
        with warnings.catch_warnings():
            # Python warns of what it will read otherwise one day: sets within sets, and their differences.
            warnings.simplefilter("error", FutureWarning)
            re.compile(text)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise BadWord(f"{shown(text)} is no regular expression: {error}") from None
    return text


def literal(text: str) -> str:
    """An expression that matches a text alone."""
    return re.sub(r"([^0-9A-Za-z_/~%&#=:,;!@-])", r"\\\1", text)


def replacement(text: str) -> str:
    """What comes in the place of what an expression took; ``\\1`` to ``\\9`` are its groups, any other backslash is one."""
    return formatted(re.sub(r"\\(?![0-9])", r"\\\\", text))


def plain(text: str) -> str:
    """As a replacement that has no groups."""
    return formatted(text.replace("\\", "\\\\"))


def shown(text: str) -> str:
    """For messages: never long, never with control characters."""
    return repr(text if len(text) <= 60 else f"{text[:60]}…")


def hash_of(text: str) -> str:
    """A short name for something long."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
