"""Definitions with several versions, as the pipeline uses them: it looks at objects in the version of the request, and stores what it has
converted. Where versions have conversions of their own nothing of this costs anything; objects are looked at as they are stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from knarr.machinery.errors import status_error
from services.apiserver.apply.versions import Unconverted
from services.apiserver.aside import aside
from services.apiserver.backend import serialize
from services.apiserver.pipeline.pipeline import Pipeline
from services.apiserver.request import Request
from services.apiserver.results import Written

P = ParamSpec("P")
T = TypeVar("T")

# Versions that one object's managers may know, times what is asked for each: no definition has nearly as many.
MOST_QUESTIONS = 256


async def converting(pipeline: Pipeline, request: Request, size_bytes: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` answers, ``aside`` if it is large; it is begun anew with each object that it turns out to need in another version."""
    for _ in range(MOST_QUESTIONS):
        try:
            return await aside(size_bytes, work, *args, **kwargs)
        except Unconverted as wanted:
            await pipeline.conversions.answer(wanted, request.deadline)
    raise status_error("InternalError", "the managers of this object need more conversions than there can be versions")


async def bytes_to_store(pipeline: Pipeline, request: Request, obj: object) -> bytes:
    """The bytes of an object of the request's version, as they are stored."""
    raw: bytes = await aside(obj.ByteSize(), serialize, obj)  # type: ignore[attr-defined]
    return await pipeline.conversions.stored(request.ref.version, raw, request.deadline)


async def shown(pipeline: Pipeline, request: Request, written: Written) -> Written:
    """An answer in the request's version."""
    if written.entry is None or request.ref.resource.converter is None:
        return written
    return written._replace(entry=await pipeline.conversions.entry(request.ref.version, written.entry, request.deadline))
