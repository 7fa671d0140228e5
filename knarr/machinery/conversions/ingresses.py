"""Ingresses of ``networking.k8s.io/v1beta1``, in which Kubernetes stored them until 1.21. Pure.

A backend has a Service's name and port in two flat fields, and the default backend is called otherwise.
"""

from __future__ import annotations

from typing import Any

from knarr.api.networking.v1 import networking_pb2 as v1
from knarr.api.networking.v1beta1 import networking_pb2 as v1beta1
from knarr.machinery.conversions.fields import copied
from knarr.machinery.resources import Conversion

TEXT = 1
ANY_PATH = "ImplementationSpecific"


def to_v1(given: v1beta1.Ingress) -> v1.Ingress:
    found: v1.Ingress = copied(given, v1.Ingress(), ("metadata", "status"))
    if given.HasField("spec"):
        spec = copied(given.spec, found.spec, ("ingress_class_name", "tls"))
        spec.SetInParent()
        if given.spec.HasField("backend"):
            _backend_to_v1(given.spec.backend, spec.default_backend)
        for old in given.spec.rules:
            _rule(old, spec.rules.add(), _backend_to_v1)
    return found


def from_v1(stored: v1.Ingress) -> v1beta1.Ingress:
    found: v1beta1.Ingress = copied(stored, v1beta1.Ingress(), ("metadata", "status"))
    if stored.HasField("spec"):
        spec = copied(stored.spec, found.spec, ("ingress_class_name", "tls"))
        spec.SetInParent()
        if stored.spec.HasField("default_backend"):
            _backend_from_v1(stored.spec.default_backend, spec.backend)
        for new in stored.spec.rules:
            _rule(new, spec.rules.add(), _backend_from_v1)
    return found


def _rule(source: Any, target: Any, convert: Any) -> None:
    copied(source, target, ("host",))
    if source.HasField("ingress_rule_value"):
        target.ingress_rule_value.SetInParent()
        if source.ingress_rule_value.HasField("http"):
            target.ingress_rule_value.http.SetInParent()
            for path in source.ingress_rule_value.http.paths:
                other = copied(path, target.ingress_rule_value.http.paths.add(), ("path", "path_type"))
                if not path.HasField("path_type"):
                    # The older version's default; the newer one has none.
                    other.path_type = ANY_PATH
                convert(path.backend, other.backend)


def _backend_to_v1(old: v1beta1.IngressBackend, new: v1.IngressBackend) -> None:
    new.SetInParent()
    copied(old, new, ("resource",))
    port = old.service_port
    if old.service_name or port.int_val or port.str_val or port.type == TEXT:
        new.service.name, new.service.port.name, new.service.port.number = old.service_name, port.str_val, port.int_val


def _backend_from_v1(new: v1.IngressBackend, old: v1beta1.IngressBackend) -> None:
    old.SetInParent()
    copied(new, old, ("resource",))
    old.service_port.SetInParent()
    if new.HasField("service"):
        old.service_name = new.service.name
        if new.service.port.name:
            old.service_port.type, old.service_port.str_val = TEXT, new.service.port.name
        else:
            old.service_port.int_val = new.service.port.number


INGRESS_V1BETA1 = Conversion(to_v1, from_v1)
