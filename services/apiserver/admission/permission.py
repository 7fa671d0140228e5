"""What else a request's caller may do: some plugins let through only who may."""

from __future__ import annotations

from knarr.machinery.errors import Forbidden
from services.apiserver.admission.attributes import Attributes
from services.apiserver.authorization import Authorizer, imagined, permit
from services.apiserver.request import Request
from services.apiserver.results import Ref

SIGNERS = imagined("certificates.k8s.io", "signers")


async def may(authorizer: Authorizer, attributes: Attributes, verb: str, ref: Ref) -> bool:
    """Whether the caller may do something else than what the request asks. Raises Timeout at the request's deadline."""
    wanted = Request(attributes.user, verb, ref, None, attributes.request.deadline)
    try:
        await permit(authorizer, wanted)
    except Forbidden:
        return False
    return True


async def may_for_signer(authorizer: Authorizer, attributes: Attributes, verb: str, signer: str) -> bool:
    """Whether the caller may ``approve``, ``sign`` or ``attest`` for a signer, or for all of its domain."""
    domain, _, _ = signer.partition("/")
    for name in (signer, f"{domain}/*"):
        if await may(authorizer, attributes, verb, Ref(SIGNERS, name=name)):
            return True
    return False
