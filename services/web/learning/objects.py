"""How a lesson's objects are made and taken away: in the lesson's namespace, whatever they say, and of kinds that reach no further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from services.web.api import Api, Refused

# All are of a namespace, and none gives a right or reaches a node. Where each is: group and version, plural.
KINDS = {
    "ConfigMap": ("v1", "configmaps"),
    "LimitRange": ("v1", "limitranges"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Pod": ("v1", "pods"),
    "ResourceQuota": ("v1", "resourcequotas"),
    "Service": ("v1", "services"),
    "Deployment": ("apps/v1", "deployments"),
    "Job": ("batch/v1", "jobs"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
}
MANAGER = "knarr-lessons"
APPLY = "application/apply-patch+yaml"
NOT_FOUND, CONFLICT = 404, 409

Obj = Mapping[str, Any]


def path_of(obj: Obj, namespace: str) -> str:
    """Raises KeyError for a kind that lessons have not."""
    version, plural = KINDS[obj["kind"]]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{quote(namespace, safe='')}/{plural}/{quote(obj['metadata']['name'], safe='')}"


async def apply(api: Api, obj: Obj, namespace: str) -> None:
    """Makes it so, whoever else has written its fields: by server-side apply, so that what it says no more is taken away."""
    whole = {**obj, "apiVersion": KINDS[obj["kind"]][0], "metadata": {**obj["metadata"], "namespace": namespace}}
    path = f"{path_of(obj, namespace)}?fieldManager={MANAGER}&force=true"
    async with api.asked("PATCH", path, orjson.dumps(whole), {"Content-Type": APPLY, "Accept": "application/json"}) as answer:
        text = await answer.read()
        if answer.status >= 400:
            raise Refused(answer.status, f"{obj['kind']} {obj['metadata']['name']}: {orjson.loads(text).get('message', '')}")


async def remove(api: Api, obj: Obj, namespace: str) -> None:
    """One that is not there is left at that."""
    await gone(api, path_of(obj, namespace))


async def gone(api: Api, path: str) -> None:
    try:
        await api.json("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
    except Refused as error:
        # What is being deleted already may say that it conflicts.
        if error.code not in (NOT_FOUND, CONFLICT):
            raise
