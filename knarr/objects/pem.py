"""The blocks of PEM text, read as leniently as Kubernetes reads them: what is no whole block is passed over."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass

CERTIFICATE = "CERTIFICATE"
BEGIN, END, RIM = "-----BEGIN ", "-----END ", "-----"
LINE_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Block:
    """``label`` says of what kind ``data`` is; ``has_headers``: lines of names and values stand before it."""

    label: str
    data: bytes
    has_headers: bool = False


def blocks(text: str) -> Iterator[Block]:
    """Every block of a text, in order. Takes as long as the text is, whatever stands in it."""
    label, lines, headers = "", list[str](), False
    for line in text.splitlines():
        line = line.rstrip()
        if line.startswith(BEGIN) and line.endswith(RIM):
            label, lines, headers = line[len(BEGIN) : -len(RIM)], [], False
        elif not label:
            continue
        elif line.startswith(END):
            data = _decoded(lines)
            if line == f"{END}{label}{RIM}" and data is not None:
                yield Block(label, data, headers)
            label = ""
        elif ":" in line:
            headers = True
        else:
            lines.append(line)


def encoded(label: str, data: bytes) -> str:
    """A block of its own, with its line end."""
    body = b64encode(data).decode()
    lines = [body[start : start + LINE_CHARACTERS] for start in range(0, len(body), LINE_CHARACTERS)]
    return "\n".join([f"{BEGIN}{label}{RIM}", *lines, f"{END}{label}{RIM}", ""])


def _decoded(lines: list[str]) -> bytes | None:
    try:
        return b64decode("".join(lines).replace(" ", ""), validate=True)
    except (binascii.Error, ValueError):
        return None
