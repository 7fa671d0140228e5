"""Targets of URLs as the pipeline's references."""

from __future__ import annotations

from knarr.service.authentication import User
from services.apiserver.rest.routing import Target
from services.apiserver.results import Ref


def ref_of(target: Target, user: User) -> Ref:
    return Ref(target.version, target.namespace, target.name, target.subresource.name if target.subresource else "", user)
