"""registry: a registry of images in the cluster, to push to from the machine and to pull from in pods.

People and the node's engine reach it by one name, ``localhost:PORT``: Docker and containerd both speak plain HTTP to the loopback without
being told to, so that nobody's engine is configured. The port is bound there alone. Images lie on a volume of the default class.
"""

from __future__ import annotations

import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from knarr.service.errors import CommandError
from services.command.addons.addon import OFF, ON, STARTING, Place, State, Tell
from services.command.addons.local_path.addon import CLASSES, is_default
from services.command.addons.registry import image
from services.command.addons.registry.manifests import (
    CLAIM,
    DEPLOYMENT,
    HOSTING,
    IN_CLUSTER,
    LABEL,
    NAMESPACE,
    NAMESPACE_PATH,
    PODS,
    claim,
    image_of,
    is_available,
    pieces,
    port_of,
)
from services.command.addons.waiting import wait_for
from services.command.named.slots import FIRST_PORT, PORTS_EACH, SLOTS
from services.standalone.settings import ClusterSettings

MANAGER = "knarr-addon"
READY_SECONDS, GONE_SECONDS, ANSWER_SECONDS = 120.0, 120.0, 2.0
# Apart from node ports, from those of named clusters, and from those that the kernel gives to outgoing connections.
FIRST, SPARE = 25_000, range(25_100, 25_200)
VOLUMES = "/api/v1/persistentvolumes"
NO_IMAGE = (
    "no registry answers that has the image of one. Give the machine the program: `apt-get install docker-registry`, or without its service"
    " `apt-get download docker-registry && dpkg-deb -x docker-registry_*.deb r` with r/usr/bin on the PATH; then enable it again"
)


class Registry:
    name = "registry"
    what = "a registry of images in the cluster: push from this machine, pull in pods"
    built_in = False

    def state(self, place: Place) -> State:
        found = place.api.find(DEPLOYMENT)
        if found is None:
            return State(OFF)
        port = port_of(found)
        facts = {"push": f"localhost:{port}", "in_cluster": IN_CLUSTER, "image": image_of(found)}
        if is_available(found) and _answers(port):
            return State(ON, f"localhost:{port}", facts)
        return State(STARTING, _waits_for(place) or f"localhost:{port} does not answer yet", facts)

    def enable(self, place: Place, tell: Tell) -> Sequence[str]:
        images = place.images()
        _check_storage(place)
        found = place.api.find(DEPLOYMENT)
        name = self._image(images, image_of(found) if found is not None else "", tell)
        port = port_of(found) if found is not None else free_port(place.settings)
        made = pieces(name, port)
        place.api.apply(made[0].path, made[0].body, MANAGER)
        if place.api.find(CLAIM) is None:
            place.api.apply(claim().path, claim().body, MANAGER)
        for piece in made[1:]:
            place.api.apply(piece.path, piece.body, MANAGER)
        try:
            wait_for(lambda: self.state(place).state == ON, "the registry", READY_SECONDS, meanwhile=lambda: _waits_for(place), tell=tell)
        except CommandError as error:
            raise CommandError(f"{error}; {NO_IMAGE}" if not image.is_own(name) and "Pull" in str(error) else str(error)) from error
        return (
            f"docker tag app:1 localhost:{port}/app:1 && docker push localhost:{port}/app:1",
            f"kubectl run app --image=localhost:{port}/app:1",
            f"what runs in pods reaches it as {IN_CLUSTER}, by plain HTTP",
        )

    def _image(self, images: Any, present: str, tell: Tell) -> str:
        """The image that the registry is of, where need be made of the machine's program."""
        program = image.find_program()
        if program is None:
            # What was made before does without its program.
            return present if present and images.has(present) else image.UPSTREAM
        made = image.make(program)
        if not images.has(made.name):
            tell(f"making an image of {program}")
            with tempfile.NamedTemporaryFile(prefix="knarr-registry-", suffix=".tar") as file:
                file.write(made.archive)
                file.flush()
                images.load(Path(file.name), lambda done, total: None)
        return made.name

    def disable(self, place: Place, tell: Tell) -> Sequence[str]:
        found = place.api.find(DEPLOYMENT)
        hosting = place.api.find(HOSTING)
        if hosting is not None and (hosting["metadata"].get("labels") or {}).get(LABEL) == self.name:
            place.api.delete(HOSTING)
        namespace = place.api.find(NAMESPACE_PATH)
        if namespace is not None:
            _check_own(namespace)
            place.api.delete(NAMESPACE_PATH)
        wait_for(lambda: place.api.find(NAMESPACE_PATH) is None, "its namespace to go", GONE_SECONDS, tell=tell)
        wait_for(lambda: not any(_volumes(place)), "its volume to go", GONE_SECONDS, tell=tell)
        if found is not None and image.is_own(name := image_of(found)):
            place.images().remove(name)
        return ("the images that were pushed to it are gone with it",) if namespace is not None else ()


def _check_own(namespace: Any) -> None:
    if (namespace["metadata"].get("labels") or {}).get(LABEL) != Registry.name:
        raise CommandError(f"the namespace {NAMESPACE} is none that `knarr addon` has made (it lacks the label {LABEL}); it stays")


def _check_storage(place: Place) -> None:
    classes = (place.api.find(CLASSES) or {}).get("items") or ()
    if not any(map(is_default, classes)):
        raise CommandError(
            "the registry keeps images on a volume, and no class of storage is the default one;"
            " `knarr addon enable local-path`, or annotate another with storageclass.kubernetes.io/is-default-class=true"
        )


def _volumes(place: Place) -> Iterable[Any]:
    for volume in (place.api.find(VOLUMES) or {}).get("items") or ():
        if (volume["spec"].get("claimRef") or {}).get("namespace") == NAMESPACE:
            yield volume


def free_port(settings: ClusterSettings) -> int:
    """One of the loopback: that of the cluster's slot, so that named clusters do not meet, unless somebody answers there."""
    slot, within = divmod(settings.ports.rest - FIRST_PORT, PORTS_EACH)
    preferred: int = FIRST + 1 + slot if 0 <= slot < SLOTS and within == 0 else FIRST
    wanted: tuple[int, ...] = (preferred, *SPARE)
    for port in wanted:
        if not _is_taken(port):
            return port
    raise CommandError(f"all ports from {SPARE.start} to {SPARE.stop - 1} of the loopback are taken; end something that listens there")


def _is_taken(port: int) -> bool:
    """Whether anybody answers: rules of the kernel lead to pods without anybody who listens."""
    with socket.socket() as probe:
        probe.settimeout(ANSWER_SECONDS)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int) -> bool:
    # A proxy that the environment names does not reach this machine's loopback.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/v2/", timeout=ANSWER_SECONDS) as told:
            return bool(told.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _waits_for(place: Place) -> str:
    """What its pods wait for, in the words of who keeps them; empty where there is nothing to tell."""
    for pod in (place.api.find(PODS) or {}).get("items") or ():
        if pod["metadata"].get("deletionTimestamp"):
            continue
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            if waiting := (container.get("state") or {}).get("waiting"):
                return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message"))))
        for condition in status.get("conditions") or ():
            if condition["type"] == "PodScheduled" and condition["status"] != "True":
                return str(condition.get("message") or "it is not scheduled yet")
    return ""
