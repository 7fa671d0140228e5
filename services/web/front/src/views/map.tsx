// The map: control plane, nodes with the pods on them by owner, Services with who answers for them.
import { Component } from "preact";
import { useMemo, useState } from "preact/hooks";
import { arrows } from "../keys";
import { live, useLive } from "../live";
import { condition, isReady, keyOf, kindOf, megabytes, named, ownerOf, podState, quantity, requested, restarts, withoutPods, type Look, type Obj } from "../objects";
import { usePolled } from "../polled";
import { useWords } from "../words";
import { Traffic } from "./traffic";

export type Choose = (resource: string, obj: Obj) => void;

const SIGNS: Record<Look, string> = { good: "", busy: "…", bad: "!", done: "✓", leaving: "×" };
const PARTS_MS = 5000;
const USAGE_MS = 15000;

interface PodProps {
  pod: Obj;
  marked: boolean;
  choose: Choose;
}

/** A pod is drawn again when it is another object: of a thousand, few change in a frame. */
class Pod extends Component<PodProps> {
  shouldComponentUpdate(next: PodProps): boolean {
    return next.pod !== this.props.pod || next.marked !== this.props.marked;
  }

  render({ pod, marked, choose }: PodProps) {
    const { word, look } = podState(pod);
    const words = `${keyOf(pod)}, ${word}${restarts(pod) ? `, ↻${restarts(pod)}` : ""}`;
    return (
      <button type="button" class={`pod look-${look}${marked ? " marked" : ""}`} title={words} aria-label={words} onClick={() => choose("pods", pod)}>
        {SIGNS[look]}
      </button>
    );
  }
}

/** By it what makes the pods is opened: to scale it, say. */
function Owner({ owner, count, choose }: { owner: string; count: number; choose: Choose }) {
  const say = useWords();
  const found = owner ? named(owner, (resource) => live.of(resource)) : undefined;
  const words = `${owner || say("single")} (${count})`;
  return found ? <button type="button" class="link soft" onClick={() => choose(...found)}>{words}</button> : <span class="soft">{words}</span>;
}

interface GroupsProps {
  pods: Obj[];
  replicaSets: ReadonlyMap<string, Obj>;
  marked: ReadonlySet<string>;
  choose: Choose;
}

function Groups({ pods, replicaSets, marked, choose }: GroupsProps) {
  const groups = new Map<string, Obj[]>();
  for (const pod of pods) {
    const owner = ownerOf(pod, replicaSets);
    const group = groups.get(owner);
    if (group) group.push(pod);
    else groups.set(owner, [pod]);
  }
  return (
    <>
      {[...groups].sort().map(([owner, members]) => (
        <div class="group" key={owner}>
          <Owner owner={owner} count={members.length} choose={choose} />
          <div class="pods">{members.map((pod) => <Pod key={keyOf(pod)} pod={pod} marked={marked.has(keyOf(pod))} choose={choose} />)}</div>
        </div>
      ))}
    </>
  );
}

interface MeasureProps {
  name: string;
  asked: number;
  all: number;
  used: number | undefined;
  show: (amount: number) => string;
}

function Measure({ name, asked, all, used, show }: MeasureProps) {
  const say = useWords();
  const words = say("requestedOf", { used: show(asked), all: show(all) }) + (used === undefined ? "" : `, ${say("usedNow", { used: show(used) })}`);
  return (
    <div class="measure">
      <span>{name}</span>
      <meter min={0} max={all || 1} value={Math.max(asked, 0)} high={all * 0.9} aria-label={`${name}: ${words}`} />
      <span class="soft">{words}</span>
    </div>
  );
}

const cores = (amount: number): string => (amount >= 10 ? amount.toFixed(0) : String(Math.round(amount * 100) / 100));

function NodeCard({ node, pods, usage, ...rest }: { node: Obj; usage?: Obj } & GroupsProps) {
  const say = useWords();
  const ready = isReady(node);
  const counted = pods.filter((pod) => !["Succeeded", "Failed"].includes(pod.status?.phase));
  const asked = (resource: string) => counted.reduce((sum, pod) => sum + requested(pod, resource), 0);
  const all = (resource: string) => quantity(node.status?.allocatable?.[resource]);
  const used = (resource: string) => (usage ? quantity(usage.usage[resource]) : undefined);
  return (
    <li class={`card ${ready ? "" : "bad"}`}>
      <div class="bar">
        <button type="button" class="link" onClick={() => rest.choose("nodes", node)}><h3>{node.metadata.name}</h3></button>
        <span class={ready ? "good" : "bad"} title={condition(node, "Ready")?.message}>{say(ready ? "ready" : "notReady")}</span>
        {node.spec?.unschedulable && <span class="busy">{say("cordoned")}</span>}
      </div>
      <Measure name={say("cpu")} asked={asked("cpu")} all={all("cpu")} used={used("cpu")} show={cores} />
      <Measure name={say("memory")} asked={asked("memory")} all={all("memory")} used={used("memory")} show={megabytes} />
      <Groups pods={pods} {...rest} />
    </li>
  );
}

/** That the viewer may not see, though he sees pods on it; or that is not there any more. */
function UnseenNode({ name, ...rest }: { name: string } & GroupsProps) {
  const say = useWords();
  const { standing } = useLive();
  return (
    <li class="card">
      <div class="bar"><h3>{name}</h3> <span class="soft">{say(standing.nodes ? "unseenNode" : "noSuchNode")}</span></div>
      <Groups {...rest} />
    </li>
  );
}

interface Endpoint {
  address: string;
  ready: boolean;
  pod?: string;
}

/** Who answers for each Service, by its key. */
export function endpointsByService(slices: Iterable<Obj>): Map<string, Endpoint[]> {
  const found = new Map<string, Endpoint[]>();
  for (const slice of slices) {
    const service = `${slice.metadata.namespace}/${slice.metadata.labels?.["kubernetes.io/service-name"] ?? ""}`;
    const members = found.get(service) ?? [];
    found.set(service, members);
    for (const one of slice.endpoints ?? []) {
      const pod = one.targetRef?.kind === "Pod" ? `${one.targetRef.namespace}/${one.targetRef.name}` : undefined;
      members.push({ address: one.addresses[0], ready: one.conditions?.ready !== false, pod });
    }
  }
  return found;
}

interface ServiceProps {
  service: Obj;
  endpoints: Endpoint[];
  pods: ReadonlyMap<string, Obj>;
  choose: Choose;
  mark: (pods: string[]) => void;
}

function ServiceCard({ service, endpoints, pods, choose, mark }: ServiceProps) {
  const say = useWords();
  const ports = (service.spec.ports ?? []).map((one: Obj) => `${one.port}${one.nodePort ? `:${one.nodePort}` : ""}/${one.protocol ?? "TCP"}`);
  const outside: Obj[] = service.status?.loadBalancer?.ingress ?? [];
  const answering = endpoints.some((one) => one.ready);
  const point = () => mark(endpoints.flatMap((one) => one.pod ?? []));
  return (
    <li class={`card ${answering || service.spec.type === "ExternalName" ? "" : "bad"}`} onMouseEnter={point} onMouseLeave={() => mark([])} onFocusIn={point} onFocusOut={() => mark([])}>
      <button type="button" class="link" onClick={() => choose("services", service)}><h3>{keyOf(service)}</h3></button>
      <div class="soft">
        {service.spec.type ?? "ClusterIP"} {service.spec.clusterIP} {ports.join(", ")}
        {outside.map((one) => ` ← ${one.ip ?? one.hostname}`)}
      </div>
      <div class="group">
        <span class={answering ? "soft" : "bad"}>{say("endpoints")}: {answering ? endpoints.length : say("noEndpoints")}</span>
        <div class="pods">
          {endpoints.map((one) => {
            const pod = one.pod && pods.get(one.pod);
            return pod ? <Pod key={one.address} pod={pod} marked={false} choose={choose} /> : <span key={one.address} class={one.ready ? "good" : "bad"}>{one.address}</span>;
          })}
        </div>
      </div>
    </li>
  );
}

interface PartHealth {
  component: string;
  address: string;
  answer: string;
}

function ControlPlane() {
  const say = useWords();
  const { answer: parts } = usePolled<PartHealth[]>("/parts", PARTS_MS);
  return (
    <section aria-labelledby="control-plane">
      <h2 id="control-plane">{say("controlPlane")}</h2>
      {parts && !parts.length && <p class="soft">{say("noParts")}</p>}
      <ul class="chips">
        {parts?.map((part) => (
          <li key={part.component} class={`chip ${part.answer === "SERVING" ? "" : "bad"}`} title={part.address}>
            {part.component} <span class={part.answer === "SERVING" ? "good" : "bad"}>{part.answer === "SERVING" ? say("ready") : part.answer}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function Map_({ choose, namespace }: { choose: Choose; namespace: string }) {
  const say = useWords();
  const { version, shown } = useLive();
  // What is measured and counted is so now: nobody remembers it of then.
  const now = shown === undefined;
  const [marked, setMarked] = useState<ReadonlySet<string>>(new Set());
  const { answer: usage } = usePolled<{ items: Obj[] }>("/cluster/apis/metrics.k8s.io/v1beta1/nodes", USAGE_MS);
  const mine = (obj: Obj) => !namespace || obj.metadata.namespace === namespace;
  const byNode = useMemo(() => {
    const found = new Map<string, Obj[]>();
    for (const pod of live.of("pods").values()) {
      if (!mine(pod)) continue;
      const node = pod.spec.nodeName ?? "";
      const members = found.get(node);
      if (members) members.push(pod);
      else found.set(node, [pod]);
    }
    return found;
  }, [version, namespace, live.of("pods")]);
  const endpoints = useMemo(() => endpointsByService(live.of("endpointslices").values()), [version, live.of("endpointslices")]);
  const rest = { replicaSets: live.of("replicasets"), marked, choose };
  const services = [...live.of("services").values()].filter(mine);
  const waiting = byNode.get("") ?? [];
  const unseen = [...byNode].filter(([name]) => name && !live.of("nodes").has(`/${name}`)).sort();
  const empty = useMemo(() => withoutPods((resource) => live.of(resource)).filter(([, obj]) => mine(obj)), [version, namespace]);
  return (
    <div onKeyDown={(event) => arrows(event, "main .pod")}>
      {now && <ControlPlane />}
      {waiting.length > 0 && (
        <section aria-labelledby="waiting">
          <h2 id="waiting">{say("waiting")} ({waiting.length})</h2>
          <div class="card full"><Groups pods={waiting} {...rest} /></div>
        </section>
      )}
      {empty.length > 0 && (
        <section aria-labelledby="empty">
          <h2 id="empty">{say("empty")}</h2>
          <div class="card full">{empty.map(([resource, obj]) => <div class="group" key={`${resource} ${keyOf(obj)}`}><Owner owner={`${kindOf(resource)} ${keyOf(obj)}`} count={0} choose={choose} /></div>)}</div>
        </section>
      )}
      <section aria-labelledby="nodes">
        <h2 id="nodes">{say("nodes")}</h2>
        {!live.of("nodes").size && !unseen.length && <p class="soft">{say("noNodes")}</p>}
        <ul class="cards">
          {[...live.of("nodes").values()].map((node) => (
            <NodeCard key={node.metadata.name} node={node} pods={byNode.get(node.metadata.name) ?? []} usage={now ? usage?.items?.find((one) => one.metadata.name === node.metadata.name) : undefined} {...rest} />
          ))}
          {unseen.map(([name, pods]) => <UnseenNode key={name} name={name} pods={pods} {...rest} />)}
        </ul>
      </section>
      {now && <Traffic choose={choose} namespace={namespace} />}
      <section aria-labelledby="services">
        <h2 id="services">{say("services")}</h2>
        {!services.length && <p class="soft">{say("noServices")}</p>}
        <ul class="cards">
          {services.map((service) => (
            <ServiceCard key={keyOf(service)} service={service} endpoints={endpoints.get(keyOf(service)) ?? []} pods={live.of("pods")} choose={choose} mark={(pods) => setMarked(new Set(pods))} />
          ))}
        </ul>
      </section>
    </div>
  );
}
