"""Who refers to what, after objects came, changed and went."""

from __future__ import annotations

from services.gateway.references import References
from services.gateway.routing.table import Origin
from services.gateway.sources.compiled import Compiled

WEB, SHOP = Origin("Ingress", "default", "web"), Origin("HTTPRoute", "default", "shop")


def test_an_object_refers_to_what_it_was_last_compiled_to() -> None:
    references = References()
    references.put(WEB, Compiled(services={("default", "a")}, secrets={("default", "pair")}))
    references.put(SHOP, Compiled(services={("default", "a"), ("default", "b")}))
    assert set(references.of_service(("default", "a"))) == {WEB, SHOP} and set(references.of_secret(("default", "pair"))) == {WEB}
    references.put(WEB, Compiled(services={("default", "b")}))
    assert set(references.of_service(("default", "a"))) == {SHOP} and set(references.of_service(("default", "b"))) == {WEB, SHOP}
    assert not references.secrets and not references.of_secret(("default", "pair"))
    for origin in (WEB, SHOP, SHOP):
        references.put(origin, None)
    assert not references.of_service(("default", "b"))
