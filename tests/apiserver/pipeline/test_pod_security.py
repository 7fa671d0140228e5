"""Pod security: what each level refuses, in which words; who is told, and who is let off."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import codec
from knarr.machinery.errors import Forbidden, Invalid
from knarr.service.authentication import User
from knarr.service.errors import CommandError
from services.apiserver.admission.catalog import PLUGINS, chosen, configured
from services.apiserver.admission.configuration import read_admission
from services.apiserver.admission.pod_security import plugin
from services.apiserver.admission.pod_security.checks import CHECKS, violations
from services.apiserver.admission.pod_security.levels import Policy, Standard, label_causes, policy_of
from services.apiserver.admission.pod_security.subject import Subject
from services.apiserver.in_memory import ApiInMemory

PREFIX = "pod-security.kubernetes.io/"
HARDENED = """
securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
containers:
- {name: c, image: i, securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
"""


def pod(spec: str, annotations: dict[str, str] | None = None) -> core.Pod:
    made = codec.from_json(core.Pod, {"spec": yaml.safe_load(spec)}).message
    made.metadata.name, made.metadata.namespace = "p", "n"
    made.metadata.annotations.update(annotations or {})
    return made


def told(standard: str, spec: str, annotations: dict[str, str] | None = None) -> str:
    level, version = standard.split(":")
    found = pod(spec, annotations)
    return violations(Standard(level, version), Subject(found.metadata.annotations, found.spec)).details


def one(container: str, spec: str = "") -> str:
    return f"{spec}\ncontainers: [{{name: c, image: i, {container}}}]"


BASELINE = [
    (one("securityContext: {appArmorProfile: {type: Unconfined}}"),
     'forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")'),
    (one("securityContext: {capabilities: {add: [NET_ADMIN, CHOWN]}}"),
     'non-default capabilities (container "c" must not include "NET_ADMIN" in securityContext.capabilities.add)'),
    (one("", "hostPID: true\nhostNetwork: true"), "host namespaces (hostNetwork=true, hostPID=true)"),
    (one("", "volumes: [{name: v, hostPath: {path: /}}, {name: w, hostPath: {path: /}}]"), 'hostPath volumes (volumes "v", "w")'),
    (one("ports: [{containerPort: 1, hostPort: 80}, {containerPort: 2, hostPort: 443}]"),
     'hostPort (container "c" uses hostPorts 443, 80)'),
    (one("livenessProbe: {httpGet: {host: other, port: 1}}"),
     'probe or lifecycle host (container "c" uses probe or lifecycle host "other")'),
    (one("securityContext: {privileged: true}"), 'privileged (container "c" must not set securityContext.privileged=true)'),
    (one("securityContext: {procMount: Unmasked}"), 'procMount (container "c" must not set securityContext.procMount to "Unmasked")'),
    (one("securityContext: {seLinuxOptions: {type: x}}", "securityContext: {seLinuxOptions: {user: u, role: r}}"),
     'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: '
     'type "x"; user may not be set; role may not be set)'),
    (one("securityContext: {seccompProfile: {type: Unconfined}}", "securityContext: {seccompProfile: {type: Unconfined}}"),
     'seccompProfile (pod and container "c" must not set securityContext.seccompProfile.type to "Unconfined")'),
    (one("", "securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}, {name: net.ipv4.tcp_rmem, value: '1'}]}"),
     "forbidden sysctls (kernel.msgmax)"),
    (one("", "securityContext: {windowsOptions: {hostProcess: true}}"),
     "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "words"), BASELINE)
def test_what_baseline_refuses(spec: str, words: str) -> None:
    assert told("baseline:latest", spec) == words
    assert told("privileged:latest", spec) == ""


ESCALATION = 'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)'
CAPABILITIES = 'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])'
NON_ROOT = 'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)'
SECCOMP = 'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'


def test_what_restricted_refuses() -> None:
    assert told("restricted:latest", HARDENED) == ""
    assert told("restricted:latest", one("")) == ", ".join([ESCALATION, CAPABILITIES, NON_ROOT, SECCOMP])
    assert told("baseline:latest", one("")) == ""
    volumes = HARDENED + "volumes: [{name: v, hostPath: {path: /}}, {name: w, nfs: {server: s, path: /}}, {name: x, emptyDir: {}}]"
    words = 'restricted volume types (volumes "v", "w" use restricted volume types "hostPath", "nfs")'
    assert told("restricted:latest", volumes) == words
    root = HARDENED.replace("runAsNonRoot: true", "runAsNonRoot: true, runAsUser: 0")
    assert told("restricted:latest", root) == "runAsUser=0 (pod must not set runAsUser=0)"
    added = HARDENED.replace("drop: [ALL]", "drop: [ALL], add: [SYS_TIME, NET_BIND_SERVICE]")
    words = 'unrestricted capabilities (container "c" must not include "SYS_TIME" in securityContext.capabilities.add)'
    assert told("restricted:latest", added) == words
    denied = HARDENED.replace("runAsNonRoot: true", "runAsNonRoot: false")
    assert told("restricted:latest", denied) == "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)"


def test_baseline_comes_first_and_all_containers_count() -> None:
    spec = "initContainers: [{name: i, image: i, securityContext: {privileged: true}}]" + one("securityContext: {privileged: true}")
    assert told("baseline:latest", spec) == 'privileged (containers "i", "c" must not set securityContext.privileged=true)'
    found = told("restricted:latest", spec)
    assert found.startswith('privileged (containers "i", "c"') and 'allowPrivilegeEscalation != false (containers "i", "c"' in found


def test_a_version_keeps_what_held_then() -> None:
    assert told("baseline:v1.33", one("livenessProbe: {httpGet: {host: other, port: 1}}")) == ""
    rmem = one("", "securityContext: {sysctls: [{name: net.ipv4.tcp_rmem, value: '1'}]}")
    assert told("baseline:v1.31", rmem) == "forbidden sysctls (net.ipv4.tcp_rmem)" and told("baseline:v1.32", rmem) == ""
    engine = one("securityContext: {seLinuxOptions: {type: container_engine_t}}")
    assert told("baseline:v1.30", engine) and not told("baseline:v1.31", engine)
    assert told("restricted:v1.7", one("")) == NON_ROOT
    windows = one("", "os: {name: windows}")
    assert ESCALATION in told("restricted:v1.24", windows) and ESCALATION not in told("restricted:v1.25", windows)
    own_users = one("securityContext: {procMount: Unmasked}", "hostUsers: false")
    assert told("baseline:v1.34", own_users) and not told("baseline:v1.35", own_users)
    assert "procMount" in told("restricted:v1.35", own_users) and NON_ROOT not in told("restricted:v1.35", own_users)
    annotated = {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}
    words = 'seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    assert told("baseline:v1.18", one(""), annotated) == words and told("baseline:v1.19", one(""), annotated) == ""
    apparmor = {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}
    value = 'container.apparmor.security.beta.kubernetes.io/c="unconfined"'
    words = f'forbidden AppArmor profile (annotation must not set AppArmor profile type to "{value}")'
    assert told("baseline:latest", one(""), apparmor) == words


def test_every_check_is_asked_in_some_test() -> None:
    reasons = " ".join(
        [*(words for _, words in BASELINE), ESCALATION, CAPABILITIES, NON_ROOT, SECCOMP, "runAsUser=0 restricted volume types"]
    )
    assert [check.name for check in CHECKS if isinstance(check.reason, str) and check.reason not in reasons] == []


def test_labels_that_are_misspelled_are_taken_for_the_strictest() -> None:
    labels = {PREFIX + "enforce": "none", PREFIX + "warn": "none", PREFIX + "audit-version": "1.25"}
    found = policy_of(labels, Policy())
    assert (str(found.enforce), str(found.audit), str(found.warn)) == ("restricted:latest", "privileged:latest", "privileged:latest")
    words = [f"{cause.field}: {cause.message}" for cause in label_causes(labels)]
    assert words == [
        f'metadata.labels[{PREFIX}enforce]: Invalid value: "none": must be one of privileged, baseline, restricted',
        f'metadata.labels[{PREFIX}audit-version]: Invalid value: "1.25": must be "latest" or "v1.x"',
        f'metadata.labels[{PREFIX}warn]: Invalid value: "none": must be one of privileged, baseline, restricted',
    ]


def namespace(**modes: str) -> core.Namespace:
    return core.Namespace(metadata=meta.ObjectMeta(name="n", labels={PREFIX + mode: level for mode, level in modes.items()}))


async def prepared(api: ApiInMemory, **modes: str) -> Any:
    client = api.client()
    await client.create(namespace(**modes))
    await client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="n")))
    return client


async def warnings(api: ApiInMemory, verb: str, obj: Any, subresource: str = "") -> list[str]:
    """Of one call, by the way of the faces."""
    from knarr.machinery.resources import served
    from services.apiserver.in_memory import ADMIN
    from services.apiserver.request import Request
    from services.apiserver.results import Ref

    version = served(api.server.registry.of(type(obj)), type(obj))
    options = meta.CreateOptions() if verb == "create" else meta.UpdateOptions()
    name = "" if verb == "create" else obj.metadata.name
    request = Request(ADMIN, verb, Ref(version, obj.metadata.namespace, name, subresource), options)
    written = await getattr(api.server.api, verb)(request, obj)
    return [found for found in written.warnings if "PodSecurity" in found or "other pod" in found or "p: " in found]


async def test_a_pod_is_refused_or_warned_of() -> None:
    async with ApiInMemory() as api:
        client = await prepared(api, enforce="baseline", warn="restricted")
        with pytest.raises(Forbidden) as refused:
            await client.create(pod(one("", "hostPID: true")))
        assert str(refused.value) == 'pods "p" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)'
        found = await warnings(api, "create", pod(one("")))
        assert found == [f'would violate PodSecurity "restricted:latest": {", ".join([ESCALATION, CAPABILITIES, NON_ROOT, SECCOMP])}']
        # What is of no matter to security is let through, and what is not is judged.
        api.seed(pod(one("securityContext: {privileged: true}")), checked=False)
        await api.settle()
        stored = await client.get(core.Pod, "p", "n")
        stored.metadata.labels["a"] = "b"
        stored = await client.update(stored)
        stored.spec.containers[0].image = "other"
        with pytest.raises(Forbidden, match='violates PodSecurity "baseline:latest": privileged'):
            await client.update(stored)


async def test_a_template_is_warned_of_and_never_refused() -> None:
    async with ApiInMemory() as api:
        await prepared(api, enforce="baseline", warn="baseline")
        made = apps.Deployment(metadata=meta.ObjectMeta(name="d", namespace="n"))
        made.spec.selector.match_labels["a"] = made.spec.template.metadata.labels["a"] = "b"
        made.spec.template.spec.CopyFrom(pod(one("", "hostIPC: true")).spec)
        found = await warnings(api, "create", made)
        assert found == ['would violate PodSecurity "baseline:latest": host namespaces (hostIPC=true)']


async def test_large_pods_are_not_all_looked_at_when_a_namespace_becomes_stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their containers, each of which costs a few hundredths of a millisecond."""
    turns: list[float] = []

    async def turn(seconds: float) -> None:
        turns.append(seconds)

    async with ApiInMemory() as api:
        client = await prepared(api)
        for number in range(3):
            made = pod(one("", "hostPID: true"))
            made.metadata.name = f"p{number}"
            made.spec.containers.add(name="other", image="i")
            await client.create(made)
        stored = await client.get(core.Namespace, "n")
        stored.metadata.labels[PREFIX + "enforce"] = "baseline"
        monkeypatch.setattr(plugin, "MAX_CONTAINERS", 5)
        monkeypatch.setattr(plugin, "AT_ONCE", 2)
        monkeypatch.setattr(plugin, "asyncio", SimpleNamespace(sleep=turn))
        found = await warnings(api, "update", stored)
        assert found[0] == "new PodSecurity enforce level only checked against the first 2 of 3 existing pods"
        assert found[-1] == "p0 (and 1 other pod): host namespaces" and turns == [0, 0]


async def test_a_namespace_says_which_pods_would_not_be_let_in() -> None:
    async with ApiInMemory() as api:
        client = await prepared(api)
        for name in ("p", "q", "r"):
            made = pod(one("", "hostPID: true"))
            made.metadata.name = name
            await client.create(made)
        stored = await client.get(core.Namespace, "n")
        stored.metadata.labels[PREFIX + "enforce"] = "baseline"
        assert await warnings(api, "update", stored) == [
            'existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest"',
            "p (and 2 other pods): host namespaces",
        ]
        stored = await client.get(core.Namespace, "n")
        stored.metadata.labels[PREFIX + "enforce"] = "loose"
        with pytest.raises(Invalid, match="must be one of privileged, baseline, restricted"):
            await client.update(stored)
        bad = namespace(enforce="loose")
        bad.metadata.name = "m"
        with pytest.raises(Invalid, match=r'Namespace "m" is invalid: metadata\.labels'):
            await client.create(bad)


CONFIGURATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: v1.30}
    exemptions: {usernames: [trusted], runtimeClasses: [sandboxed], namespaces: [free]}
"""


async def test_an_administrator_says_what_holds_and_who_is_let_off(tmp_path: Path) -> None:
    file = tmp_path / "admission.yaml"
    file.write_text(CONFIGURATION)
    async with ApiInMemory(plugins=configured(PLUGINS, read_admission(file))) as api:
        client = await prepared(api)
        await client.create(core.Namespace(metadata=meta.ObjectMeta(name="free")))
        await client.create(core.ServiceAccount(metadata=meta.ObjectMeta(name="default", namespace="free")))
        bad = pod(one("", "hostPID: true"))
        with pytest.raises(Forbidden, match=r'violates PodSecurity "baseline:v1\.30"'):
            await client.create(bad)
        await api.client(User("trusted", groups=("system:masters",))).create(bad)
        bad.metadata.namespace = "free"
        await client.create(bad)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: Other", "and not a apiserver.config.k8s.io/v1 AdmissionConfiguration"),
        (CONFIGURATION.replace("enforce: baseline", "enforce: none"), "defaults.enforce: 'none' must be one of privileged"),
        (CONFIGURATION.replace("v1.30", "v2.30"), "defaults.enforce-version: 'v2.30' must be \"latest\""),
        (CONFIGURATION.replace("k8s.io/v1\n    kind", "k8s.io/v2\n    kind"), "and not a pod-security.admission.config.k8s.io/v1"),
        (CONFIGURATION.replace("usernames", "users"), "unknown field exemptions.users"),
        (CONFIGURATION.replace("[free]", "free"), "exemptions.namespaces is no list of names"),
        (CONFIGURATION.replace("name: PodSecurity", "name: Nothing"), "no plugin 'Nothing' has a configuration"),
        (CONFIGURATION + CONFIGURATION[CONFIGURATION.index("- name"):], "two configurations of PodSecurity"),
        ("", "no single document"),
        (CONFIGURATION[: CONFIGURATION.index("  configuration")], "neither a configuration nor a path"),
        (CONFIGURATION[: CONFIGURATION.index("  configuration")] + "  path: other.yaml", "cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_says_where(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "admission.yaml"
    file.write_text(text)
    with pytest.raises(CommandError) as refused:
        read_admission(file)
    assert words in str(refused.value)


async def test_plugins_are_turned_on_and_off() -> None:
    names = [make.name for make in chosen(PLUGINS, {"OwnerReferencesPermissionEnforcement"}, {"PodSecurity"})]  # type: ignore[attr-defined]
    assert "PodSecurity" not in names and names.index("StorageObjectInUseProtection") + 1 == names.index(
        "OwnerReferencesPermissionEnforcement"
    )
    assert names[-1] == "ResourceQuota"
    async with ApiInMemory(plugins=chosen(PLUGINS, (), {"PodSecurity"})) as api:
        client = await prepared(api, enforce="restricted")
        await client.create(pod(one("", "hostPID: true")))
