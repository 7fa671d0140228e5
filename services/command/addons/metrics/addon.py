"""metrics: the group metrics.k8s.io, which the API server answers itself."""

from __future__ import annotations

from collections.abc import Sequence

from knarr.objects.built_ins import METRICS
from services.command.addons import built_in
from services.command.addons.addon import OFF, ON, STARTING, Place, State, Tell
from services.command.addons.waiting import wait_for

SERVED = "/apis/metrics.k8s.io/v1beta1"
SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"
SECONDS = 20.0


class Metrics:
    name = METRICS
    what = "what nodes and pods use (kubectl top, knarr top, autoscaling); the API server itself tells it"
    built_in = True

    def state(self, place: Place) -> State:
        service = ((place.api.find(SERVICE) or {}).get("spec") or {}).get("service")
        if service:
            other = f"{service.get('namespace')}/{service.get('name')}"
            return State(ON, f"told by the Service {other} instead", {"service": other})
        if built_in.is_off(place.api, self.name):
            return State(OFF)
        return State(ON) if place.api.find(SERVED) is not None else State(STARTING)

    def enable(self, place: Place, tell: Tell) -> Sequence[str]:
        built_in.turn(place.api, self.name, on=True)
        wait_for(lambda: place.api.find(SERVED) is not None, "metrics.k8s.io to be served", SECONDS)
        return ("`kubectl top nodes`, or `knarr top pods -A`, shows them",)

    def disable(self, place: Place, tell: Tell) -> Sequence[str]:
        built_in.turn(place.api, self.name, on=False)
        wait_for(lambda: self.state(place).state != ON or self._is_others(place), "metrics.k8s.io to be served no more", SECONDS)
        if self._is_others(place):
            return (f"metrics are {self.state(place).words}; `kubectl delete apiservice v1beta1.metrics.k8s.io` ends that",)
        wait_for(lambda: place.api.find(SERVED) is None, "metrics.k8s.io to be served no more", SECONDS)
        return ("HorizontalPodAutoscalers leave their targets as they are until there are metrics again",)

    def _is_others(self, place: Place) -> bool:
        return "service" in self.state(place).facts
