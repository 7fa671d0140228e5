"""Rules about how a webhook is reached, be it of admission or of conversion."""

from __future__ import annotations

from urllib.parse import urlsplit

from cryptography import x509

from knarr.api.admissionregistration.v1 import admissionregistration_pb2 as admission
from knarr.api.apiextensions.v1 import apiextensions_pb2 as apiextensions
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT_TEXT, Path, dns1123_subdomain, invalid, range_error, required

Client = admission.WebhookClientConfig | apiextensions.WebhookClientConfig
Service = admission.ServiceReference | apiextensions.ServiceReference
# Each shows the whole path.
MAX_SEGMENT_CAUSES = 8
URL_FORM = "; desired format: https://host[/path]"


def validate_client(client: Client, path: Path) -> list[Cause]:
    """By a URL, or by a Service of the cluster."""
    if client.HasField("url") == client.HasField("service"):
        return [required(path, "exactly one of url or service is required")]
    return _url(client.url, path.child("url")) if client.HasField("url") else _service(client.service, path.child("service"))


def _url(url: str, path: Path) -> list[Cause]:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        return [required(path, f"url must be a valid URL: {error}{URL_FORM}")]
    causes: list[Cause] = []
    if parts.scheme != "https":
        causes.append(invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{URL_FORM}"))
    if not parts.netloc.rpartition("@")[2]:
        causes.append(invalid(path, "", f"host must be provided{URL_FORM}"))
    if "@" in parts.netloc:
        causes.append(invalid(path, parts.netloc.rpartition("@")[0], "user information is not permitted in the URL"))
    if parts.fragment:
        causes.append(invalid(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        causes.append(invalid(path, parts.query, "query parameters are not permitted in the URL"))
    return causes


def _service(service: Service, path: Path) -> list[Cause]:
    causes = [required(path.child(field), f"service {field} is required") for field in ("name", "namespace") if not getattr(service, field)]
    if not 1 <= service.port <= 65535:
        causes.append(invalid(path.child("port"), service.port, f"port is not valid: {range_error(1, 65535)}"))
    if service.path in ("", "/"):
        return causes
    here = path.child("path")
    if service.path == "//":
        return [*causes, invalid(here, service.path, "segment[0] may not be empty")]
    if not service.path.startswith("/"):
        causes.append(invalid(here, service.path, "must start with a '/'"))
    for index, step in enumerate(service.path[1:].removesuffix("/").split("/")):
        if len(causes) > MAX_SEGMENT_CAUSES:
            break
        wrong = [f": {sentence}" for sentence in dns1123_subdomain(step)] if step else [" may not be empty"]
        causes += [invalid(here, service.path, f"segment[{index}]{sentence}") for sentence in wrong]
    return causes


def validate_authorities(bundle: bytes, path: Path) -> list[Cause]:
    """Certificates in PEM, whatever stands between them."""
    try:
        x509.load_pem_x509_certificates(bundle)
    except (ValueError, TypeError):
        words = "unable to load root certificates: data does not contain any valid RSA or ECDSA certificates"
        return [invalid(path, CUT_TEXT, words)]
    return []
