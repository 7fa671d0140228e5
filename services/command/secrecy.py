"""Leaves secrets out of what is shown to others: those that are known, wherever they stand, and what has the look of one."""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import orjson

LEFT_OUT = "(left out)"
# A shorter one cannot be told from ordinary words.
LEAST_BYTES = 4
# A larger file is no key or token: a Secret may have so much.
MOST_BYTES = 1 << 20
# Fields that may hold anything, and what has a name beside it: variables of the environment, headers of probes.
OPEN_FIELDS = frozenset({"args", "command"})
HIDDEN_ANNOTATIONS = frozenset({"kubectl.kubernetes.io/last-applied-configuration"})
_LOOKS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----"
    rb"|\beyJ[\w-]+\.[\w-]+\.[\w-]+"
    rb"|(?<=Bearer )[^\s\"']+"
    rb"|(?<=://)[^\s/@:]+:[^\s/@]+(?=@)"
    rb"|(?<=password=)[^\s\"',;&]+",
    re.DOTALL,
)


class Secrets:
    """Those that are known. Each is found as it is, in base64 and as JSON writes it.

    They are looked up by how they begin: a regular expression of all of them takes minutes where there are a hundred keys.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        self._by_start: defaultdict[bytes, list[bytes]] = defaultdict(list)
        forms = {form for value in values for part in _parts(value) for form in _forms(part)}
        # The longest first: one may be a part of another.
        for form in sorted((form for form in forms if len(form) >= LEAST_BYTES), key=len, reverse=True):
            self._by_start[form[:LEAST_BYTES]].append(form)

    def without(self, text: bytes) -> bytes:
        """The text with LEFT_OUT in the place of each."""
        starts, pieces, done = self._by_start, [], 0
        for place in [place for place in range(len(text) - LEAST_BYTES + 1) if text[place : place + LEAST_BYTES] in starts]:
            if place < done:
                continue
            found = next((form for form in starts[text[place : place + LEAST_BYTES]] if text.startswith(form, place)), b"")
            if found:
                pieces += [text[done:place], LEFT_OUT.encode()]
                done = place + len(found)
        return _LOOKS.sub(LEFT_OUT.encode(), b"".join([*pieces, text[done:]]))

    def within(self, value: Any) -> Any:
        """What JSON says, with LEFT_OUT in texts and names alone: a number that a Secret holds, too, is the number of a port."""
        # Most texts come again and again.
        return _each_text(value, cache(lambda text: self.without(text.encode()).decode(errors="replace")))


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(one, change) for one in value]
    if isinstance(value, dict):
        return {change(name): _each_text(one, change) for name, one in value.items()}
    return value


def _parts(value: bytes) -> Iterator[bytes]:
    """A text of several lines is found by each of them, too: so does a log show it."""
    yield value.strip()
    lines = value.split(b"\n")
    yield from (line.strip() for line in lines if len(lines) > 1 and not line.startswith(b"-----"))


def _forms(value: bytes) -> Iterator[bytes]:
    yield value
    yield base64.b64encode(value)
    yield base64.urlsafe_b64encode(value)
    yield orjson.dumps(value.decode(errors="replace"))[1:-1]


def of_files(root: Path) -> Iterator[bytes]:
    """The secrets in a data directory: tokens and their hashes, keys, and those in the kubeconfig."""
    for path in sorted(root.rglob("*")):
        # Pods' volumes lie there, too: files come and go, and some are no secrets but for their names.
        with suppress(FileNotFoundError):
            if not path.is_symlink() and path.is_file() and path.stat().st_size <= MOST_BYTES:
                yield from _of_file(path, root)


def _of_file(path: Path, root: Path) -> Iterator[bytes]:
    if path.suffix in (".key", ".token") or path.name == "token":
        yield path.read_bytes()
    elif path.name == "tokens.csv":
        yield from (field for line in path.read_bytes().splitlines() for field in line.split(b",") if len(field) >= 32)
    elif path == root / "kubeconfig":
        yield from of_text(path.read_bytes())


def of_text(text: bytes) -> Iterator[bytes]:
    """The values of fields in a file of JSON or YAML whose names say that they are secrets."""
    for found in re.finditer(rb"\"?(?:client-key-data|token|password|secret)\"?: *\"?([^\s\"]+)", text):
        yield found[1]
        yield from of_base64(found[1])


def of_base64(text: bytes) -> Iterator[bytes]:
    try:
        yield base64.b64decode(text, validate=True)
    except binascii.Error:
        return


def of_objects(secrets: Iterable[Any]) -> Iterator[bytes]:
    """What Secrets hold."""
    for secret in secrets:
        for value in (secret.get("data") or {}).values():
            yield from of_base64(value.encode())


def shown(obj: Any) -> Any:
    """An object of the API without what may hold anything: variables, arguments, what was applied last, and who wrote which field."""
    if isinstance(obj, list):
        return [shown(one) for one in obj]
    if not isinstance(obj, dict):
        return obj
    kept = {name: shown(value) for name, value in obj.items() if name != "managedFields" and name not in HIDDEN_ANNOTATIONS}
    kept.update({name: [LEFT_OUT] for name in OPEN_FIELDS & kept.keys()})
    if kept.keys() >= {"name", "value"}:
        kept["value"] = LEFT_OUT
    return kept
