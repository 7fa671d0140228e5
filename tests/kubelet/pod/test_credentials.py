"""Keys and certificates of pods: what is asked for when, and what becomes of the answers. Pure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from knarr.api.certificates.v1 import certificates_pb2 as certificates
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.times import to_time
from knarr.objects import pem
from services.kubelet.pod.credentials import ABANDONED, Credential, State, alarmed, answered, begun, given_up
from tests.support.virtual_time import START

NONE, HOUR, MINUTE = timedelta(), timedelta(hours=1), timedelta(minutes=1)
CHAIN = pem.encoded("CERTIFICATE", b"leaf") + pem.encoded("CERTIFICATE", b"middle")
ASKED = begun(State(), "req-1", "KEY", START, NONE)


def request(kind: str = "", name: str = "req-1", status: str = "True") -> certificates.PodCertificateRequest:
    made = certificates.PodCertificateRequest(metadata=meta.ObjectMeta(name=name, namespace="shop"))
    if kind:
        made.status.conditions.add(type=kind, status=status, reason="Because", message="of that")
    if kind == "Issued":
        made.status.certificate_chain = "a remark\n" + CHAIN
        made.status.not_before.CopyFrom(to_time(START))
        made.status.begin_refresh_at.CopyFrom(to_time(START + HOUR))
        made.status.not_after.CopyFrom(to_time(START + 2 * HOUR))
    return made


ISSUED = answered(ASKED, request("Issued"), MINUTE)[0]


def test_it_is_asked_for_once() -> None:
    assert State().is_due(START) and State().next_at() is None
    assert not ASKED.is_due(START + HOUR)
    assert ASKED.next_at() == START + ABANDONED


def test_what_is_issued_is_held_without_what_stands_between() -> None:
    assert ISSUED.held is not None and ISSUED.held.credential == Credential("KEY", CHAIN) and ISSUED.asked is None
    assert ISSUED.next_at() == START + HOUR + MINUTE
    assert not ISSUED.is_due(START + HOUR) and ISSUED.is_due(START + HOUR + MINUTE)


def test_the_former_one_is_held_until_the_next_is_issued() -> None:
    renewing = begun(ISSUED, "req-2", "OTHER", START + HOUR, NONE)
    assert renewing.held == ISSUED.held and not renewing.is_due(START + 9 * HOUR)
    assert answered(renewing, request("Issued"), NONE) == (renewing, None), "the former request says nothing any more"
    renewed, _ = answered(renewing, request("Issued", "req-2"), NONE)
    assert renewed.held is not None and renewed.held.credential.key == "OTHER"


@pytest.mark.parametrize(
    ("kind", "words", "told"),
    [
        ("Denied", 'permanently denied: reason="Because" message="of that"', 'shop/req-1 was denied, reason="Because", message="of that"'),
        ("Failed", 'permanently failed: reason="Because" message="of that"', 'shop/req-1 failed, reason="Because", message="of that"'),
    ],
)
def test_a_no_is_for_ever(kind: str, words: str, told: str) -> None:
    refused, event = answered(ASKED, request(kind), NONE)
    assert refused.refused == f"PodCertificateRequest was {words}" and event == (kind, f"PodCertificateRequest {told}")
    assert not refused.is_due(START + 9 * HOUR) and refused.next_at() is None and alarmed(refused, START + 9 * HOUR) == (refused, [])
    again, event = answered(refused, request(kind), NONE)
    assert (again, event) == (refused, None)


SILENT = {"nothing": request(), "another": request("Issued", "req-2"), "false": request("Denied", status="False")}


@pytest.mark.parametrize("heard", SILENT.values(), ids=SILENT)
def test_what_is_no_answer_changes_nothing(heard: certificates.PodCertificateRequest) -> None:
    assert answered(ASKED, heard, NONE) == (ASKED, None)


def test_a_request_that_is_gone_is_made_anew() -> None:
    assert given_up(ASKED).is_due(START) and given_up(begun(ISSUED, "req-2", "K", START, NONE)).held == ISSUED.held


def test_what_gets_old_is_told_once() -> None:
    renewing = begun(ISSUED, "req-2", "OTHER", START + HOUR, 9 * HOUR)
    overdue_at = START + HOUR + MINUTE + timedelta(minutes=10)
    assert renewing.next_at() == overdue_at and alarmed(renewing, overdue_at - MINUTE) == (renewing, [])
    told, events = alarmed(renewing, overdue_at)
    assert events == [("CertificateOverdueForRefresh", "PodCertificate refresh overdue")]
    assert told.next_at() == START + 2 * HOUR and alarmed(told, overdue_at) == (told, [])
    told, events = alarmed(told, START + 2 * HOUR)
    assert events == [("CertificateExpired", "PodCertificate expired")] and alarmed(told, START + 9 * HOUR)[1] == []
