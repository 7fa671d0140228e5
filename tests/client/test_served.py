"""What a client makes of a server's answer to ListResources."""

from __future__ import annotations

from knarr.api.apiserver.v1 import resource_service_pb2 as rpc
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.served import ServedResources, resource_of
from knarr.machinery.resources import Route

CRON_JOB = rpc.ApiVersion(
    group="batch", version="v1", kind="CronJob", message="knarr.api.batch.v1.CronJob", list_message="knarr.api.batch.v1.CronJobList"
)
FOREIGN = rpc.ApiVersion(
    group="example.org", version="v1", kind="Widget", message="org.example.v1.Widget", list_message="org.example.v1.WidgetList"
)


def test_what_has_no_message_here_is_left_out() -> None:
    assert resource_of(rpc.ApiResource(plural="widgets", versions=[FOREIGN])) is None
    subresources = [
        rpc.ApiSubresource(name="status", verbs=["get"], route="object"),
        rpc.ApiSubresource(name="spin", verbs=["create"], message="org.example.v1.Spin", route="create"),
        rpc.ApiSubresource(name="bind", verbs=["create"], message="knarr.api.core.v1.Binding", route="create"),
    ]
    found = resource_of(rpc.ApiResource(plural="cronjobs", namespaced=True, versions=[FOREIGN, CRON_JOB], subresources=subresources))
    assert found is not None and [version.message for version in found.versions] == [batch.CronJob]
    assert [(sub.name, sub.route) for sub in found.subresources] == [("status", Route.OBJECT), ("bind", Route.CREATE)]


def test_a_resource_stays_the_same_object_until_it_is_told_otherwise() -> None:
    served = ServedResources()
    assert served.registry.of(core.Pod) is not None, "the built-in ones are known before anybody asks"
    told = rpc.ApiResource(plural="cronjobs", versions=[CRON_JOB])
    (first,) = served.learn([told])
    assert served.registry.of(core.Pod) is None and served.registry.of(batch.CronJob) is first.storage
    assert served.learn([told]) == [first]
    (second,) = served.learn([rpc.ApiResource(plural="cronjobs", versions=[CRON_JOB], namespaced=True)])
    assert second is not first and second.namespaced
