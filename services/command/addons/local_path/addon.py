"""local-path: the class of storage whose volumes are folders of a node; the controller manager and the kubelet make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knarr.machinery import codec
from knarr.objects.built_ins import LOCAL_PATH
from knarr.objects.local_path import PROVISIONER, default_class
from knarr.objects.volumes import DEFAULT_CLASS
from services.command.addons import built_in
from services.command.addons.addon import OFF, ON, STARTING, Place, State, Tell

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
CLAIMS = "/api/v1/persistentvolumeclaims"
MANAGER = "knarr-addon"


class LocalPath:
    name = LOCAL_PATH
    what = "volumes that are folders of a node: the class of claims that name none"
    built_in = True

    def state(self, place: Place) -> State:
        found = place.api.find(f"{CLASSES}/{self.name}")
        if found is None:
            return State(OFF if built_in.is_off(place.api, self.name) else STARTING)
        if found.get("provisioner") != PROVISIONER:
            return State(ON, f"a class of somebody else: {found.get('provisioner')}", {"provisioner": found.get("provisioner")})
        return State(ON, "" if is_default(found) else "claims that name no class have another one", {"default": is_default(found)})

    def enable(self, place: Place, tell: Tell) -> Sequence[str]:
        built_in.turn(place.api, self.name, on=True)
        if place.api.find(f"{CLASSES}/{self.name}") is None:
            wanted = codec.to_dict(default_class())
            others = [found["metadata"]["name"] for found in _items(place, CLASSES) if is_default(found)]
            if others:
                wanted["metadata"]["annotations"][DEFAULT_CLASS] = "false"
            place.api.apply(f"{CLASSES}/{self.name}", wanted, MANAGER)
            if others:
                return (f"claims that name no class go on to have {others[0]}; name local-path in `storageClassName`",)
        return ("claims that name no class, or `storageClassName: local-path`, get a folder of the node that their pod runs on",)

    def disable(self, place: Place, tell: Tell) -> Sequence[str]:
        found = place.api.find(f"{CLASSES}/{self.name}")
        if found is not None and found.get("provisioner") != PROVISIONER:
            return (f"the class local-path is somebody else's ({found.get('provisioner')}) and stays",)
        # In this order: the API server makes what is missing and not off.
        built_in.turn(place.api, self.name, on=False)
        place.api.delete(f"{CLASSES}/{self.name}")
        names = [f"{claim['metadata']['namespace']}/{claim['metadata']['name']}" for claim in _items(place, CLAIMS) if _waits(claim)]
        lines = ["volumes that are there stay as they are"]
        if names:
            lines.append(f"{len(names)} claims wait for it and stay Pending: {', '.join(names[:5])}" + (" …" if len(names) > 5 else ""))
        return lines


def is_default(found: Any) -> bool:
    return bool(((found["metadata"].get("annotations")) or {}).get(DEFAULT_CLASS) == "true")


def _waits(claim: Any) -> bool:
    return bool(claim["spec"].get("storageClassName") == LOCAL_PATH and (claim.get("status") or {}).get("phase") == "Pending")


def _items(place: Place, path: str) -> list[Any]:
    return list((place.api.find(path) or {}).get("items") or ())
