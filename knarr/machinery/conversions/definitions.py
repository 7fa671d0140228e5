"""CustomResourceDefinitions as apiextensions.k8s.io/v1beta1 had them, in which Kubernetes up to 1.21 stored them: read as v1."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

V1, V1BETA1 = "apiextensions.k8s.io/v1", "apiextensions.k8s.io/v1beta1"


def modern(value: Json) -> Json:
    """A stored definition in v1; one of v1 is answered as it is."""
    if value.get("apiVersion") != V1BETA1:
        return value
    spec = value.get("spec", {})
    listed = spec.get("versions") or [{"name": spec.get("version", ""), "served": True, "storage": True}]
    kept = {name: spec[name] for name in ("group", "names", "scope", "preserveUnknownFields") if name in spec}
    new = {**kept, "versions": [_version(version, spec) for version in listed], "conversion": _conversion(spec.get("conversion", {}))}
    return {**value, "apiVersion": V1, "spec": new}


def _version(version: Json, spec: Json) -> Json:
    """What was said once for all versions is said in each."""
    found = {name: item for name, item in version.items() if name != "additionalPrinterColumns"}
    if "schema" not in found and "validation" in spec:
        found["schema"] = spec["validation"]
    if "subresources" not in found and "subresources" in spec:
        found["subresources"] = spec["subresources"]
    columns = version.get("additionalPrinterColumns") or spec.get("additionalPrinterColumns") or []
    if columns:
        found["additionalPrinterColumns"] = [
            {("jsonPath" if name == "JSONPath" else name): item for name, item in column.items()} for column in columns
        ]
    return found


def _conversion(conversion: Json) -> Json:
    found: Json = {"strategy": conversion.get("strategy", "None")}
    if "webhookClientConfig" in conversion:
        webhook = {
            "clientConfig": conversion["webhookClientConfig"],
            "conversionReviewVersions": conversion.get("conversionReviewVersions"),
        }
        found["webhook"] = webhook
    return found
