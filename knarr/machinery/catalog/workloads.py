"""What runs pods and what is said about them: apps, batch, autoscaling, policy, scheduling, node."""

from __future__ import annotations

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling_v2
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.batch.v1beta1 import batch_pb2 as batch_v1beta1
from knarr.api.node.v1 import node_pb2 as node
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.policy.v1beta1 import policy_pb2 as policy_v1beta1
from knarr.api.scheduling.v1 import scheduling_pb2 as scheduling
from knarr.machinery.catalog.parts import SCALE, STATUS, retired, v1
from knarr.machinery.conversions.autoscaling import AUTOSCALING_V1
from knarr.machinery.conversions.retired import BATCH_V1BETA1, POLICY_V1BETA1
from knarr.machinery.resources import Resource, Version

RESOURCES: tuple[Resource, ...] = (
    Resource(
        "deployments",
        (v1("apps", apps.Deployment, apps.DeploymentList),),
        short_names=("deploy",),
        categories=("all",),
        subresources=(STATUS, SCALE),
    ),
    Resource(
        "replicasets",
        (v1("apps", apps.ReplicaSet, apps.ReplicaSetList),),
        short_names=("rs",),
        categories=("all",),
        subresources=(STATUS, SCALE),
    ),
    Resource(
        "statefulsets",
        (v1("apps", apps.StatefulSet, apps.StatefulSetList),),
        short_names=("sts",),
        categories=("all",),
        subresources=(STATUS, SCALE),
    ),
    Resource(
        "daemonsets",
        (v1("apps", apps.DaemonSet, apps.DaemonSetList),),
        short_names=("ds",),
        categories=("all",),
        subresources=(STATUS,),
    ),
    Resource("controllerrevisions", (v1("apps", apps.ControllerRevision, apps.ControllerRevisionList),)),
    Resource("jobs", (v1("batch", batch.Job, batch.JobList),), categories=("all",), subresources=(STATUS,)),
    Resource(
        "cronjobs",
        (
            v1("batch", batch.CronJob, batch.CronJobList),
            retired(
                "batch",
                "v1beta1",
                batch_v1beta1.CronJob,
                batch_v1beta1.CronJobList,
                BATCH_V1BETA1,
                since="1.21",
                until="1.25",
            ),
        ),
        short_names=("cj",),
        categories=("all",),
        subresources=(STATUS,),
    ),
    Resource(
        "horizontalpodautoscalers",
        (
            Version(
                "autoscaling",
                "v2",
                "HorizontalPodAutoscaler",
                autoscaling_v2.HorizontalPodAutoscaler,
                autoscaling_v2.HorizontalPodAutoscalerList,
            ),
            Version(
                "autoscaling",
                "v1",
                "HorizontalPodAutoscaler",
                autoscaling.HorizontalPodAutoscaler,
                autoscaling.HorizontalPodAutoscalerList,
                AUTOSCALING_V1,
            ),
        ),
        short_names=("hpa",),
        categories=("all",),
        subresources=(STATUS,),
    ),
    Resource(
        "poddisruptionbudgets",
        (
            v1("policy", policy.PodDisruptionBudget, policy.PodDisruptionBudgetList),
            retired(
                "policy",
                "v1beta1",
                policy_v1beta1.PodDisruptionBudget,
                policy_v1beta1.PodDisruptionBudgetList,
                POLICY_V1BETA1,
                since="1.21",
                until="1.25",
            ),
        ),
        short_names=("pdb",),
        subresources=(STATUS,),
    ),
    Resource(
        "priorityclasses",
        (v1("scheduling.k8s.io", scheduling.PriorityClass, scheduling.PriorityClassList),),
        namespaced=False,
        short_names=("pc",),
    ),
    Resource(
        "runtimeclasses",
        (v1("node.k8s.io", node.RuntimeClass, node.RuntimeClassList),),
        namespaced=False,
        formerly=("node.k8s.io/v1beta1",),
    ),
)
