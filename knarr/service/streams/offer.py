"""How a client asks for SPDY/3.1, and which protocol is spoken on its streams. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knarr.machinery.errors import bad_request

SPDY = "SPDY/3.1"
VERSION, ACCEPTED = "X-Stream-Protocol-Version", "X-Accepted-Stream-Protocol-Versions"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the client speaks, and what of it is taken: empty for one that names nothing, None where nothing is served."""

    offered: Sequence[str]
    protocol: str | None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Those of the answer that upgrades the connection, beside the upgrade's own."""
        return [(VERSION, self.protocol)] if self.protocol else []


def negotiated(upgrade: str, versions: Iterable[str], served: Sequence[str]) -> Offer:
    """The first protocol of the client's that is served. ``upgrade`` is the header of this name, ``versions`` are the values of VERSION.
    Raises BadRequest for a request that asks for no SPDY."""
    if upgrade.lower() != SPDY.lower():
        raise bad_request("Upgrade request required")
    offered = [protocol.strip() for value in versions for protocol in value.split(",") if protocol.strip()]
    if not offered:
        return Offer(offered, "")
    return Offer(offered, next((protocol for protocol in offered if protocol in served), None))


def unspoken(offer: Offer, served: Sequence[str]) -> str:
    """What is told, with 403 and ``served`` in ACCEPTED, to a client whose protocols are not."""
    return (
        f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offer.offered)}], server accepts [{' '.join(served)}]"
    )
