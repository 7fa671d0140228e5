"""The kinds of Gateway API's standard channel, by the public facts of its fields. Made when asked for; nothing of it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from services.gateway.definitions.schema import (
    DURATION,
    GROUP,
    HEADER,
    HOSTNAME,
    KIND,
    LABEL,
    NAME,
    Schema,
    conditions,
    labels,
    one_of,
    port,
    record,
    some,
    text,
    whole,
)

GROUP_NAME = "gateway.networking.k8s.io"
APPROVED = "https://github.com/kubernetes-sigs/gateway-api/pull/2997"
CHANNEL, VERSION = "standard", "v1.5.0"


def definitions() -> Iterator[dict[str, Any]]:
    """CustomResourceDefinitions as JSON objects."""
    yield _definition("GatewayClass", "gatewayclasses", ("gc",), ("v1", "v1beta1"), _gateway_class(), scope="Cluster", columns=[
        _column("Controller", ".spec.controllerName"), _accepted(), _age(),
    ])  # fmt: skip
    yield _definition("Gateway", "gateways", ("gtw",), ("v1", "v1beta1"), _gateway(), columns=[
        _column("Class", ".spec.gatewayClassName"), _column("Address", ".status.addresses[*].value"),
        _column("Programmed", '.status.conditions[?(@.type=="Programmed")].status'), _age(),
    ])  # fmt: skip
    hosts = [_column("Hostnames", ".spec.hostnames"), _age()]
    yield _definition("HTTPRoute", "httproutes", (), ("v1", "v1beta1"), _route(_http_rule(), 16), columns=hosts)
    yield _definition("GRPCRoute", "grpcroutes", (), ("v1",), _route(_grpc_rule(), 16), columns=hosts)
    yield _definition("TLSRoute", "tlsroutes", (), ("v1", "v1alpha2"), _route(_tls_rule(), 1), columns=hosts)
    yield _definition("ReferenceGrant", "referencegrants", ("refgrant",), ("v1beta1",), _grant(), columns=[_age()], status=False)


def _definition(
    kind: str,
    plural: str,
    short: tuple[str, ...],
    versions: tuple[str, ...],
    schema: Schema,
    *,
    columns: list[Any],
    scope: str = "Namespaced",
    status: bool = True,
) -> dict[str, Any]:
    served = [
        {
            "name": version,
            "served": True,
            "storage": number == 0,
            "schema": {"openAPIV3Schema": schema},
            "additionalPrinterColumns": columns,
            **({"subresources": {"status": {}}} if status else {}),
        }
        for number, version in enumerate(versions)
    ]
    about = {
        "api-approved.kubernetes.io": APPROVED,
        f"{GROUP_NAME}/bundle-version": VERSION,
        f"{GROUP_NAME}/channel": CHANNEL,
    }
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), "categories": ["gateway-api"]}
    if short:
        names["shortNames"] = list(short)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP_NAME}", "annotations": about},
        "spec": {"group": GROUP_NAME, "names": names, "scope": scope, "versions": served},
    }


def _column(name: str, path: str) -> dict[str, str]:
    return {"name": name, "type": "string", "jsonPath": path}


def _accepted() -> dict[str, str]:
    return _column("Accepted", '.status.conditions[?(@.type=="Accepted")].status')


def _age() -> dict[str, str]:
    return {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}


def _object(spec: Schema, status: Schema | None = None) -> Schema:
    return record(
        "spec",
        apiVersion={"type": "string"},
        kind={"type": "string"},
        metadata={"type": "object"},
        spec=spec,
        **({"status": status} if status else {}),
    )


def _gateway_class() -> Schema:
    parameters = record(
        "group kind name", group=text(pattern=GROUP), kind=text(63, 1, pattern=KIND), name=text(253, 1), namespace=text(63, pattern=LABEL)
    )
    controller = text(
        253, 1, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9\/\-._~%!$&'()*+,;=:]+$"
    )
    controller["x-kubernetes-validations"] = [{"rule": "self == oldSelf", "message": "Value is immutable"}]
    spec = record("controllerName", controllerName=controller, parametersRef=parameters, description=text(64))
    feature = record("name", name=text(253, 1))
    return _object(spec, record(conditions=conditions(), supportedFeatures=some(feature, 64, "name")))


def _gateway() -> Schema:
    secret = record(
        "name",
        group=text(pattern=GROUP, default=""),
        kind=text(63, 1, pattern=KIND, default="Secret"),
        name=text(253, 1),
        namespace=text(63, pattern=LABEL),
    )
    tls = record(
        mode=one_of("Terminate", "Passthrough", default="Terminate"),
        certificateRefs=some(secret, 64),
        options={"type": "object", "additionalProperties": text(4096), "maxProperties": 16},
    )
    kinds = some(record("kind", group=text(pattern=GROUP, default=GROUP_NAME), kind=text(63, 1, pattern=KIND)), 8)
    namespaces = record("", **{"from": one_of("All", "Selector", "Same", default="Same"), "selector": labels()})
    namespaces["default"] = {"from": "Same"}
    allowed = record(namespaces=namespaces, kinds=kinds)
    allowed["default"] = {"namespaces": {"from": "Same"}}
    listener = record(
        "name port protocol",
        name=text(253, 1, pattern=NAME), hostname=text(253, 1, pattern=HOSTNAME), port=port(),
        protocol=text(255, 1,
        pattern=r"^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$|[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/[A-Za-z0-9]+$"),
        tls=tls, allowedRoutes=allowed,
    )  # fmt: skip
    address = record(type=text(253, 1, default="IPAddress"), value=text(253))
    words = {"type": "object", "additionalProperties": text(4096), "maxProperties": 8}
    parameters = record("group kind name", group=text(pattern=GROUP), kind=text(63, 1, pattern=KIND), name=text(253, 1))
    authority = record("group kind name", group=text(pattern=GROUP), kind=text(63, 1, pattern=KIND), name=text(253, 1), namespace=text(63))
    mode = one_of("AllowValidOnly", "AllowInsecureFallback", default="AllowValidOnly")
    validated = record(validation=record("caCertificateRefs", caCertificateRefs=some(authority, 8, least=1), mode=mode))
    frontend = record("default", default=validated, perPort=some(record("port tls", port=port(), tls=validated), 64))
    spec = record(
        "gatewayClassName listeners",
        gatewayClassName=text(253, 1), listeners=some(listener, 64, "name", least=1), addresses=some(address, 16),
        infrastructure=record(labels=words, annotations=words, parametersRef=parameters),
        tls=record(frontend=frontend),
    )  # fmt: skip
    supported = some(record("kind", group=text(pattern=GROUP, default=GROUP_NAME), kind=text(63, 1, pattern=KIND)), 8)
    listened = record(
        "name attachedRoutes conditions",
        name=text(253, 1), supportedKinds=supported, attachedRoutes={"type": "integer", "format": "int32"}, conditions=conditions(),
    )  # fmt: skip
    return _object(spec, record(addresses=some(address, 16), conditions=conditions(), listeners=some(listened, 64, "name")))


def _parent() -> Schema:
    return record(
        "name",
        group=text(pattern=GROUP, default=GROUP_NAME), kind=text(63, 1, pattern=KIND, default="Gateway"), namespace=text(63, 1,
        pattern=LABEL),
        name=text(253, 1), sectionName=text(253, 1, pattern=NAME), port=port(),
    )  # fmt: skip


def _route(rule: Schema, most_rules: int) -> Schema:
    spec = record(parentRefs=some(_parent(), 32), hostnames=some(text(253, 1, pattern=HOSTNAME), 16), rules=some(rule, most_rules, least=1))
    told = record("parentRef controllerName conditions", parentRef=_parent(), controllerName=text(253, 1), conditions=conditions())
    return _object(spec, record("parents", parents=some(told, 32)))


def _aim(**more: Schema) -> Schema:
    return record(
        "name",
        group=text(pattern=GROUP, default=""), kind=text(63, 1, pattern=KIND, default="Service"), name=text(253, 1),
        namespace=text(63, 1, pattern=LABEL),
        port=port(), **more,
    )  # fmt: skip


def _backend(filters: Schema | None = None) -> Schema:
    return _aim(weight=whole(0, 1_000_000, default=1), **({"filters": filters} if filters else {}))


def _headers() -> Schema:
    pair = record("name value", name=text(256, 1, pattern=HEADER), value=text(4096, 1))
    return record(set=some(pair, 16, "name"), add=some(pair, 16, "name"), remove=some({"type": "string"}, 16))


def _path_change() -> Schema:
    return record("type", type=one_of("ReplaceFullPath", "ReplacePrefixMatch"), replaceFullPath=text(1024), replacePrefixMatch=text(1024))


def _filters(*others: str, **more: Schema) -> Schema:
    extension = record("group kind name", group=text(pattern=GROUP), kind=text(63, 1, pattern=KIND), name=text(253, 1))
    share = record("numerator", numerator=whole(0, 2**31 - 1), denominator=whole(1, 2**31 - 1, default=100))
    mirror = record("backendRef", backendRef=_aim(), percent=whole(0, 100), fraction=share)
    return some(
        record(
            "type",
            type=one_of("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "ExtensionRef", *others),
            requestHeaderModifier=_headers(), responseHeaderModifier=_headers(), requestMirror=mirror, extensionRef=extension, **more,
        ), 16,
    )  # fmt: skip


def _http_filters() -> Schema:
    redirect = record(
        scheme=one_of("http", "https"), hostname=text(253, 1, pattern=NAME), path=_path_change(), port=port(),
        statusCode={"type": "integer", "enum": [301, 302, 303, 307, 308], "default": 302},
    )  # fmt: skip
    rewrite = record(hostname=text(253, 1, pattern=NAME), path=_path_change())
    return _filters("RequestRedirect", "URLRewrite", "CORS", requestRedirect=redirect, urlRewrite=rewrite, cors=_cors())


def _cors() -> Schema:
    return record(
        allowOrigins=some(text(253, 1), 64), allowCredentials={"type": "boolean"}, allowMethods=some(text(32, 1), 9),
        allowHeaders=some(text(256, 1), 64), exposeHeaders=some(text(256, 1), 64), maxAge=whole(1, 2**31 - 1, default=5),
    )  # fmt: skip


def _http_rule() -> Schema:
    def named(most: int) -> Schema:
        kind = one_of("Exact", "RegularExpression", default="Exact")
        return some(record("name value", type=kind, name=text(256, 1, pattern=HEADER), value=text(most, 1)), 16, "name")

    path = record(type=one_of("Exact", "PathPrefix", "RegularExpression", default="PathPrefix"), value=text(1024, default="/"))
    path["default"] = {"type": "PathPrefix", "value": "/"}
    method = one_of("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
    matches = some(record(path=path, headers=named(4096), queryParams=named(1024), method=method), 64)
    matches["default"] = [{"path": {"type": "PathPrefix", "value": "/"}}]
    timeouts = record(request=text(32, pattern=DURATION), backendRequest=text(32, pattern=DURATION))
    return record(
        name=text(253, 1, pattern=NAME),
        matches=matches,
        filters=_http_filters(),
        backendRefs=some(_backend(_http_filters()), 16),
        timeouts=timeouts,
    )


def _grpc_rule() -> Schema:
    kind = one_of("Exact", "RegularExpression", default="Exact")
    header = record("name value", type=kind, name=text(256, 1, pattern=HEADER), value=text(4096, 1))
    match = record(method=record(type=kind, service=text(1024), method=text(1024)), headers=some(header, 16, "name"))
    return record(name=text(253, 1, pattern=NAME), matches=some(match, 64), filters=_filters(), backendRefs=some(_backend(_filters()), 16))


def _tls_rule() -> Schema:
    return record("backendRefs", name=text(253, 1, pattern=NAME), backendRefs=some(_backend(), 16, least=1))


def _grant() -> Schema:
    source = record("group kind namespace", group=text(pattern=GROUP), kind=text(63, 1, pattern=KIND), namespace=text(63, 1, pattern=LABEL))
    to = record("group kind", group=text(pattern=GROUP), kind=text(63, 1, pattern=KIND), name=text(253, 1))
    return _object(record("from to", **{"from": some(source, 16, least=1)}, to=some(to, 16, least=1)))
