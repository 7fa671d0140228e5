"""The cluster's zone: all names with their records, changed Service by Service. Pure.

Every name that has a record exists, and so does each name above it. A question for a name that exists but has no record of
the type is answered with nothing (NODATA), one for a name that does not exist with NXDOMAIN; both carry the zone's SOA.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import AddressValueError, IPv4Address

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from services.dns.zone.build import service_records
from services.dns.zone.records import NXDOMAIN, SERVFAIL, Answer, Record
from services.dns.zone.reverse import REVERSE_ROOTS, enclosing, reverse_apexes

SPECIFICATION = "1.1.0"
MAX_ALIASES = 8
ANY = "ANY"
# Refresh, retry and expiry of the SOA record, seconds: nobody transfers the zone, the values are the customary ones.
SOA_TIMES = "7200 1800 86400"
Key = tuple[str, str]


class Zone:
    """``put_*`` answer the names whose answers may differ now. Names are lower-case and without a dot at their end."""

    def __init__(self, domain: str, ttl: int, cidrs: Iterable[str] = (), *, pod_names: bool = True) -> None:
        """``cidrs`` are the ranges whose reverse names are the cluster's."""
        self.domain = domain.rstrip(".").lower()
        self._ttl = ttl
        self._pod_names = pod_names
        self._apexes = {self.domain, *(apex for cidr in cidrs for apex in reverse_apexes(cidr))}
        self._records: dict[str, list[Record]] = {}
        self._below: Counter[str] = Counter()
        self._services: dict[Key, list[Record]] = {}
        self._namespaces: set[str] = set()
        self.serial = 1
        self._put_own()

    @property
    def names(self) -> int:
        """How many names have records."""
        return len(self._records)

    @property
    def services(self) -> int:
        return len(self._services)

    def _put_own(self) -> None:
        server = f"kube-dns.kube-system.svc.{self.domain}."
        rule = "the zone itself"
        self._add(Record(self.domain, "NS", self._ttl, server, rule=rule))
        self._add(Record(f"dns-version.{self.domain}", "TXT", self._ttl, f'"{SPECIFICATION}"', rule="the version of the DNS specification"))
        for above in ("svc", "pod") if self._pod_names else ("svc",):
            self._count(f"{above}.{self.domain}", 1)

    def put_service(self, namespace: str, name: str, service: core.Service | None, slices: Iterable[discovery.EndpointSlice]) -> set[str]:
        """Takes a Service as it is now, or as gone."""
        key = (namespace, name)
        old = self._services.get(key, [])
        new = service_records(service, slices, self.domain, self._ttl) if service is not None else []
        if old == new and (key in self._services) == (service is not None):
            return set()
        self.serial += 1
        touched: set[str] = set()
        if (key in self._services) != (service is not None):
            # A Service exists also while it has no record, as a headless one without endpoints.
            touched |= self._count(f"{name}.{namespace}.svc.{self.domain}", 1 if service is not None else -1)
        # What stays is left alone: of a Service with thousands of endpoints mostly one changes.
        before, after = set(old), set(new)
        for record in old:
            if record not in after:
                touched |= self._remove(record)
        for record in new:
            if record not in before:
                touched |= self._add(record)
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = new
        return touched

    def put_namespace(self, name: str, *, exists: bool) -> bool:
        """Takes a namespace as there or as gone; whether that is news, which may change the answers of all names in it."""
        if exists == (name in self._namespaces):
            return False
        (self._namespaces.add if exists else self._namespaces.discard)(name)
        self.serial += 1
        for above in ("svc", "pod") if self._pod_names else ("svc",):
            self._count(f"{name}.{above}.{self.domain}", 1 if exists else -1)
        return True

    def _add(self, record: Record) -> set[str]:
        self._records.setdefault(record.name, []).append(record)
        return self._count(record.name, 1)

    def _remove(self, record: Record) -> set[str]:
        held = self._records[record.name]
        held.remove(record)
        if not held:
            del self._records[record.name]
        return self._count(record.name, -1)

    def _count(self, name: str, by: int) -> set[str]:
        """Counts what is at a name and below it; the names that came or went, and the name itself."""
        touched = {name}
        while name and name not in REVERSE_ROOTS:
            before = self._below[name]
            self._below[name] = before + by
            if not before + by:
                del self._below[name]
            if not before or not before + by:
                touched.add(name)
            if name == self.domain:
                break
            name = name.partition(".")[2]
        return touched

    def holds(self, name: str) -> bool:
        """Whether a name is the cluster's to answer, existing or not."""
        return bool(enclosing(name, self._apexes)) or name in self._records

    def records(self, name: str) -> list[Record]:
        """All records of a name."""
        return [*self._records.get(name, ()), *self._pod(name)]

    def lookup(self, name: str, kind: str) -> Answer | None:
        """The answer to a question for records of type ``kind``; None for a name that is not the cluster's."""
        if not self.holds(name):
            return None
        chain: list[Record] = []
        while True:
            records = self.records(name)
            alias = next((record for record in records if record.type == "CNAME"), None)
            if alias is None or kind == "CNAME":
                return self._end(name, kind, chain, records)
            if alias in chain or len(chain) >= MAX_ALIASES:
                return Answer(SERVFAIL, rule="the aliases of ExternalName Services lead in a circle, or are too many")
            chain.append(alias)
            name = alias.target
            if not self.holds(name):
                return Answer(answers=tuple(chain), follow=name, rule=alias.rule)

    def _end(self, name: str, kind: str, chain: list[Record], records: list[Record]) -> Answer:
        """The answer of the last name of a chain of aliases."""
        found = [record for record in records if record.type == kind]
        if kind == ANY:
            # One set of records is enough (RFC 8482).
            found = [record for record in records if record.type == records[0].type]
        if kind == "SOA" and name in self._apexes:
            found = [self.soa(name)]
        if found:
            additional = tuple(extra for record in found if record.type in ("SRV", "NS") for extra in self._addresses(record.target))
            return Answer(answers=(*chain, *found), additional=tuple(dict.fromkeys(additional)), rule=found[0].rule or "the zone itself")
        authority = (self.soa(enclosing(name, self._apexes) or name),)
        if records or name in self._below or name in self._apexes:
            types = ", ".join(sorted({record.type for record in records}))
            rule = f"the name exists, with {types} only" if types else "the name exists, only names below it have records"
            return Answer(answers=tuple(chain), authority=authority, rule=rule)
        return Answer(NXDOMAIN, tuple(chain), authority, rule=self._why_not(name))

    def _addresses(self, name: str) -> Iterator[Record]:
        return (record for record in self._records.get(name, ()) if record.type in ("A", "AAAA"))

    def _pod(self, name: str) -> list[Record]:
        """The record of `1-2-3-4.NAMESPACE.pod.DOMAIN`, which needs no pod to be there."""
        if not self._pod_names or not name.endswith(f".pod.{self.domain}"):
            return []
        host, _, namespace = name.removesuffix(f".pod.{self.domain}").partition(".")
        if namespace not in self._namespaces or host.count("-") != 3:
            return []
        try:
            address = IPv4Address(host.replace("-", "."))
        except AddressValueError:
            return []
        rule = "the name of a pod is its address, in a namespace that exists"
        return [Record(name, "A", self._ttl, str(address), f"Namespace {namespace}", rule)]

    def soa(self, apex: str) -> Record:
        """The SOA record of a zone; its TTL and last field say how long a negative answer holds."""
        data = f"kube-dns.kube-system.svc.{self.domain}. hostmaster.{self.domain}. {self.serial} {SOA_TIMES} {self._ttl}"
        return Record(apex, "SOA", self._ttl, data, rule="the zone itself")

    def _why_not(self, name: str) -> str:
        """Why a name does not exist."""
        labels = name.removesuffix(f".{self.domain}").split(".") if name.endswith(f".{self.domain}") else []
        if "*" in labels:
            return "wildcards are not answered"
        if labels and labels[-1] == "svc" and len(labels) > 1:
            return self._why_no_service(labels[:-1])
        if labels and labels[-1] == "pod" and len(labels) > 1:
            if labels[-2] not in self._namespaces:
                return f"there is no namespace {labels[-2]}"
            return "a pod's name is its address with dashes, like 10-244-0-5"
        if not labels:
            return "no Service and no endpoint of a headless Service has this address"
        return f"names of the cluster end with .svc.{self.domain}" + (f" or .pod.{self.domain}" if self._pod_names else "")

    def _why_no_service(self, labels: list[str]) -> str:
        """Why a name of a Service does not exist; ``labels`` are those before ``svc``."""
        namespace = labels[-1]
        if namespace not in self._namespaces:
            return f"there is no namespace {namespace}"
        if (namespace, labels[-2]) not in self._services:
            return f"there is no Service {labels[-2]} in namespace {namespace}"
        if labels[0].startswith("_"):
            return f"Service {namespace}/{labels[-2]} has no such named port"
        return f"Service {namespace}/{labels[-2]} has no such ready endpoint, or is not headless"
