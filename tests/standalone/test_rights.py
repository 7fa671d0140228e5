"""What each call of each component needs, and who has it: a call that is new needs a row here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from knarr.api.cloud.v1 import cloud_service_pb2, provider_pb2
from knarr.api.controller.v1 import controller_service_pb2
from knarr.api.dns.v1 import dns_service_pb2
from knarr.api.gateway.v1 import gateway_service_pb2
from knarr.api.kubelet.v1 import kubelet_service_pb2
from knarr.api.proxy.v1 import proxy_service_pb2
from knarr.api.scheduler.v1 import plugin_pb2, scheduler_service_pb2
from knarr.api.web.v1 import web_service_pb2
from knarr.machinery.errors import Forbidden
from knarr.service.access import ReviewedAccess, Right, right_of
from knarr.service.authentication import AUTHENTICATED, KUBELET_CLIENT, MASTERS, User
from knarr.service.component import Component
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.rbac.defaults import defaults
from services.kubelet.component import Kubelet
from services.kubelet.runtime.hollow import HollowRuntime
from services.standalone.credentials import APISERVER
from tests.kubelet.support import settings
from tests.support.rights import CLOUD, CONTROLLER, DNS, PROXY, SCHEDULER, WEB, kubelet

# The verb and, of a kubelet, the sub-resource of its Node; of the others the path is the call's.
CALLS: dict[str, tuple[str, str]] = {
    "knarr.api.scheduler.v1.SchedulerService/Explain": ("get", ""),
    "knarr.api.scheduler.v1.SchedulerService/GetQueue": ("get", ""),
    "knarr.api.scheduler.v1.SchedulerService/WhatIf": ("get", ""),
    "knarr.api.controller.v1.ControllerService/ListControllers": ("get", ""),
    "knarr.api.controller.v1.ControllerService/ListKeys": ("get", ""),
    "knarr.api.controller.v1.ControllerService/GetKey": ("get", ""),
    "knarr.api.controller.v1.ControllerService/Sync": ("post", ""),
    "knarr.api.proxy.v1.ProxyService/GetRoutes": ("get", ""),
    "knarr.api.proxy.v1.ProxyService/GetPodNetwork": ("get", ""),
    "knarr.api.proxy.v1.ProxyService/GetPolicies": ("get", ""),
    "knarr.api.proxy.v1.ProxyService/ExplainConnection": ("get", ""),
    "knarr.api.dns.v1.DnsService/Resolve": ("get", ""),
    "knarr.api.dns.v1.DnsService/Explain": ("get", ""),
    "knarr.api.dns.v1.DnsService/GetStatus": ("get", ""),
    "knarr.api.gateway.v1.GatewayService/Explain": ("get", ""),
    "knarr.api.gateway.v1.GatewayService/GetRoutes": ("get", ""),
    "knarr.api.gateway.v1.GatewayService/GetStatus": ("get", ""),
    "knarr.api.cloud.v1.CloudService/GetStatus": ("get", ""),
    "knarr.api.cloud.v1.CloudService/ListLoadBalancers": ("get", ""),
    "knarr.api.cloud.v1.CloudService/ListNodes": ("get", ""),
    "knarr.api.cloud.v1.CloudService/Sync": ("post", ""),
    "knarr.api.web.v1.WebService/GetStatus": ("get", ""),
    "knarr.api.web.v1.WebService/ListChanges": ("get", ""),
    "knarr.api.web.v1.WebService/GetChange": ("get", ""),
    "knarr.api.web.v1.WebService/ListObjects": ("get", ""),
    "knarr.api.web.v1.WebService/ExplainPod": ("get", ""),
    "knarr.api.kubelet.v1.KubeletService/ListPods": ("get", "pods"),
    "knarr.api.kubelet.v1.KubeletService/Logs": ("get", "log"),
    "knarr.api.kubelet.v1.KubeletService/Exec": ("create", "exec"),
    "knarr.api.kubelet.v1.KubeletService/Attach": ("create", "attach"),
    "knarr.api.kubelet.v1.KubeletService/PortForward": ("create", "portforward"),
    "knarr.api.kubelet.v1.KubeletService/GetStats": ("get", "stats"),
}
FILES = (
    scheduler_service_pb2, controller_service_pb2, proxy_service_pb2, dns_service_pb2, cloud_service_pb2, gateway_service_pb2,
    kubelet_service_pb2, web_service_pb2, provider_pb2, plugin_pb2,
)  # fmt: skip
# What the page's server asks for its viewers, each of whom must be permitted to.
OF_THE_PAGE = {
    "knarr.api.controller.v1.ControllerService/ListControllers", "knarr.api.controller.v1.ControllerService/ListKeys",
    "knarr.api.dns.v1.DnsService/Explain", "knarr.api.proxy.v1.ProxyService/ExplainConnection",
    "knarr.api.proxy.v1.ProxyService/GetPodNetwork", "knarr.api.proxy.v1.ProxyService/GetRoutes",
    "knarr.api.scheduler.v1.SchedulerService/Explain", "knarr.api.scheduler.v1.SchedulerService/WhatIf",
}  # fmt: skip
# Served by others, who know by themselves whom they serve.
OF_OTHERS = {"knarr.api.cloud.v1.CloudProviderService", "knarr.api.scheduler.v1.SchedulerPluginService"}
# Who may call kubelets, each for what a caller of the API server was permitted.
FORWARDING = (User(APISERVER.name, groups=(AUTHENTICATED,)), User(KUBELET_CLIENT, groups=(AUTHENTICATED,)))
STRANGERS = (
    SCHEDULER, CONTROLLER, CLOUD, DNS, PROXY, kubelet("node-1"), kubelet("node-2"), User("somebody", groups=(AUTHENTICATED,)),
    User("system:serviceaccount:default:default", groups=("system:serviceaccounts", AUTHENTICATED)), User.ANONYMOUS,
)  # fmt: skip


def right(call: str, folder: Path) -> Right:
    """As the component says it."""
    if "KubeletService" not in call:
        return right_of(f"/{call}")
    component = Kubelet(cast(Any, None), settings(folder), HollowRuntime("10.0.0.0/24"))
    return component.right(f"/{call}")


def test_every_call_has_a_row() -> None:
    services = [service for file in FILES for service in file.DESCRIPTOR.services_by_name.values() if service.full_name not in OF_OTHERS]
    assert {f"{service.full_name}/{call.name}" for service in services for call in service.methods} == CALLS.keys()


@pytest.mark.parametrize("call", CALLS)
async def test_what_it_needs_and_who_has_it(call: str, tmp_path: Path) -> None:
    verb, subresource = CALLS[call]
    found = right(call, tmp_path)
    assert found == (Right(verb, resource="nodes", subresource=subresource, name="node-1") if subresource else Right(verb, path=f"/{call}"))
    api = ApiInMemory()
    api.seed(*defaults())
    async with api:
        access = ReviewedAccess(api.client(kubelet("node-1") if subresource else SCHEDULER), lambda method: found)
        # Who collects garbage may read whatever there is, sub-resources with it: rules know no other way to say all resources.
        allowed = (*FORWARDING, *([CONTROLLER] if verb == "get" else ())) if subresource else ([WEB] if call in OF_THE_PAGE else ())
        for user in (*STRANGERS, *FORWARDING, WEB):
            if user in allowed:
                await access(user, f"/{call}")
                continue
            with pytest.raises(Forbidden):
                await access(user, f"/{call}")
        await access(User("root", groups=(MASTERS, AUTHENTICATED)), f"/{call}")


def test_components_leave_it_to_the_path_of_the_call() -> None:
    assert Component.right(cast(Any, None), "/knarr.api.dns.v1.DnsService/Resolve").path == "/knarr.api.dns.v1.DnsService/Resolve"
