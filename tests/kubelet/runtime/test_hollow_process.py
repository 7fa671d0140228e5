"""How a hollow container ends by itself."""

from __future__ import annotations

import pytest

from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.hollow_process import Fate, fate_of
from services.kubelet.runtime.plan import ContainerPlan, PodRef, Process, SandboxPlan


@pytest.mark.parametrize(
    ("command", "fate"),
    [
        (("true",), Fate()),
        (("/bin/false",), Fate(0, 1)),
        (("sleep", "1.5"), Fate(1.5)),
        (("sleep",), None),
        (("sleep", "1", "2"), None),
        (("sleep", "inf"), None),
        (("sleep", "-1"), None),
        (("sleep", "nan"), None),
        ((), None),
        (("nginx", "-g"), None),
        (("sh", "-c", "exit 3"), Fate(0, 3)),
        (("/bin/sh", "-c", "sleep 2; exit 259"), Fate(2, 3)),
        (("bash", "-c", "sleep 1 && false && sleep 5; exit"), Fate(1, 1)),
        (("sh", "-c", "false\ntrue"), Fate()),
        (("sh", "-c", 'date; echo "Hello from the cluster"'), Fate()),
        (("sh", "-c", ""), Fate()),
        (("sh", "-c", "exit x"), None),
        (("sh", "-c", "echo $(reboot)"), None),
        (("sh", "-c", "true || false"), None),
        (("sh", "-c", "sleep 1 & exit 0"), None),
        (("sh", "-c", "while true; do sleep 1; done"), None),
        (("sh", "-x", "true"), None),
        (("sh", "-c", "sleep 20000000; sleep 20000000"), None),
    ],
    ids=range(23),
)
def test_a_command_says_how_it_ends(command: tuple[str, ...], fate: Fate | None) -> None:
    assert fate_of(Process(command=command)) == fate


def test_arguments_count_and_an_images_own_command_is_not_known() -> None:
    assert fate_of(Process(command=("sh",), args=("-c", "exit 2"))) == Fate(0, 2)
    assert fate_of(Process(args=("true",))) is None


async def test_a_container_that_is_removed_leaves_no_timer() -> None:
    runtime, pod = HollowRuntime("10.244.0.0/24"), PodRef("default", "web", "uid")
    await runtime.start()
    sandbox = await runtime.create_sandbox(SandboxPlan(pod, 0, "web"))
    plan = ContainerPlan(pod, sandbox.id, "app", 0, "app:1", "hash", 0, process=Process(("sleep", "100000")))
    container = await runtime.create_container(plan)
    await runtime.start_container(container, pod)
    (fate,) = runtime._fates.values()
    await runtime.remove_container(container, pod)
    assert fate.cancelled() and not runtime._fates
