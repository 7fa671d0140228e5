"""What an object comes to, whatever its kind. Plain values."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.gateway.routing.table import Route

# Of an object that another refers to: its namespace and name.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Keypair:
    """A Secret of certificate and key, and the hosts that it is for; none: all."""

    namespace: str
    secret: str
    hosts: tuple[str, ...]


@dataclass(slots=True)
class Compiled:
    """``problems`` says in words what of an object is not done; ``services`` and ``secrets`` are those whose change changes it."""

    routes: list[Route] = field(default_factory=list)
    keypairs: list[Keypair] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    services: set[Name] = field(default_factory=set)
    secrets: set[Name] = field(default_factory=set)
