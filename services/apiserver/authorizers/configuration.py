"""The file of an AuthorizationConfiguration (``apiserver.config.k8s.io/v1``), as kube-apiserver reads it: who decides, one after the other.

apiVersion: apiserver.config.k8s.io/v1
kind: AuthorizationConfiguration
authorizers:
- {type: Node, name: node}
- type: Webhook
  name: company
  webhook:
    timeout: 3s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/knarr/webhook.kubeconfig}
    matchConditions: [{expression: has(request.resourceAttributes)}]
- {type: RBAC, name: rbac}
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from knarr.machinery import catalog
from knarr.machinery.forms import parse_duration
from knarr.service.configuration_file import document_of, read_configuration, refuse_others
from services.apiserver.authorization import Mode
from services.apiserver.authorizers.catalog import MODES, Parts
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.rbac.grants import Grants

API_VERSION, KIND, WEBHOOK = "apiserver.config.k8s.io/v1", "AuthorizationConfiguration", "Webhook"
MOST_AUTHORIZERS = 64
MOST_TIMEOUT_SECONDS, MOST_SECONDS = 30.0, 1e8
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def read_modes(file: Path, parts: Parts) -> list[Mode]:
    """Those that a file names, in its order; raises CommandError."""
    return read_configuration(file, KIND, partial(parse_modes, parts=parts))


def check_modes(file: Path) -> None:
    """Whether a server could start with it; raises CommandError."""
    cache = WatchCache(catalog.registry())
    read_modes(file, Parts(cache, Grants(cache)))


def parse_modes(text: bytes, parts: Parts) -> list[Mode]:
    """Raises ValueError with the field, CommandError for a kubeconfig that is none."""
    document = document_of(text, API_VERSION, KIND)
    refuse_others(document, "", "apiVersion", "kind", "authorizers")
    given = document.get("authorizers")
    if not isinstance(given, list) or not given:
        raise ValueError("authorizers: at least one authorization mode must be defined")
    if len(given) > MOST_AUTHORIZERS:
        raise ValueError(f"authorizers: there are {len(given)}, at most {MOST_AUTHORIZERS} are taken")
    names: set[str] = set()
    types: set[str] = set()
    return [_mode(said, f"authorizers[{at}]", parts, names, types) for at, said in enumerate(given)]


def _mode(said: Any, path: str, parts: Parts, names: set[str], types: set[str]) -> Mode:
    refuse_others(said, path, "type", "name", "webhook")
    kind, name = str(said.get("type")), str(said.get("name") or "")
    if not _NAME.fullmatch(name) or len(name) > 253:
        raise ValueError(f"{path}.name: {name!r} must be a lower case DNS name")
    if name in names:
        raise ValueError(f"{path}.name: {name} is there already")
    names.add(name)
    if kind == WEBHOOK:
        return _webhook(said.get("webhook"), f"{path}.webhook", name)
    if kind not in MODES:
        raise ValueError(f"{path}.type: there is no {kind!r} here; there are {', '.join([*MODES, WEBHOOK])}")
    if kind in types:
        raise ValueError(f"{path}.type: {kind} is there already")
    if said.get("webhook") is not None:
        raise ValueError(f"{path}.webhook: may only be given with type Webhook")
    types.add(kind)
    return MODES[kind](parts)


def _webhook(said: Any, path: str, name: str) -> Mode:
    # Loaded by those alone who have webhooks.
    from services.apiserver.authorizers.webhook.authorizer import WebhookAuthorizer, WebhookSettings
    from services.apiserver.authorizers.webhook.conditions import MatchConditions
    from services.apiserver.webhooks.kubeconfig import read_remote

    known = (
        "authorizedTTL", "unauthorizedTTL", "cacheAuthorizedRequests", "cacheUnauthorizedRequests", "timeout", "subjectAccessReviewVersion",
        "matchConditionSubjectAccessReviewVersion", "failurePolicy", "connectionInfo", "matchConditions",
    )  # fmt: skip
    refuse_others(said, path, *known)
    if said.get("subjectAccessReviewVersion") != "v1":
        raise ValueError(f"{path}.subjectAccessReviewVersion: must be v1")
    policy = said.get("failurePolicy")
    if policy not in ("NoOpinion", "Deny"):
        raise ValueError(f"{path}.failurePolicy: must be NoOpinion or Deny")
    timeout = _seconds(said.get("timeout"), f"{path}.timeout")
    if not 0 < timeout <= MOST_TIMEOUT_SECONDS:
        raise ValueError(f"{path}.timeout: must be more than 0 s and at most {MOST_TIMEOUT_SECONDS:g} s")
    settings = WebhookSettings(
        timeout,
        _lifetime(said, "authorizedTTL", "cacheAuthorizedRequests", 300.0, path),
        _lifetime(said, "unauthorizedTTL", "cacheUnauthorizedRequests", 30.0, path),
        policy == "Deny",
    )
    sources = _expressions(said, path)
    if sources and said.get("matchConditionSubjectAccessReviewVersion") != "v1":
        raise ValueError(f"{path}.matchConditionSubjectAccessReviewVersion: must be v1")
    try:
        conditions = MatchConditions(sources) if sources else None
    except ValueError as error:
        raise ValueError(f"{path}.matchConditions{error}") from None
    return WebhookAuthorizer(name, read_remote(_kubeconfig(said.get("connectionInfo"), f"{path}.connectionInfo")), settings, conditions)


def _kubeconfig(said: Any, path: str) -> Path:
    refuse_others(said, path, "type", "kubeConfigFile")
    if said.get("type") != "KubeConfigFile":
        raise ValueError(f"{path}.type: must be KubeConfigFile")
    file = said.get("kubeConfigFile")
    if not isinstance(file, str) or not file.startswith("/"):
        raise ValueError(f"{path}.kubeConfigFile: must be an absolute path")
    return Path(file)


def _expressions(said: dict[str, Any], path: str) -> Sequence[str]:
    found = said.get("matchConditions") or []
    if not isinstance(found, list):
        raise ValueError(f"{path}.matchConditions: must be a list")
    for at, condition in enumerate(found):
        refuse_others(condition, f"{path}.matchConditions[{at}]", "expression")
        if not isinstance(condition.get("expression"), str) or not condition["expression"].strip():
            raise ValueError(f"{path}.matchConditions[{at}].expression: must be a text")
    return [condition["expression"] for condition in found]


def _lifetime(said: dict[str, Any], name: str, switch: str, seconds: float, path: str) -> float:
    """For how long answers hold: none where they are not to be remembered."""
    given = said.get(switch)
    if given not in (None, True, False):
        raise ValueError(f"{path}.{switch}: must be true or false")
    found = _seconds(said[name], f"{path}.{name}") if said.get(name) is not None else seconds
    return 0.0 if given is False else found


def _seconds(text: Any, path: str) -> float:
    """Of a duration as Go spells it, up to some years."""
    try:
        found = parse_duration(text) / 1e9 if isinstance(text, str) else -1.0
    except ValueError:
        found = -1.0
    if not 0 <= found <= MOST_SECONDS:
        raise ValueError(f"{path}: must be a duration like 3s or 1m30s")
    return found
