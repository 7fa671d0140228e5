// What the page reads of objects. They are JSON as the API server writes it, so that most fields may be missing.

export type Obj = Record<string, any>;

export const keyOf = (obj: Obj): string => `${obj.metadata.namespace ?? ""}/${obj.metadata.name}`;

const SUFFIXES: Record<string, number> = {
  n: 1e-9, u: 1e-6, m: 1e-3, "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15, E: 1e18,
  Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50, Ei: 2 ** 60,
};

/** A quantity in its unit: cores, bytes. */
export function quantity(text: string | undefined): number {
  const found = /^([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([numkKMGTPE]?i?)$/.exec(text ?? "0");
  return found ? Number(found[1]) * (SUFFIXES[found[2]] ?? 1) : 0;
}

/** What a pod asks for: containers together, or the largest of those that run before them. */
export function requested(pod: Obj, resource: string): number {
  const of = (container: Obj) => quantity(container.resources?.requests?.[resource]);
  const inits: Obj[] = pod.spec.initContainers ?? [];
  const beside = inits.filter((one) => one.restartPolicy === "Always");
  const running = [...(pod.spec.containers as Obj[]), ...beside].reduce((sum, one) => sum + of(one), 0);
  const before = Math.max(0, ...inits.filter((one) => one.restartPolicy !== "Always").map(of));
  return Math.max(running, before) + quantity(pod.spec.overhead?.[resource]);
}

export const condition = (obj: Obj, type: string): Obj | undefined => obj.status?.conditions?.find((one: Obj) => one.type === type);

export const isReady = (obj: Obj): boolean => condition(obj, "Ready")?.status === "True";

export const restarts = (pod: Obj): number =>
  (pod.status?.containerStatuses ?? []).reduce((sum: number, one: Obj) => sum + (one.restartCount ?? 0), 0);

export type Look = "good" | "busy" | "bad" | "done" | "leaving";

/** The word for a pod that `kubectl get pods` has, and how it is to look. */
export function podState(pod: Obj): { word: string; look: Look } {
  if (pod.metadata.deletionTimestamp) return { word: "Terminating", look: "leaving" };
  const statuses: Obj[] = [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
  const waits = statuses.map((one) => one.state?.waiting?.reason).find((reason) => reason && reason !== "PodInitializing");
  if (waits) return { word: waits, look: waits === "ContainerCreating" ? "busy" : "bad" };
  const phase: string = pod.status?.phase ?? "Pending";
  if (phase === "Succeeded") return { word: "Completed", look: "done" };
  if (phase === "Failed") return { word: pod.status?.reason ?? "Error", look: "bad" };
  if (phase === "Running") {
    const ended = statuses.map((one) => one.state?.terminated).find((one) => one && one.exitCode !== 0);
    if (ended) return { word: ended.reason ?? "Error", look: "bad" };
    return { word: "Running", look: isReady(pod) ? "good" : "busy" };
  }
  return { word: condition(pod, "PodScheduled")?.status === "False" ? "Unschedulable" : phase, look: "busy" };
}

/** Whose pod it is, as far up as can be told: a Deployment rather than its ReplicaSet. */
export function ownerOf(pod: Obj, replicaSets: ReadonlyMap<string, Obj>): string {
  const owner = pod.metadata.ownerReferences?.find((one: Obj) => one.controller);
  if (!owner) return "";
  const above = owner.kind === "ReplicaSet" ? replicaSets.get(`${pod.metadata.namespace}/${owner.name}`) : undefined;
  const top = above?.metadata.ownerReferences?.find((one: Obj) => one.controller) ?? owner;
  // What a node runs by itself is the Node's, which is of no namespace.
  return `${top.kind} ${top.kind === "Node" ? "" : `${pod.metadata.namespace}/`}${top.name}`;
}

/** What `ownerOf` names: its resource and the object; nothing where it is not followed or not seen. */
export function named(owner: string, of: (resource: string) => ReadonlyMap<string, Obj>): [string, Obj] | undefined {
  const [kind, key] = owner.split(" ");
  const resource = Object.keys(KINDS).find((one) => KINDS[one][1] === kind);
  const obj = resource && of(resource).get(key.includes("/") ? key : `/${key}`);
  return obj ? [resource, obj] : undefined;
}

const SCALED = ["deployments", "statefulsets", "daemonsets"];

/** What would have pods and has none: it stands on no node, and is to be found all the same. */
export function withoutPods(of: (resource: string) => ReadonlyMap<string, Obj>): [string, Obj][] {
  const owners = new Set([...of("pods").values()].map((pod) => ownerOf(pod, of("replicasets"))));
  return SCALED.flatMap((resource) =>
    [...of(resource).values()].filter((obj) => !owners.has(`${kindOf(resource)} ${keyOf(obj)}`)).map((obj): [string, Obj] => [resource, obj]));
}

const KINDS: Record<string, [string, string]> = {
  nodes: ["/api/v1", "Node"], namespaces: ["/api/v1", "Namespace"], pods: ["/api/v1", "Pod"], services: ["/api/v1", "Service"],
  configmaps: ["/api/v1", "ConfigMap"], secrets: ["/api/v1", "Secret"], endpointslices: ["/apis/discovery.k8s.io/v1", "EndpointSlice"],
  deployments: ["/apis/apps/v1", "Deployment"], replicasets: ["/apis/apps/v1", "ReplicaSet"], daemonsets: ["/apis/apps/v1", "DaemonSet"],
  statefulsets: ["/apis/apps/v1", "StatefulSet"], jobs: ["/apis/batch/v1", "Job"], cronjobs: ["/apis/batch/v1", "CronJob"],
  networkpolicies: ["/apis/networking.k8s.io/v1", "NetworkPolicy"],
};

/** As rights call it: empty for what was there first. */
export const groupOf = (resource: string): string => KINDS[resource]?.[0].split("/")[3] ? KINDS[resource][0].split("/")[2] : "";

export const kindOf = (resource: string): string => KINDS[resource]?.[1] ?? resource;

/** Where an object is at the API server. */
export function pathOf(resource: string, namespace: string, name: string): string {
  const below = namespace ? `/namespaces/${namespace}` : "";
  return `${KINDS[resource][0]}${below}/${resource}/${name}`;
}

export const megabytes = (bytes: number): string =>
  bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${Math.round(bytes / 2 ** 20)} MiB`;
