"""KubeSchedulerConfiguration files: what they choose, and what is said of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from services.scheduler.catalog import PLUGINS
from services.scheduler.configuration.configuration import Configuration, parse_configuration
from services.scheduler.preemption import DefaultPreemptionArgs
from services.scheduler.profile import ProfileSettings

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"


def parsed(text: str) -> Configuration:
    return parse_configuration((HEAD + text).encode())


def profile(text: str) -> ProfileSettings:
    """The only profile, whose fields are given."""
    (found,) = parsed(yaml.safe_dump({"profiles": [yaml.safe_load(text)]})).profiles
    return found


def filters(found: ProfileSettings) -> list[str]:
    return [plugin.name for plugin in found.filters]


def weights(found: ProfileSettings) -> dict[str, int]:
    return {plugin.name: weight for plugin, weight in found.scores if plugin.name != "VolumeBinding"}


def test_a_file_that_says_nothing_is_the_default() -> None:
    found = parsed("")
    fresh = ProfileSettings()
    assert [one.name for one in found.profiles] == ["default-scheduler"]
    assert weights(found.profiles[0]) == {plugin.name: weight for plugin, weight in fresh.scores if plugin.score is not PLUGINS[0].score}
    judging = [plugin for plugin in PLUGINS if plugin.name not in ("NodeResourcesBalancedAllocation", "ImageLocality")]
    assert list(found.profiles[0].filters) == judging
    assert [plugin.name for plugin in found.profiles[0].preparing] == ["VolumeBinding", "DynamicResources"]
    assert found.profiles[0].preemption == DefaultPreemptionArgs() and found.unused == ()
    assert (found.backoff_first_seconds, found.backoff_limit_seconds) == (1, 10)


def test_kubernetes_default_weights() -> None:
    assert weights(profile("{}")) == {
        "TaintToleration": 3,
        "NodeAffinity": 2,
        "PodTopologySpread": 2,
        "InterPodAffinity": 2,
        "DynamicResources": 2,
        "NodeResourcesFit": 1,
        "NodeResourcesBalancedAllocation": 1,
        "ImageLocality": 1,
    }


def test_a_point_can_be_emptied_and_filled() -> None:
    found = profile(
        "plugins: {score: {disabled: [{name: '*'}], enabled: [{name: ImageLocality, weight: 5}, {name: NodeAffinity}]}, "
        "filter: {disabled: [{name: NodePorts}]}, postFilter: {disabled: [{name: DefaultPreemption}]}}"
    )
    assert weights(found) == {"ImageLocality": 5, "NodeAffinity": 1}
    assert "NodePorts" not in filters(found) and "NodeName" in filters(found)
    assert found.preemption is None


def test_everywhere_is_expanded_after_what_a_point_names_of_it() -> None:
    found = profile("plugins: {filter: {enabled: [{name: InterPodAffinity}, {name: NodeName}]}}")
    assert filters(found)[:3] == ["InterPodAffinity", "NodeName", "NodeUnschedulable"]


def test_everywhere_can_be_chosen_anew() -> None:
    found = profile(
        "plugins: {multiPoint: {disabled: [{name: '*'}], enabled: [{name: PrioritySort}, {name: DefaultBinder}, "
        "{name: TaintToleration, weight: 7}, {name: NodeResourcesFit}]}, score: {disabled: [{name: NodeResourcesFit}]}}"
    )
    assert filters(found) == ["TaintToleration", "NodeResourcesFit"] and weights(found) == {"TaintToleration": 7}
    assert found.preemption is None and not found.preparing


def test_a_default_that_is_enabled_anew_keeps_its_place() -> None:
    found = profile("plugins: {multiPoint: {enabled: [{name: NodeAffinity, weight: 9}]}}")
    assert filters(found) == filters(profile("{}")) and weights(found)["NodeAffinity"] == 9


def test_disabled_and_enabled_is_enabled() -> None:
    found = profile("plugins: {multiPoint: {disabled: [{name: ImageLocality}], enabled: [{name: ImageLocality, weight: 4}]}}")
    assert weights(found)["ImageLocality"] == 4
    assert list(weights(found))[-1] == "ImageLocality"


def test_arguments_are_read() -> None:
    found = profile(
        """
        schedulerName: packing
        pluginConfig:
        - name: NodeResourcesFit
          args:
            apiVersion: kubescheduler.config.k8s.io/v1
            kind: NodeResourcesFitArgs
            ignoredResources: [example.com/gpu]
            scoringStrategy:
              type: RequestedToCapacityRatio
              resources: [{name: cpu, weight: 3}, {name: example.com/gpu}]
              requestedToCapacityRatio: {shape: [{utilization: 0, score: 0}, {utilization: 100, score: 10}]}
        - name: NodeAffinity
          args:
            addedAffinity:
              requiredDuringSchedulingIgnoredDuringExecution:
                nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]
        - name: DefaultPreemption
          args: {minCandidateNodesPercentage: 50}
        - name: VolumeBinding
          args: {bindTimeoutSeconds: 30}
        """
    )
    args: Any = found.args
    assert found.name == "packing"
    assert [(one.name, one.weight) for one in args["NodeResourcesFit"].scoring_strategy.resources] == [("cpu", 3), ("example.com/gpu", 1)]
    added = args["NodeAffinity"].added_affinity.required_during_scheduling_ignored_during_execution
    assert added.node_selector_terms[0].match_expressions[0].key == "a"
    assert found.preemption == DefaultPreemptionArgs(50, 100)
    assert args["VolumeBinding"].bind_timeout_seconds == 30


def test_what_makes_no_difference_is_told() -> None:
    found = parsed(
        "parallelism: 4\npercentageOfNodesToScore: 30\nclientConnection: {kubeconfig: /etc/x}\n"
        "profiles: [{plugins: {preFilter: {disabled: [{name: '*'}]}}}]\nleaderElection: {leaderElect: true, resourceName: mine}\n"
    )
    assert found.leader_election.leader_elect is True
    assert [words.partition(":")[0] for words in found.unused] == [
        "parallelism",
        "percentageOfNodesToScore",
        "clientConnection",
        "leaderElection.resourceName",
        "profiles[0].plugins.preFilter",
    ]


WRONG = [
    ("profile: []", 'strict decoding error: unknown field "profile"'),
    ("profiles: [{plugin: {}, x: 1}]", 'strict decoding error: unknown field "profiles[0].plugin", unknown field "profiles[0].x"'),
    ("profiles: {}", 'profiles: Invalid value: "{}": must be a list'),
    ("parallelism: many", 'parallelism: Invalid value: "many": must be an integer of 32 bits'),
    ("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero"),
    ("percentageOfNodesToScore: 101", "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
    ("podInitialBackoffSeconds: 0", "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
    (
        "podMaxBackoffSeconds: 1\npodInitialBackoffSeconds: 2",
        "podMaxBackoffSeconds: Invalid value: 1: must be greater than or equal to PodInitialBackoffSeconds",
    ),
    (
        "leaderElection: {leaderElect: true, resourceLock: endpoints}",
        'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"',
    ),
    ("leaderElection: {leaseDuration: 5}", "leaderElection.leaseDuration: Invalid value: 5: must be a time like 5s"),
    ("profiles: [{schedulerName: a}, {}]", "profiles[1].schedulerName: Required value"),
    ("profiles: [{schedulerName: a}, {schedulerName: a}]", 'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"'),
    (
        "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {queueSort: {enabled: [{name: PrioritySort}]}}}]",
        'profiles[1].plugins.queueSort: Invalid value: {"Enabled":[{"Name":"PrioritySort","Weight":0}],"Disabled":null}: '
        "must be the same for all profiles",
    ),
    (
        "profiles: [{plugins: {queueSort: {disabled: [{name: '*'}]}}}]",
        "profiles[0].plugins.queueSort: Invalid value: 0: only one queue sort plugin required for profile with scheduler name "
        '"default-scheduler", but got 0',
    ),
    (
        "profiles: [{plugins: {bind: {disabled: [{name: '*'}]}}}]",
        'profiles[0].plugins.bind: Required value: at least one bind plugin is needed for profile with scheduler name "default-scheduler"',
    ),
    (
        "profiles: [{plugins: {filter: {enabled: [{name: Banana}]}}}]",
        'profiles[0].plugins.filter.enabled[0].name: Invalid value: "Banana": FilterPlugin "Banana" does not exist',
    ),
    (
        "profiles: [{plugins: {score: {enabled: [{name: NodeName}]}}}]",
        'profiles[0].plugins.score.enabled[0].name: Invalid value: "NodeName": plugin "NodeName" does not extend ScorePlugin plugin',
    ),
    (
        "profiles: [{plugins: {score: {enabled: [{name: NodeAffinity}, {name: NodeAffinity}]}}}]",
        'profiles[0].plugins.score.enabled[1].name: Invalid value: "NodeAffinity": plugin "NodeAffinity" already registered as '
        '"ScorePlugin"',
    ),
    (
        "profiles: [{plugins: {score: {enabled: [{name: NodeAffinity, weight: -1}]}}}]",
        "profiles[0].plugins.score.enabled[0].weight: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "profiles: [{pluginConfig: [{name: NodeAffinity, args: {kind: NodeResourcesFitArgs}}]}]",
        'profiles[0].pluginConfig[0].args.kind: Invalid value: "NodeResourcesFitArgs": args for plugin NodeAffinity were not of type '
        "NodeAffinityArgs.kubescheduler.config.k8s.io, got NodeResourcesFitArgs.kubescheduler.config.k8s.io",
    ),
    ("profiles: [{pluginConfig: [{name: Banana}]}]", 'profiles[0].pluginConfig[0].name: Not found: "Banana"'),
    (
        "profiles: [{pluginConfig: [{name: NodeAffinity}, {name: NodeAffinity}]}]",
        'profiles[0].pluginConfig[1]: Duplicate value: "NodeAffinity"',
    ),
    (
        "profiles: [{pluginConfig: [{name: NodeName, args: {x: 1}}]}]",
        "profiles[0].pluginConfig[0].args: Forbidden: plugin NodeName takes no args",
    ),
    (
        "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeigth: 2}}]}]",
        'strict decoding error: unknown field "profiles[0].pluginConfig[0].args.hardPodAffinityWeigth"',
    ),
    (
        "profiles: [{pluginConfig: [{name: NodeAffinity, args: {addedAffinity: {preferred: []}}}]}]",
        'strict decoding error: unknown field "profiles[0].pluginConfig[0].args.addedAffinity.preferred"',
    ),
]
ARGS = [
    ("InterPodAffinity", "hardPodAffinityWeight: 101", "hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]"),
    (
        "VolumeBinding",
        "bindTimeoutSeconds: -1",
        "bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds",
    ),
    (
        "DefaultPreemption",
        "minCandidateNodesPercentage: 101",
        "minCandidateNodesPercentage: Invalid value: 101: not in valid range",
    ),
    ("NodeResourcesFit", "scoringStrategy: {type: Most}", 'scoringStrategy.type: Unsupported value: "Most": supported values: '),
    (
        "NodeResourcesFit",
        "scoringStrategy: {type: MostAllocated, resources: [{name: cpu, weight: 101}]}",
        "scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
    ),
    (
        "NodeResourcesFit",
        "scoringStrategy: {type: RequestedToCapacityRatio}",
        "scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
    ),
    (
        "NodeResourcesFit",
        "scoringStrategy: {type: RequestedToCapacityRatio, requestedToCapacityRatio: {shape: [{utilization: 5}, {utilization: 5}]}}",
        "scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 5: values must be sorted in increasing order",
    ),
    (
        "NodeResourcesFit",
        "ignoredResourceGroups: [a/b]",
        "ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'",
    ),
    ("NodeResourcesBalancedAllocation", "resources: [{name: cpu, weight: 2}]", "resources[0].weight: Invalid value: 2: must be 1"),
    (
        "PodTopologySpread",
        "defaultConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]",
        'defaultingType: Invalid value: "System": when .defaultConstraints are not empty',
    ),
    (
        "PodTopologySpread",
        "{defaultingType: List, defaultConstraints: [{topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]}",
        "defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
    ),
    (
        "NodeAffinity",
        "addedAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 0, preference: {matchExpressions: []}}]}",
        "addedAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100",
    ),
    *(
        (
            "NodeAffinity",
            f"addedAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{{{term}}}]}}}}",
            f"addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].{told}",
        )
        for term, told in (
            (
                "matchExpressions: [{key: a, operator: In}]",
                "matchExpressions[0].values: Invalid value: null: for 'in', 'notin' operators, values set can't be empty",
            ),
            (
                "matchExpressions: [{key: a, operator: Exists, values: [b]}]",
                'matchExpressions[0].values: Invalid value: ["b"]: values set must be empty for exists and does not exist',
            ),
            (
                "matchExpressions: [{key: a, operator: Gt}]",
                "matchExpressions[0].values: Invalid value: null: for 'Gt', 'Lt' operators, exactly one value is required",
            ),
            (
                "matchExpressions: [{key: a, operator: Lt, values: [many]}]",
                "matchExpressions[0].values[0]: Invalid value: \"many\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
            (
                "matchExpressions: [{key: a, operator: In, values: [-]}]",
                'matchExpressions[0].values[0][a]: Invalid value: "-": a valid label',
            ),
            ("matchExpressions: [{key: a, operator: Like}]", 'matchExpressions[0].operator: Unsupported value: "Like": supported values: '),
            (
                "matchFields: [{key: metadata.name, operator: In, values: [a, b]}]",
                'matchFields[0].values: Invalid value: ["a","b"]: must have one element',
            ),
        )
    ),
]


@pytest.mark.parametrize(("text", "told"), WRONG)
def test_what_is_wrong_is_said_with_its_place(text: str, told: str) -> None:
    with pytest.raises(ValueError) as error:
        parsed(text)
    assert str(error.value) == told


@pytest.mark.parametrize(("name", "args", "told"), ARGS)
def test_what_is_wrong_with_arguments_is_said_with_its_place(name: str, args: str, told: str) -> None:
    with pytest.raises(ValueError) as error:
        profile(yaml.safe_dump({"pluginConfig": [{"name": name, "args": yaml.safe_load(args)}]}))
    assert f"profiles[0].pluginConfig[0].args.{told}" in str(error.value)


def test_all_that_is_wrong_is_said() -> None:
    with pytest.raises(ValueError) as error:
        parsed("parallelism: 0\npodInitialBackoffSeconds: -1\n")
    assert str(error.value).startswith("[parallelism: ") and ", podInitialBackoffSeconds: " in str(error.value)


def test_a_field_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="'parallelism' is there twice"):
        parsed("parallelism: 4\nparallelism: 5\n")


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one KubeSchedulerConfiguration of kubescheduler\.config\.k8s\.io/v1"):
        parse_configuration(HEAD.replace("/v1", "/v1beta3").encode())
