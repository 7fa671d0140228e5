"""Who is given which processors: pure decisions over machines of many shapes, and the file that outlives a kubelet."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.cpu_policy import CpuPolicy, parse_cpus, parse_options, write_cpus
from services.kubelet.cpus.assignment import NotEnough, take, take_across
from services.kubelet.cpus.checkpoint import NAME, BadCheckpoint, read_checkpoint, write_checkpoint
from services.kubelet.cpus.ledger import CannotReserve, Ledger, NotGiven, StaticPolicy, asked_alone
from services.kubelet.cpus.topology import Cpu, Topology, read_topology
from tests.kubelet.support import make_pod

STATIC = CpuPolicy(static=True)


def machine(sockets: int = 1, cores: int = 4, threads: int = 2, numa: int = 1) -> Topology:
    """So many sockets with so many cores with so many threads, numbered as Linux does: first one thread of each core. ``numa`` nodes a
    socket."""
    count = sockets * cores
    return Topology(
        Cpu(thread * count + core, core, core // cores, core * numa // cores) for thread in range(threads) for core in range(count)
    )


def guaranteed(name: str, *cpus: str, init: tuple[str, ...] = (), sidecar: str = "") -> core.Pod:
    pod = make_pod(name, *(f"c{at}" for at in range(len(cpus))))
    pod.metadata.uid = name
    for at, _ in enumerate(init):
        pod.spec.init_containers.add(name=f"i{at}")
    if sidecar:
        pod.spec.init_containers.add(name="side", restart_policy="Always")
    amounts = (*init, *([sidecar] if sidecar else []), *cpus)
    for spec, cpu in zip((*pod.spec.init_containers, *pod.spec.containers), amounts, strict=True):
        for kind in (spec.resources.requests, spec.resources.limits):
            kind["cpu"].string, kind["memory"].string = cpu, "64Mi"
    return pod


@pytest.mark.parametrize(("text", "cpus"), [("", []), ("3", [3]), ("0-2,7", [0, 1, 2, 7]), ("7, 0-2,1", [0, 1, 2, 7])])
def test_lists_are_read_and_written_as_the_kernel_does(text: str, cpus: list[int]) -> None:
    assert parse_cpus(text) == frozenset(cpus)
    assert parse_cpus(write_cpus(cpus)) == frozenset(cpus)


@pytest.mark.parametrize("text", ["a", "3-1", "1-", "-1", "0-99999999999"])
def test_what_is_no_list_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="neither a processor nor a range"):
        parse_cpus(text)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"align-by-socket": "true"}, "there is no option 'align-by-socket' here"),
        ({"made-up": "true"}, "'made-up' is no option of the policy static"),
        ({"full-pcpus-only": "yes"}, "is true or false, not 'yes'"),
    ],
)
def test_an_option_that_is_none_is_told_by_its_name(options: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_options(options)


def test_a_machine_is_read_from_the_kernel(tmp_path: Path) -> None:
    for cpu, core_first, socket in ((0, 0, 0), (1, 1, 1), (2, 0, 0), (3, 1, 1)):
        place = tmp_path / "cpu" / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(f"{core_first},{core_first + 2}\n")
        (place / "physical_package_id").write_text(f"{socket}\n")
    (tmp_path / "cpu" / "online").write_text("0-4\n")
    for node, cpus in ((0, "0,2"), (1, "1,3-4")):
        (tmp_path / "node" / f"node{node}").mkdir(parents=True)
        (tmp_path / "node" / f"node{node}" / "cpulist").write_text(f"{cpus}\n")
    found = read_topology(tmp_path)
    assert found.all == {0, 1, 2, 3, 4}
    assert found.cores == {0: {0, 2}, 1: {1, 3}, 4: {4}}
    assert found.numa_nodes == {0: {0, 2}, 1: {1, 3, 4}}
    assert found.sockets[1] == {1, 3}


# 2 sockets with 4 cores with 2 threads: socket 0 is 0-3 and 8-11, socket 1 is 4-7 and 12-15.
@pytest.mark.parametrize(
    ("free", "count", "expected"),
    [
        ("0-15", 8, "0-3,8-11"),
        ("0-15", 2, "0,8"),
        ("1-15", 1, "8"),
        ("0-15", 3, "0-1,8"),
        ("1-15", 8, "4-7,12-15"),
        ("0-5,8-13", 2, "4,12"),
        ("3-15", 3, "3,8,11"),
    ],
)
def test_what_belongs_together_is_taken_together(free: str, count: int, expected: str) -> None:
    assert write_cpus(take(machine(2), parse_cpus(free), count)) == expected


def test_who_needs_several_numa_nodes_gets_as_many_of_each() -> None:
    shape = machine(2)
    assert write_cpus(take_across(shape, shape.all, 10, 1)) == "0-2,4-6,8-9,12-13"
    assert write_cpus(take_across(shape, shape.all, 12, 2)) == "0-2,4-6,8-10,12-14"
    assert take_across(shape, parse_cpus("0-6,8-15"), 7, 1) <= shape.numa_nodes[1], "one that has enough, and least more"
    with pytest.raises(NotEnough):
        take_across(shape, parse_cpus("0-3"), 5, 1)


@pytest.mark.parametrize(
    ("cpu", "expected"), [("2", 2), ("1500m", 0), ("2000m", 2), ("500m", 0)], ids=["whole", "and-a-half", "in-thousandths", "less-than-one"]
)
def test_who_asks_for_whole_ones_has_them_alone(cpu: str, expected: int) -> None:
    pod = guaranteed("a", cpu)
    assert asked_alone(pod, pod.spec.containers[0]) == expected
    pod.spec.containers[0].resources.limits["cpu"].string = "8"
    assert asked_alone(pod, pod.spec.containers[0]) == 0, "one that is not Guaranteed shares"


def test_init_containers_leave_theirs_to_those_that_come_after() -> None:
    policy = StaticPolicy(machine(threads=1, cores=8), STATIC, 1000)
    ledger = policy.give(policy.fresh(), guaranteed("a", "2", "1", init=("3", "2"), sidecar="1"))
    mine = {name: write_cpus(cpus) for name, cpus in ledger.exclusive["a"].items()}
    assert mine == {"i0": "1-3", "i1": "1-2", "side": "1", "c0": "2-3", "c1": "4"}
    assert write_cpus(ledger.shared) == "0,5-7"
    assert policy.release(ledger, "a") == policy.fresh()


def test_a_core_is_not_divided_where_that_was_asked() -> None:
    policy = StaticPolicy(machine(), replace(STATIC, whole_cores=True), 1000)
    with pytest.raises(NotGiven, match="SMT Alignment Error: requested 1 cpus not multiple cpus per core = 2") as refused:
        policy.give(policy.fresh(), guaranteed("a", "1"))
    assert refused.value.reason == "SMTAlignmentError"
    words = "not enough free physical CPUs: available physical CPUs = 6, requested CPUs = 8, CPUs per core = 2"
    with pytest.raises(NotGiven, match=words):
        policy.give(policy.fresh(), guaranteed("a", "8"))
    assert write_cpus(policy.give(policy.fresh(), guaranteed("a", "2")).exclusive["a"]["c0"]) == "1,5", (
        "4 is the other thread of what is kept"
    )


def test_what_is_not_there_is_refused_in_words() -> None:
    policy = StaticPolicy(machine(), STATIC, 500)
    words = "Allocate failed due to not enough cpus available to satisfy request: requested=8, available=7, which is unexpected"
    with pytest.raises(NotGiven, match=words) as refused:
        policy.give(policy.fresh(), guaranteed("a", "8"))
    assert refused.value.reason == "UnexpectedAdmissionError"


@pytest.mark.parametrize(
    ("policy", "milli", "words"),
    [
        (STATIC, 0, "needs processors that are kept"),
        (STATIC, 9000, "9 processors are to be kept for the system, the machine has 8"),
        (replace(STATIC, reserved=frozenset({0, 9})), 0, "processors 9 cannot be reserved: online are 0-7"),
    ],
)
def test_what_cannot_be_kept_is_told(policy: CpuPolicy, milli: int, words: str) -> None:
    with pytest.raises(CannotReserve, match=words):
        StaticPolicy(machine(), policy, milli)


def test_where_nothing_is_left_all_others_run_on_what_is_kept() -> None:
    policy = StaticPolicy(machine(threads=1, cores=2), replace(STATIC, strict=True), 1000)
    fresh = policy.fresh()
    assert policy.commons(fresh) == {1}, "strictly: nobody on what is kept"
    full = policy.give(fresh, guaranteed("a", "1"))
    assert policy.commons(full) == {0}, "but rather there than with one who has his alone"


SHAPES = st.builds(
    machine,
    st.integers(1, 3),
    st.sampled_from([2, 4, 6]),
    st.integers(1, 2),
    st.integers(1, 2),
)
OPTIONS = st.builds(CpuPolicy, static=st.just(True), whole_cores=st.booleans(), across_numa=st.booleans(), strict=st.booleans())
PODS = st.builds(
    lambda name, main, init, sidecar: guaranteed(name, *map(str, main), init=tuple(map(str, init)), sidecar=sidecar),
    st.sampled_from(list("abcdef")),
    st.lists(st.integers(1, 4), min_size=1, max_size=3),
    st.lists(st.integers(1, 4), max_size=2),
    st.sampled_from(["", "1", "2"]),
)


@settings(max_examples=200, deadline=None)
@given(SHAPES, OPTIONS, st.integers(1, 3000), st.lists(st.one_of(PODS, st.sampled_from(list("abcdef"))), max_size=25))
def test_no_processor_is_given_twice_and_what_is_kept_stays(
    shape: Topology, options: CpuPolicy, milli: int, steps: list[core.Pod | str]
) -> None:
    try:
        policy = StaticPolicy(shape, options, milli)
    except CannotReserve:
        return
    ledger = policy.fresh()
    for step in steps:
        before = ledger
        try:
            ledger = policy.release(ledger, step) if isinstance(step, str) else policy.give(ledger, step)
        except NotGiven:
            assert ledger == before
        assert policy.fault(ledger) == ""
        _is_sound(shape, options, policy, ledger)
    for uid in list(ledger.exclusive):
        ledger = policy.release(ledger, uid)
    assert ledger == policy.fresh()


def _is_sound(shape: Topology, options: CpuPolicy, policy: StaticPolicy, ledger: Ledger) -> None:
    assert not ledger.given & policy.reserved and not ledger.given & policy.commons(ledger)
    assert policy.commons(ledger), "all others run somewhere"
    assert options.strict or policy.reserved <= ledger.shared
    owners: dict[int, str] = {}
    for uid, containers in ledger.exclusive.items():
        lasting = [cpus for name, cpus in containers.items() if not name.startswith("i")]
        assert sum(map(len, lasting)) == len(frozenset[int]().union(*lasting)), "nor twice in a pod, but for what init containers leave"
        for cpus in containers.values():
            assert all(owners.setdefault(cpu, uid) == uid for cpu in cpus)
            assert not options.whole_cores or shape.siblings(cpus) == cpus


def test_what_was_given_is_found_again(tmp_path: Path) -> None:
    policy = StaticPolicy(machine(), STATIC, 1000)
    ledger = policy.give(policy.fresh(), guaranteed("a", "2"))
    assert read_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, ledger)
    told = json.loads((tmp_path / NAME).read_text())
    assert (told["policyName"], told["defaultCpuSet"], told["entries"]) == ("static", "0,2-4,6-7", {"a": {"c0": "1,5"}})
    assert read_checkpoint(tmp_path) == ("static", ledger)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"policyName":"static","defaultCpuSet":"0-3","checksum":1}', "\0"])
def test_a_file_that_is_no_more_what_was_written_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(BadCheckpoint, match="checkpoint is corrupted"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("ledger", "strict", "words"),
    [
        (Ledger(parse_cpus("1-7")), False, 'not all reserved cpus: "0" are present in defaultCpuSet: "1-7"'),
        (Ledger(parse_cpus("0-7")), True, 'some of strictly reserved cpus: "0" are present in defaultCpuSet: "0-7"'),
        (Ledger(parse_cpus("0-7"), {"a": {"c": parse_cpus("7")}}), False, 'pod: a, container: c cpuset: "7" overlaps with default cpuset'),
        (
            Ledger(parse_cpus("0-5"), {"a": {"c": parse_cpus("6-7")}, "b": {"c": parse_cpus("7")}}),
            False,
            "overlaps with that of another pod",
        ),
        (Ledger(parse_cpus("0-6")), False, 'current set of available CPUs "0-7" doesn\'t match with CPUs in state "0-6"'),
        (Ledger(parse_cpus("0-8")), False, 'current set of available CPUs "0-7" doesn\'t match with CPUs in state "0-8"'),
    ],
)
def test_what_does_not_fit_the_machine_any_more_is_told(ledger: Ledger, strict: bool, words: str) -> None:
    assert words in StaticPolicy(machine(), replace(STATIC, strict=strict), 1000).fault(ledger)
