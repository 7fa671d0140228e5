"""The finalizers in the spec of a namespace: who lets go of it may leave only what is one."""

from __future__ import annotations

from typing import Any

from services.apiserver.pipeline.parts import PARTS
from services.apiserver.results import Ref
from tests.apiserver.strategies.scenario import Subject


def told(*finalizers: str) -> list[str]:
    def namespace(*names: str) -> Any:
        return Subject.of({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}, "spec": {"finalizers": list(names)}})

    old, new = namespace("kubernetes"), namespace(*finalizers)
    verdict = PARTS["finalize"].validate(Ref(new.version, "", "n", "finalize"), new.strategy, new.obj, old.obj)
    return [f"{cause.field}: {cause.message}" for cause in verdict.causes]


def test_those_of_others_have_their_domain() -> None:
    assert told() == told("kubernetes", "example.com/keep") == []
    words = "name is neither a standard finalizer name nor is it fully qualified"
    assert told("kubernetes", "keep") == [f'spec.finalizers[1]: Invalid value: "keep": {words}']
