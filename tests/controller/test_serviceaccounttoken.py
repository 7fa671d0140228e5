"""Secrets that ask for the token of an account: filled, mended, and gone with the account."""

from __future__ import annotations

import asyncio

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import status_error
from knarr.objects.account_tokens import ACCOUNT, ACCOUNT_UID, TYPE
from services.controller.controllers.serviceaccounttoken.controller import ServiceAccountTokenController
from services.controller.controllers.serviceaccounttoken.decide import Delete, Fill, decide
from tests.controller.cluster import Cluster, cluster
from tests.support.signing import signing_keys
from tests.support.virtual_time import virtual_time

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
ONLY = (ServiceAccountTokenController,)


def account(name: str = "robot") -> core.ServiceAccount:
    return core.ServiceAccount(metadata=meta.ObjectMeta(name=name, namespace="default", uid=f"uid-{name}"))


def secret(name: str = "key", of: str = "robot") -> core.Secret:
    made = core.Secret(metadata=meta.ObjectMeta(name=name, namespace="default"), type=TYPE)
    made.metadata.annotations[ACCOUNT] = of
    return made


def found(c: Cluster) -> dict[str, dict[str, bytes]]:
    return {one.metadata.name: dict(one.data) for one in c.api.all(core.Secret)}


def is_filled(c: Cluster, name: str = "key") -> bool:
    return found(c)[name].keys() == {"token", "ca.crt", "namespace"}


@virtual_time
async def test_it_is_filled_and_its_token_is_good_until_it_is_gone() -> None:
    async with cluster(kubelet=False, controllers=ONLY, keys=signing_keys(), root_certificate=CERTIFICATE) as c:
        made = await c.client.create(account())
        await c.client.create(secret())
        await c.until(lambda: is_filled(c))
        (filled,) = c.api.all(core.Secret)
        assert (filled.data["ca.crt"], filled.data["namespace"]) == (CERTIFICATE.encode(), b"default")
        assert filled.metadata.annotations[ACCOUNT_UID] == made.metadata.uid
        callers = c.api.server.callers
        user, _ = await callers.review(filled.data["token"].decode(), ())
        assert (user.name, user.uid) == ("system:serviceaccount:default:robot", made.metadata.uid)
        await asyncio.sleep(47 * 3600)
        assert (await callers.review(filled.data["token"].decode(), ()))[0] == user
        await c.client.delete(core.Secret, "key", "default")
        with pytest.raises(Exception, match="is gone"):
            await callers.review(filled.data["token"].decode(), ())


@virtual_time
async def test_it_goes_with_its_account_and_none_is_kept_for_nobody() -> None:
    async with cluster(kubelet=False, controllers=ONLY, keys=signing_keys()) as c:
        plain = core.Secret(metadata=meta.ObjectMeta(name="plain", namespace="default"))
        plain.metadata.annotations[ACCOUNT] = "robot"
        for obj in (account(), account("other"), plain, secret(), secret("second"), secret("others", "other"), secret("lost", "nobody")):
            await c.client.create(obj)
        await c.until(lambda: "lost" not in found(c) and all(found(c)[name].get("token") for name in ("key", "second", "others")))
        await c.client.delete(core.ServiceAccount, "robot", "default")
        await c.until(lambda: found(c).keys() == {"plain", "others"})


@virtual_time
async def test_what_is_taken_out_comes_back_and_the_token_stays() -> None:
    async with cluster(kubelet=False, controllers=ONLY, keys=signing_keys(), root_certificate=CERTIFICATE) as c:
        await c.client.create(account())
        await c.client.create(secret())
        await c.until(lambda: is_filled(c))
        token = found(c)["key"]["token"]
        await c.edit(core.Secret, "key", lambda one: (one.data.pop("ca.crt"), one.data.update(namespace=b"x")))
        await c.until(lambda: is_filled(c) and found(c)["key"]["namespace"] == b"default")
        assert found(c)["key"]["token"] == token
        await c.edit(core.Secret, "key", lambda one: one.data.pop("token"))
        await c.until(lambda: is_filled(c) and found(c)["key"]["token"] != token)


@virtual_time
async def test_a_token_that_cannot_be_had_is_tried_for_again() -> None:
    async with cluster(kubelet=False, controllers=ONLY, keys=signing_keys()) as c:
        c.api.fail_next(status_error("ServiceUnavailable", "no tokens today"), verb="create", subresource="token", times=3)
        await c.client.create(account())
        await c.client.create(secret())
        await c.until(lambda: "token" in found(c)["key"])


def test_what_is_decided() -> None:
    full = secret()
    full.metadata.annotations[ACCOUNT_UID] = "uid-robot"
    full.data.update({"token": b"t", "ca.crt": CERTIFICATE.encode(), "namespace": b"default"})
    assert decide(full, account(), CERTIFICATE) is None
    assert decide(full, None, CERTIFICATE) == Delete()
    assert decide(full, account("robot-again"), CERTIFICATE) == Delete()
    assert decide(secret(), account(), "") == Fill(decide(secret(), account(), "").secret, True)  # type: ignore[union-attr]
    full.data["ca.crt"] = b"of another CA"
    fill = decide(full, account(), CERTIFICATE)
    assert isinstance(fill, Fill) and not fill.wants_token and fill.secret.data["ca.crt"] == CERTIFICATE.encode()
    full.metadata.deletion_timestamp.seconds = 1
    assert decide(full, account(), CERTIFICATE) is None
