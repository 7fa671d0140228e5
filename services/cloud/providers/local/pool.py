"""The addresses that may be given."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network

# In a network of this prefix length or a longer one every address is a host's.
ALL_HOSTS_FROM = 31


@dataclass(frozen=True, slots=True)
class Pool:
    """Ranges of IPv4 addresses, first and last included, in the order in which they are used."""

    ranges: tuple[tuple[IPv4Address, IPv4Address], ...]

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Pool:
        """``10.97.0.0/24`` (without its first and last address), ``10.97.0.10-10.97.0.20`` or ``10.97.0.9``; ValueError names the text."""
        if not texts:
            raise ValueError("must name at least one range, like 10.97.0.0/24")
        ranges = tuple(_range(text) for text in texts)
        for index, (first, last) in enumerate(ranges):
            for other, (start, end) in enumerate(ranges[:index]):
                if first <= end and start <= last:
                    raise ValueError(f"{texts[index]} and {texts[other]} overlap")
        return cls(ranges)

    def __len__(self) -> int:
        return sum(int(last) - int(first) + 1 for first, last in self.ranges)

    def __contains__(self, address: object) -> bool:
        return isinstance(address, IPv4Address) and any(first <= address <= last for first, last in self.ranges)

    def __iter__(self) -> Iterator[IPv4Address]:
        for first, last in self.ranges:
            for number in range(int(first), int(last) + 1):
                yield IPv4Address(number)

    def __str__(self) -> str:
        return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in self.ranges)

    def free(self, taken: Container[IPv4Address], resting: Sequence[IPv4Address] = ()) -> IPv4Address | None:
        """The first address that is neither taken nor resting, else the one that has rested longest; None: all are taken."""
        rests = frozenset(resting)
        fresh = next((address for address in self if address not in taken and address not in rests), None)
        return fresh or next((address for address in resting if address in self and address not in taken), None)


def _range(text: str) -> tuple[IPv4Address, IPv4Address]:
    first, dash, last = (part.strip() for part in text.partition("-"))
    try:
        if dash:
            start, end = IPv4Address(first), IPv4Address(last)
            if start > end:
                raise ValueError(f"{text!r} ends before it begins")
            return start, end
        if "/" not in text:
            return IPv4Address(first), IPv4Address(first)
        network = IPv4Network(first)
    except AddressValueError:
        raise ValueError(f"{text!r} is no range of IPv4 addresses, like 10.97.0.0/24 or 10.97.0.10-10.97.0.20") from None
    if network.prefixlen >= ALL_HOSTS_FROM:
        return network[0], network[-1]
    return network[1], network[-2]
