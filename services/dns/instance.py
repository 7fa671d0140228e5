"""One instance of the cluster DNS: its parts, and what it says of itself.

The component starts and stops the parts; the servicer shows them to people.
"""

from __future__ import annotations

from collections.abc import Sequence

from knarr.client.client import Client
from knarr.client.clock import Clock
from services.dns.counters import Counters
from services.dns.follower import Follower
from services.dns.heartbeat import Heartbeat
from services.dns.query.responder import Responder
from services.dns.registration import Registration
from services.dns.settings import DnsSettings
from services.dns.upstream.forwarder import Forwarder
from services.dns.zone.zone import Zone


class Instance:
    """``port``: where DNS is served; 0 before it is bound and after it is closed."""

    def __init__(self, client: Client, settings: DnsSettings, clock: Clock) -> None:
        self.settings = settings
        self.counters = Counters()
        self.forwarder = Forwarder(settings)
        ranges = (settings.service_cidr, settings.pod_cidr)
        self.zone = Zone(settings.domain, settings.ttl_seconds, ranges, pod_names=settings.pod_names)
        self.responder = Responder(self.zone, self.forwarder.resolve, self.counters, settings.udp_payload_bytes)
        self.follower = Follower(client, self.zone, self.responder)
        self.registration = Registration(client, settings, self.follower.services.store, self.follower.slices.store, clock)
        self.heartbeat = Heartbeat(client, clock)
        self.port = 0

    @property
    def ready(self) -> bool:
        """Whether names are complete, the port is open, and the instance is an endpoint of its Service where there is one."""
        return self.responder.synced and self.port != 0 and (self.registration.registered or not self.settings.cluster_ip)

    def problems(self) -> Sequence[str]:
        """What stands in the way of serving all names as they are, in words."""
        found = [self.registration.problem] if self.registration.problem else []
        if not self.responder.synced:
            found.append("the names of the cluster are not complete yet: they are answered SERVFAIL")
        elif not self.heartbeat.reachable:
            found.append("the API server cannot be reached: the last known names are answered")
        if not self.forwarder.upstreams:
            found.append("there is no upstream server: names that are not the cluster's are answered SERVFAIL")
        return found

    def notes(self, name: str) -> Sequence[str]:
        """What a person should know of a name of the cluster, in words."""
        return self.follower.notes(name)
