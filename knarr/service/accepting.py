"""What a client says that it takes: Accept, Accept-Encoding. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clause:
    """One media range of an Accept header, or one coding of Accept-Encoding."""

    media_type: str
    parameters: dict[str, str]
    quality: float


def clauses(header: str) -> list[Clause]:
    """The media ranges of a header, the most wanted first."""
    found = [_clause(part) for part in header.split(",") if part.strip()]
    return sorted((clause for clause in found if clause.quality > 0), key=lambda clause: -clause.quality)


def _clause(text: str) -> Clause:
    media_type, *rest = (part.strip() for part in text.split(";"))
    parameters = {name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in rest)}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return Clause(media_type.lower(), parameters, quality)


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Whether a client takes a gzipped body, by its Accept-Encoding header."""
    if b"gzip" not in accept_encoding.lower():
        return False
    return any(clause.media_type == "gzip" for clause in clauses(accept_encoding.decode("latin-1")))
