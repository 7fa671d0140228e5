"""The records of the zone and what a question finds in it."""

from __future__ import annotations

from dataclasses import dataclass

NOERROR, NXDOMAIN, SERVFAIL = "NOERROR", "NXDOMAIN", "SERVFAIL"


@dataclass(frozen=True, slots=True)
class Record:
    """One record. ``name`` is lower-case and has no dot at its end; ``data`` is as in a zone file, names in it end with a dot."""

    name: str
    type: str
    ttl: int
    data: str
    # The object it comes from, as `Service default/web`, and why it is there.
    source: str = ""
    rule: str = ""

    @property
    def target(self) -> str:
        """The name that a CNAME, PTR, NS or SRV record leads to, as ``name`` is written."""
        return self.data.rpartition(" ")[2].rstrip(".").lower()

    def __str__(self) -> str:
        return f"{self.name}. {self.ttl} IN {self.type} {self.data}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the zone says to one question."""

    code: str = NOERROR
    answers: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    # A name outside of the zone where the rest of the answer is; empty when it is all here.
    follow: str = ""
    rule: str = ""
    # The server that gave it, where that was not the zone.
    upstream: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The objects that the answer comes from."""
        return tuple(dict.fromkeys(record.source for record in self.answers if record.source))
