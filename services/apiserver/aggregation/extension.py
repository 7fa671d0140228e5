"""One group version that another server serves: what its APIService says, whom to trust there, and what it was found to serve."""

from __future__ import annotations

import ssl
from typing import Any

from knarr.api.apiregistration.v1 import apiregistration_pb2 as apiregistration
from knarr.machinery.resources import Resource, Version
from knarr.objects.conditions import is_true
from services.apiserver.aggregation.front_proxy import FrontProxy
from services.apiserver.aggregation.priorities import Priority
from services.apiserver.aside import in_turn
from services.apiserver.exchange.line import Trust
from services.apiserver.strategies.apiservice import AVAILABLE

Json = dict[str, Any]


class Extension:
    """Made anew for each new ``spec``; the rest follows what becomes of the server."""

    def __init__(self, name: str, spec: apiregistration.APIServiceSpec, front_proxy: FrontProxy | None) -> None:
        self.name, self.spec = name, spec
        self.group, self.version = spec.group, spec.version
        self.priority = Priority(spec.group_priority_minimum, spec.version_priority)
        self._front_proxy = front_proxy
        self._trust: Trust | None = None
        self._generation = -1
        # Whether requests are passed on, as the APIService's condition says.
        self.available = False
        # What it serves, as aggregated discovery has it; None while it was never heard.
        self.resources: list[Json] | None = None
        self._told: list[Json] | None = None
        self._served: list[Resource] = []
        # Whether that is what it said when it was asked last.
        self.fresh = False
        # Where its OpenAPI v3 document is, with its hash; empty where it has none.
        self.openapi_url = ""
        # Its OpenAPI v2: paths and definitions of its group version.
        self.openapi_v2: Json | None = None

    def served(self) -> list[Resource]:
        """Those of its resources whose objects controllers delete; the same objects while it says the same."""
        if self._told is not self.resources:
            self._told = self.resources
            self._served = [_resource(self, found) for found in self.resources or () if _is_deletable(found)]
        return self._served

    @property
    def host(self) -> str:
        """As it stands in a URL."""
        service = self.spec.service
        return f"{service.name}.{service.namespace}.svc" + (f":{service.port}" if service.port != 443 else "")

    @property
    def path(self) -> str:
        return f"/apis/{self.group}/{self.version}"

    async def trust(self) -> Trust:
        """Raises OSError or ssl.SSLError where the caBundle holds no certificates, or our own cannot be read."""
        generation = self._front_proxy.generation if self._front_proxy is not None else 0
        if self._trust is None or self._generation != generation:
            service = self.spec.service
            # To read all the system's authorities takes a tenth of a second.
            self._trust = Trust(await in_turn(self._context), f"{service.name}.{service.namespace}.svc")
            self._generation = generation
        return self._trust

    def _context(self) -> ssl.SSLContext:
        spec = self.spec
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if spec.insecure_skip_tls_verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif spec.ca_bundle:
            context.load_verify_locations(cadata=spec.ca_bundle.decode("ascii", "replace"))
        else:
            context.load_default_certs()
        # As Go's clients do, whatever stands in the bundle is trusted, be it signed by itself or not.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.set_alpn_protocols(["http/1.1"])
        if self._front_proxy is not None:
            self._front_proxy.show(context)
        return context

    def follow(self, status: apiregistration.APIServiceStatus) -> bool:
        """Takes over what the APIService says of it; whether that is news."""
        available = is_true(status, AVAILABLE)
        changed, self.available = available != self.available, available
        return changed


def _is_deletable(found: Json) -> bool:
    kind = found.get("responseKind", {}).get("kind")
    return bool(kind) and {"list", "delete"} <= set(found["verbs"])


def _resource(extension: Extension, found: Json) -> Resource:
    """Its objects are JSON."""
    # What custom resources stand on is loaded by those who have some.
    from knarr.machinery.custom.form import CustomForm
    from knarr.machinery.custom.objects import custom_class

    kind, plural = found["responseKind"]["kind"], found["resource"]
    message = custom_class(f"{extension.group}/{extension.version}", kind)
    version = Version(extension.group, extension.version, kind, message, message, form=CustomForm(message))
    verbs = tuple(verb for verb in ("delete", "get", "list", "update", "watch") if verb in found["verbs"])
    key = f"elsewhere/{extension.group}/{extension.version}/{plural}"
    return Resource(plural, (version,), namespaced=found["scope"] == "Namespaced", verbs=verbs, stored=False, key=key)
