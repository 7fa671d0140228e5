"""docs/compatibility.md tells what tests/data/clients.tsv says, and that names tests that are there."""

from __future__ import annotations

from tests.support import matrix


def test_the_page_tells_what_the_tests_showed() -> None:
    claims = matrix.read()
    assert matrix.FILE.read_text() == matrix.written(claims)
    text = matrix.PAGE.read_text()
    assert text == matrix.page(text, claims), "written by pytest --matrix, never by hand"


def test_each_claim_names_a_test() -> None:
    gone = {test for test in matrix.read().values() if not matrix.is_there(test)}
    assert not gone, "pytest --matrix, with the tests that show it now, writes these lines anew"


def test_every_client_that_is_claimed_is_named_in_a_test() -> None:
    """Each library's row comes from a marker, each program's from a helper that runs it."""
    assert {deed.client.split()[0] for deed in matrix.read()} == {"kubectl", "helm", "kubernetes", "kr8s", "lightkube", "kopf"}
