"""The section ``aws`` of the cloud configuration file."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """Where in AWS this cluster lives. Credentials come from AWS' own places: environment, profile, role of the instance."""

    # For example `eu-west-1`; empty: what the environment says (AWS_REGION, the profile).
    region: str = ""
    # A profile of AWS' credential files; empty: the usual search for credentials.
    profile: str = ""
    # Another place than AWS' for all calls, a URL: for tests and private endpoints.
    endpoint_url: str = ""
    # The network of the nodes, `vpc-…`; empty: that of the instances.
    vpc: str = ""
    # Where load balancers stand unless a Service says otherwise, `subnet-…`; empty: discovered by tags and the nodes' zones.
    subnets: tuple[str, ...] = ()
    # The nodes' groups that get rules for NodePorts, `sg-…`; empty: those of the instances, by tag where an instance has several.
    node_security_groups: tuple[str, ...] = ()
    # Whether the network's route tables lead to the nodes' pods.
    routes: bool = True
    # Where those routes are kept, `rtb-…`; empty: the tables that have the cluster's tag, else the main table of the network.
    route_tables: tuple[str, ...] = ()
    # Further tags for all that is made.
    tags: dict[str, str] = field(default_factory=dict)
    # How long what was read of instances and subnets is good, seconds.
    refresh_seconds: float = 10.0
    # How long a connection may take to be made, and an answer to come, seconds.
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 20.0
    # How often a call is tried before its error is reported.
    attempts: int = 3
    # Calls to AWS at a time.
    threads: int = 4

    def __post_init__(self) -> None:
        for name, prefix in (("subnets", "subnet-"), ("node_security_groups", "sg-"), ("route_tables", "rtb-")):
            for value in getattr(self, name):
                if not value.startswith(prefix):
                    raise ValueError(f"{name}: must be a list of ids like {prefix}0123456789abcdef0, not {value!r}")
        if self.vpc and not self.vpc.startswith("vpc-"):
            raise ValueError(f"vpc: must be an id like vpc-0123456789abcdef0, not {self.vpc!r}")
        if self.endpoint_url and not self.endpoint_url.startswith(("http://", "https://")):
            raise ValueError(f"endpoint_url: must begin with http:// or https://, not {self.endpoint_url!r}")
        for name in ("connect_timeout_seconds", "read_timeout_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}: must be more than 0")
        for name in ("attempts", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: must be at least 1")
        if self.refresh_seconds < 0:
            raise ValueError("refresh_seconds: must not be negative")
        for key in self.tags:
            if key.startswith("aws:"):
                raise ValueError(f"tags: must not begin with aws:, as {key!r} does: AWS keeps those for itself")
