"""The strategies of Ingresses and their classes."""

from __future__ import annotations

from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_domain_prefixed,
    check_format,
    check_immutable,
    check_named,
    check_port_number,
    dns1123_label,
    dns1123_subdomain,
    forbidden,
    invalid,
    ip_address,
    is_address,
    not_supported,
    path_segment,
    port_name,
    required,
    too_long,
    wildcard_subdomain,
)
from services.apiserver.strategies.paths import METADATA, SPEC, STATUS
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
BAD_SEQUENCES, BAD_ENDINGS = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
SCOPES = ("Cluster", "Namespace")
SHOWN_HOSTS = 3
MAX_CONTROLLER = 250


class IngressStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns("Name", "Class", "Hosts", "Address", "Ports", "Age")
    has_generation = True

    def validate(self, obj: networking.Ingress) -> list[Cause]:
        spec = obj.spec
        causes: list[Cause] = []
        if not spec.rules and not spec.HasField("default_backend"):
            causes.append(invalid(SPEC, None, "either `defaultBackend` or `rules` must be specified"))
        if spec.HasField("default_backend"):
            causes += _backend(spec.default_backend, SPEC.child("defaultBackend"))
        for index, rule in enumerate(spec.rules):
            causes += _rule(rule, SPEC.child("rules").index(index))
        for index, entry in enumerate(spec.tls):
            causes += _tls(entry, SPEC.child("tls").index(index))
        if spec.HasField("ingress_class_name"):
            causes += check_format(SPEC.child("ingressClassName"), spec.ingress_class_name, dns1123_subdomain)
        return causes

    def validate_create(self, obj: networking.Ingress) -> list[Cause]:
        """The class may be named in two ways, but is one."""
        named = obj.metadata.annotations.get(CLASS_ANNOTATION)
        if named is None or not obj.spec.HasField("ingress_class_name") or named == obj.spec.ingress_class_name:
            return []
        path = Path("annotations").child(CLASS_ANNOTATION)
        return [invalid(path, named, "must match `ingressClassName` when both are specified")]

    def validate_status_update(self, new: networking.Ingress, old: networking.Ingress) -> list[Cause]:
        causes: list[Cause] = []
        for index, entry in enumerate(new.status.load_balancer.ingress):
            here = STATUS.child("loadBalancer", "ingress").index(index)
            if entry.ip:
                causes += check_format(here.child("ip"), entry.ip, ip_address)
            if entry.hostname:
                causes += check_format(here.child("hostname"), entry.hostname, dns1123_subdomain)
                if is_address(entry.hostname):
                    causes.append(invalid(here.child("hostname"), entry.hostname, "must be a DNS name, not an IP address"))
        return causes

    def warnings(self, obj: networking.Ingress) -> list[str]:
        if CLASS_ANNOTATION not in obj.metadata.annotations:
            return []
        path = METADATA.child("annotations").key(f'"{CLASS_ANNOTATION}"')
        return [f"{path}: deprecated, please use 'spec.ingressClassName' instead"]

    def cells(self, obj: networking.Ingress, now: datetime) -> list[object]:
        spec = obj.spec
        name = spec.ingress_class_name if spec.HasField("ingress_class_name") else NONE
        hosts = [rule.host for rule in spec.rules if rule.host]
        shown = ",".join(hosts[:SHOWN_HOSTS]) + (f" + {len(hosts) - SHOWN_HOSTS} more..." if len(hosts) > SHOWN_HOSTS else "")
        addresses = ",".join(entry.ip or entry.hostname for entry in obj.status.load_balancer.ingress)
        return [obj.metadata.name, name, shown or "*", addresses, "80, 443" if spec.tls else "80", age(obj, now)]


def _rule(rule: networking.IngressRule, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if rule.host:
        here = path.child("host")
        if is_address(rule.host):
            causes.append(invalid(here, rule.host, "must be a DNS name, not an IP address"))
        causes += _host(rule.host, here)
    value = rule.ingress_rule_value
    if not value.HasField("http"):
        return causes
    here = path.child("http", "paths")
    if not value.http.paths:
        causes.append(required(here))
    for index, entry in enumerate(value.http.paths):
        causes += _path(entry, here.index(index))
    return causes


def _host(host: str, path: Path) -> list[Cause]:
    return check_format(path, host, wildcard_subdomain if "*" in host else dns1123_subdomain)


def _path(entry: networking.HTTPIngressPath, path: Path) -> list[Cause]:
    if not entry.HasField("path_type"):
        return [required(path.child("pathType"), "pathType must be specified")]
    here, text = path.child("path"), entry.path
    causes: list[Cause] = []
    if entry.path_type not in PATH_TYPES:
        causes.append(not_supported(path.child("pathType"), entry.path_type, PATH_TYPES))
    elif not text.startswith("/") and (text or entry.path_type != "ImplementationSpecific"):
        causes.append(invalid(here, text, "must be an absolute path"))
    if text and entry.path_type in ("Exact", "Prefix"):
        causes += [invalid(here, text, f"must not contain '{bad}'") for bad in BAD_SEQUENCES if bad in text]
        causes += [invalid(here, text, f"cannot end with '{bad}'") for bad in BAD_ENDINGS if text.endswith(bad)]
    return causes + _backend(entry.backend, path.child("backend"))


def _backend(backend: networking.IngressBackend, path: Path) -> list[Cause]:
    service, resource = backend.HasField("service"), backend.HasField("resource")
    if service and resource:
        return [invalid(path, "", "cannot set both resource and service backends")]
    if resource:
        return _reference(backend.resource, path.child("resource"))
    if not service:
        return [invalid(path, "", "resource or service backend is required")]
    name, port = path.child("service", "name"), backend.service.port
    causes = check_named(name, backend.service.name, dns1123_label)
    if port.name and port.number:
        causes.append(invalid(path, "", "cannot set both port name & port number"))
    elif port.name:
        causes += check_format(path.child("service", "port", "name"), port.name, port_name)
    elif port.number:
        causes += check_port_number(path.child("service", "port", "number"), port.number)
    else:
        causes.append(required(path, "port name or number is required"))
    return causes


def _reference(reference: core.TypedLocalObjectReference | networking.IngressClassParametersReference, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    if reference.HasField("api_group"):
        causes += check_format(path.child("apiGroup"), reference.api_group, dns1123_subdomain)
    for field in ("kind", "name"):
        value = getattr(reference, field)
        causes += check_named(path.child(field), value, path_segment)
    return causes


def _tls(entry: networking.IngressTLS, path: Path) -> list[Cause]:
    causes = [cause for index, host in enumerate(entry.hosts) for cause in _host(host, path.child("hosts").index(index))]
    return causes + (check_format(path.child("secretName"), entry.secret_name, dns1123_subdomain) if entry.secret_name else [])


class IngressClassStrategy(Strategy):
    """A spec change makes a new generation."""

    columns = columns("Name", "Controller", "Parameters", "Age")
    has_generation = True

    def default(self, obj: networking.IngressClass) -> None:
        if obj.spec.HasField("parameters") and not obj.spec.parameters.HasField("scope"):
            obj.spec.parameters.scope = "Cluster"

    def validate(self, obj: networking.IngressClass) -> list[Cause]:
        spec, path = obj.spec, SPEC.child("controller")
        causes: list[Cause] = []
        if len(spec.controller) > MAX_CONTROLLER:
            causes.append(too_long(path, MAX_CONTROLLER))
        causes += check_domain_prefixed(path, spec.controller) if spec.controller else [required(path)]
        return causes + (_parameters(spec.parameters, SPEC.child("parameters")) if spec.HasField("parameters") else [])

    def validate_update(self, new: networking.IngressClass, old: networking.IngressClass) -> list[Cause]:
        return check_immutable(SPEC.child("controller"), new.spec.controller, old.spec.controller)

    def cells(self, obj: networking.IngressClass, now: datetime) -> list[object]:
        parameters = obj.spec.parameters
        group = f".{parameters.api_group}" if parameters.api_group else ""
        shown = f"{parameters.kind}{group}/{parameters.name}" if obj.spec.HasField("parameters") else NONE
        return [obj.metadata.name, obj.spec.controller, shown, age(obj, now)]


def _parameters(parameters: networking.IngressClassParametersReference, path: Path) -> list[Cause]:
    causes = _reference(parameters, path)
    causes += [] if parameters.scope in SCOPES else [not_supported(path.child("scope"), parameters.scope, SCOPES)]
    here = path.child("namespace")
    if parameters.scope == "Namespace":
        if not parameters.HasField("namespace"):
            causes.append(required(here, "`parameters.scope` is set to 'Namespace'"))
        else:
            causes += check_format(here, parameters.namespace, dns1123_label)
    elif parameters.scope == "Cluster" and parameters.HasField("namespace"):
        causes.append(forbidden(here, "`parameters.scope` is set to 'Cluster'"))
    return causes
