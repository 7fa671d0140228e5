"""The image of a container: present or pulled, with the events and the back-off that Kubernetes tells of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.service.architecture import own_architecture
from services.kubelet.node.images import ALWAYS, IF_NOT_PRESENT, INSPECT_ERROR, ImageFailure
from services.kubelet.pod.context import PodContext
from services.kubelet.pod.facts import StartFailure, next_backoff
from services.kubelet.pod.pull_logins import PullLogins
from services.kubelet.pod.references import References
from services.kubelet.pod.spec import pull_policy
from services.kubelet.runtime.port import Image, RuntimeFailure, RuntimeUnavailable


class ImageFetcher:
    """Fetches the images of one pod's containers."""

    def __init__(self, context: PodContext) -> None:
        self._shared = context.shared
        self._facts = context.facts
        self._event = context.events.container
        # Containers whose image is being fetched: these starts may be abandoned.
        self.pulling: set[str] = set()

    async def fetch(self, pod: core.Pod, spec: core.Container, references: References) -> Image:
        """The image, pulled where its policy asks for it, or where the pod has not shown yet that it may have it. Raises ImageFailure, or
        RuntimeUnavailable."""
        shared = self._shared
        logins = PullLogins(pod, spec.image, references, shared.settings.registry_config, shared.providers)
        found = await shared.images.usable(spec.image, pull_policy(spec), logins)
        if found is None:
            return self._fitting(spec, await self._pull(spec, logins))
        words = f'Container image "{spec.image}" already present on machine and can be accessed by the pod'
        self._event("Normal", "Pulled", words, spec.name)
        return self._fitting(spec, found)

    def _fitting(self, spec: core.Container, image: Image) -> Image:
        """Tells of an image that is for other machines: what its program ends with says nothing of it. A machine may emulate them."""
        own = own_architecture()
        if image.architecture and image.architecture != own and self._shared.runtime.uses_machine:
            words = f'Image "{spec.image}" is for {image.architecture}, and this node is {own}: its programs end with "exec format error" '
            words += f"unless the machine emulates it; use an image that is built for {own}, too"
            self._event("Warning", "ArchitectureMismatch", words, spec.name)
        return image

    async def _pull(self, spec: core.Container, logins: PullLogins) -> Image:
        if logins.missing:
            names = ", ".join(logins.missing)
            words = f"Unable to retrieve some image pull secrets ({names}); attempting to pull the image may not succeed."
            self._event("Warning", "FailedToRetrieveImagePullSecret", words, spec.name)
        self._event("Normal", "Pulling", f'Pulling image "{spec.image}"', spec.name)
        started = asyncio.get_running_loop().time()
        self.pulling.add(spec.name)
        try:
            pulled = await self._shared.images.pull(spec.image, logins)
        except RuntimeUnavailable:
            raise
        except RuntimeFailure as error:
            text = "; ".join([str(error), *[words async for words in self._advice(spec, logins)]])
            self._event("Warning", "Failed", f'Failed to pull image "{spec.image}": {text}', spec.name)
            raise ImageFailure("ErrImagePull", text) from error
        finally:
            self.pulling.discard(spec.name)
        image = pulled.image
        seconds, own = f"{asyncio.get_running_loop().time() - started:.3f}s", f"{pulled.seconds:.3f}s"
        size = f" Image size: {image.size_bytes} bytes." if image.size_bytes else ""
        message = f'Successfully pulled image "{spec.image}" in {own} ({seconds} including waiting).{size}'
        self._event("Normal", "Pulled", message, spec.name)
        self._facts.pulls.pop(spec.name, None)
        return image

    async def _advice(self, spec: core.Container, logins: PullLogins) -> AsyncIterator[str]:
        """What a person can do about an image that could not be pulled."""
        for name in logins.broken:
            yield f'pull secret "{name}" has no logins: its type must be kubernetes.io/dockerconfigjson, with auths in .dockerconfigjson'
        if advice := self._shared.settings.pull_advice:
            yield advice.replace("{image}", spec.image)
        # Most who meet that wrote no policy.
        if pull_policy(spec) == ALWAYS and await self._is_here(spec, logins):
            yield "the image is on this machine: imagePullPolicy IfNotPresent runs it (the default of the tag latest is Always)"

    async def _is_here(self, spec: core.Container, logins: PullLogins) -> bool:
        """And the pod may have it: of others nothing is told."""
        try:
            return await self._shared.images.usable(spec.image, IF_NOT_PRESENT, logins) is not None
        except (RuntimeFailure, ImageFailure):
            return False

    def fail(self, spec: core.Container, failure: ImageFailure) -> None:
        """Leaves the failure in the facts, with the back-off of one more failed pull."""
        now = self._shared.clock.now()
        if failure.reason == "ErrImageNeverPull":
            self._event("Warning", "ErrImageNeverPull", failure.message, spec.name)
        elif failure.reason in ("InvalidImageName", INSPECT_ERROR):
            self._event("Warning", "InspectFailed", failure.message, spec.name)
        self._event("Warning", "Failed", f"Error: {failure.reason}", spec.name)
        backoff = next_backoff(self._facts.pulls.get(spec.name), now, now)
        self._facts.pulls[spec.name] = backoff
        pulled = failure.reason == "ErrImagePull"
        message = f'Back-off pulling image "{spec.image}": ErrImagePull: {failure.message}'
        self._facts.failures[spec.name] = StartFailure(
            failure.reason, failure.message, now, now + backoff.delay, "ImagePullBackOff" if pulled else "", message if pulled else ""
        )
