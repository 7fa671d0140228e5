// What may be done with an object: first what would happen, then, when that was read, the thing itself.
import { useEffect, useRef, useState } from "preact/hooks";
import { live, useLive } from "../live";
import { groupOf, keyOf, kindOf, pathOf, type Obj } from "../objects";
import { useMay } from "../rights";
import { Refused, get, send } from "../server";
import { useWords, type Say, type Word } from "../words";
import type { TabProps } from "./object";

interface Outcome {
  namespace: string;
  pod: string;
  fate: string;
  from: string;
  to: string;
  reason: string;
}

interface Answer {
  pods: Outcome[];
  budgets: { namespace: string; name: string; allowed: number; pods: string[] }[];
  limits: string[];
}

interface Plan {
  title: Word;
  /** What the scheduler is asked about it. */
  query?: URLSearchParams;
  /** Asks the API server whether it would be taken. */
  look: () => Promise<unknown>;
  run: (tell: (words: string) => void) => Promise<unknown>;
}

const STRATEGIC = "application/strategic-merge-patch+json";
const patch = (path: string, body: unknown, dry = false) => send("PATCH", `/cluster${path}${dry ? "?dryRun=All" : ""}`, JSON.stringify(body), STRATEGIC);

function Outcomes({ answer }: { answer: Answer }) {
  const say = useWords();
  return (
    <>
      {!answer.pods.length && <p>{say("whatIfNothing")}</p>}
      {answer.pods.length > 0 && (
        <table>
          <thead><tr>{(["pods", "fate", "from", "to", "reason"] as Word[]).map((word) => <th scope="col" key={word}>{say(word)}</th>)}</tr></thead>
          <tbody>
            {answer.pods.map((one) => {
              const fate = one.fate.replace("FATE_", "").toLowerCase();
              return (
                <tr key={`${one.namespace}/${one.pod}`}>
                  <th scope="row">{one.namespace}/{one.pod}</th>
                  <td class={{ placed: "good", stays: "soft" }[fate] ?? "bad"}>{say(`fate.${fate}` as Word)}</td>
                  <td>{one.from}</td>
                  <td>{one.to}</td>
                  <td class="soft">{one.reason}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
      {answer.budgets.map((one) => <p key={one.namespace + one.name} class={one.allowed < one.pods.length ? "notice" : ""}>{say("budget")} {one.namespace}/{one.name}: {say("budgetAllows", { allowed: one.allowed, pods: one.pods.length })}</p>)}
      {answer.limits.map((words) => <p key={words} class="soft">{words}</p>)}
    </>
  );
}

function Confirmation({ plan, close }: { plan: Plan; close: () => void }) {
  const say = useWords();
  const box = useRef<HTMLDialogElement>(null);
  const [answer, setAnswer] = useState<Answer>();
  const [unknown, setUnknown] = useState("");
  // Nothing until the API server has said whether it would take it.
  const [refusal, setRefusal] = useState<string>();
  const [said, setSaid] = useState<string[]>([]);
  const [state, setState] = useState<"asked" | "working" | "over">("asked");
  useEffect(() => {
    box.current!.showModal();
    if (plan.query) get(`/what-if?${plan.query}`).then(setAnswer, (error) => setUnknown(error.message));
    plan.look().then(() => setRefusal(""), (error) => setRefusal(error.message));
  }, []);
  const run = () => {
    setState("working");
    const tell = (words: string) => setSaid((all) => [...all, words]);
    plan.run(tell).then(() => tell(say("done")), (error) => tell(error.message)).finally(() => setState("over"));
  };
  return (
    <dialog ref={box} aria-labelledby="plan" onClose={close} onKeyDown={(event) => event.stopPropagation()}>
      <h2 id="plan">{say(plan.title)}</h2>
      {plan.query && <h3>{say("whatIfThen")}</h3>}
      {unknown && <p class="notice">{say("whatIfUnknown", { words: unknown })}</p>}
      {answer && <Outcomes answer={answer} />}
      <div role="status">
        {refusal !== undefined && <p class={refusal ? "bad" : "soft"}>{refusal ? say("dryRunRefused", { words: refusal }) : say("dryRunPassed")}</p>}
        {said.length > 0 && <ul>{said.map((words, index) => <li key={index}>{words}</li>)}</ul>}
      </div>
      <div class="tabs">
        {state !== "over" && <button type="button" class="doing" onClick={run} disabled={state === "working" || refusal !== ""}>{say("doIt")}</button>}
        <button type="button" autofocus onClick={() => box.current!.close()}>{say(state === "over" ? "close" : "leaveIt")}</button>
      </div>
    </dialog>
  );
}

const controllerOf = (obj: Obj): Obj | undefined => obj.metadata.ownerReferences?.find((one: Obj) => one.controller);
const ended = (pod: Obj): boolean => ["Succeeded", "Failed"].includes(pod.status?.phase);
const leaves = (pod: Obj): boolean => controllerOf(pod)?.kind !== "DaemonSet" && !pod.metadata.annotations?.["kubernetes.io/config.mirror"] && !ended(pod);

const EVICT_AGAIN_MS = 3000;
const EVICT_TRIES = 10;
const TOO_MANY = 429;

/** A budget may want others to be ready elsewhere first. */
async function evict(pod: Obj, say: Say, tell: (words: string) => void): Promise<void> {
  const { namespace, name } = pod.metadata;
  const body = JSON.stringify({ apiVersion: "policy/v1", kind: "Eviction", metadata: { namespace, name } });
  for (let tries = 1; ; tries++) {
    try {
      await send("POST", `/cluster${pathOf("pods", namespace, name)}/eviction`, body, "application/json");
      return tell(say("evicted", { pod: keyOf(pod) }));
    } catch (error) {
      // It has gone by itself meanwhile.
      if (error instanceof Refused && error.code === 404) return tell(say("evicted", { pod: keyOf(pod) }));
      if (!(error instanceof Refused)) return tell(say("evictGaveUp", { pod: keyOf(pod), words: (error as Error).message }));
      if (error.code !== TOO_MANY || tries === EVICT_TRIES) return tell(say("evictGaveUp", { pod: keyOf(pod), words: error.message }));
      if (tries === 1) tell(say("evictWaits", { pod: keyOf(pod), words: error.message }));
      await new Promise((go) => setTimeout(go, EVICT_AGAIN_MS));
    }
  }
}

function Node({ obj, ask }: ActProps) {
  const say = useWords();
  const name = obj.metadata.name;
  const path = pathOf("nodes", "", name);
  const cordon = useMay({ verb: "patch", resource: "nodes", name });
  const drain = useMay({ verb: "patch", resource: "nodes", name }, { verb: "create", resource: "pods", subresource: "eviction" });
  const mark = (unschedulable: boolean | null, dry = false) => patch(path, { spec: { unschedulable } }, dry);
  const run = async (tell: (words: string) => void) => {
    await mark(true);
    const pods = [...live.objects.get("pods")!.values()].filter((pod) => pod.spec.nodeName === name && leaves(pod));
    await Promise.all(pods.map((pod) => evict(pod, say, tell)));
  };
  return (
    <>
      {drain && <p><button type="button" onClick={() => ask({ title: "drain", query: new URLSearchParams({ drain: name }), look: () => mark(true, true), run })}>{say("drain")}…</button> <span class="soft">{say("drainMeans")}</span></p>}
      {cordon && obj.spec?.unschedulable && <p><button type="button" onClick={() => ask({ title: "uncordon", look: () => mark(null, true), run: () => mark(null) })}>{say("uncordon")}…</button></p>}
      {!cordon && !drain && <p class="soft">{say("nothingAllowed")}</p>}
    </>
  );
}

const OWNERS: Record<string, string> = { ReplicaSet: "replicasets", Deployment: "deployments", StatefulSet: "statefulsets", DaemonSet: "daemonsets" };

/** What has the template of a pod: as far up as can be told; nothing where nobody makes it anew, or who does is not known here. */
function templateOf(obj: Obj): { resource: string; obj: Obj } | undefined {
  const owner = controllerOf(obj);
  const resource = owner && OWNERS[owner.kind];
  const above = resource && live.of(resource).get(`${obj.metadata.namespace}/${owner.name}`);
  return above ? (templateOf(above) ?? { resource: resource as string, obj: above }) : undefined;
}

function More({ obj, ask }: ActProps) {
  const say = useWords();
  const { namespace, name } = obj.metadata;
  const [container, setContainer] = useState<string>(obj.spec.containers[0].name);
  const asked = obj.spec.containers.find((one: Obj) => one.name === container)?.resources?.requests ?? {};
  const [wanted, setWanted] = useState<Record<string, string>>({});
  const owner = templateOf(obj);
  // A pod that nobody makes anew is resized where it is.
  const target = owner ?? { resource: "pods", obj };
  const allowed = useMay({ verb: "patch", group: groupOf(target.resource), resource: target.resource, subresource: owner ? undefined : "resize", namespace, name: target.obj.metadata.name });
  if (!allowed || ended(obj)) return null;
  const requests = Object.fromEntries(Object.entries(wanted).filter(([, amount]) => amount.trim()));
  const containers = [{ name: container, resources: { requests } }];
  const path = pathOf(target.resource, namespace, target.obj.metadata.name) + (owner ? "" : "/resize");
  const body = owner ? { spec: { template: { spec: { containers } } } } : { spec: { containers } };
  const query = new URLSearchParams({ requests: `${namespace}/${name}`, container, ...requests });
  const field = (resource: string, label: Word) => (
    <label>{say(label)} <input size={7} placeholder={asked[resource] ?? "0"} value={wanted[resource] ?? ""} onInput={(event) => setWanted({ ...wanted, [resource]: event.currentTarget.value })} /></label>
  );
  return (
    <fieldset>
      <legend>{say("askMore")}</legend>
      <div class="tabs">
        <label>{say("container")} <select value={container} onChange={(event) => setContainer(event.currentTarget.value)}>{obj.spec.containers.map((one: Obj) => <option key={one.name}>{one.name}</option>)}</select></label>
        {field("cpu", "cpu")}
        {field("memory", "memory")}
        <button type="button" disabled={!Object.keys(requests).length} onClick={() => ask({ title: "askMore", query, look: () => patch(path, body, true), run: () => patch(path, body) })}>{say("askMore")}…</button>
      </div>
      <p class="soft">{say("askMoreOf", { owner: `${kindOf(target.resource)} ${keyOf(target.obj)}` })}</p>
    </fieldset>
  );
}

function Pod({ obj, ask }: ActProps) {
  const say = useWords();
  const { namespace, name } = obj.metadata;
  const path = pathOf("pods", namespace, name);
  const remove = useMay({ verb: "delete", resource: "pods", namespace, name });
  const drop = (dry: boolean) => send("DELETE", `/cluster${path}${dry ? "?dryRun=All" : ""}`, "", "application/json");
  return (
    <>
      {remove && <p><button type="button" onClick={() => ask({ title: "deletePod", query: new URLSearchParams({ delete: `${namespace}/${name}` }), look: () => drop(true), run: () => drop(false) })}>{say("deletePod")}…</button></p>}
      {!remove && <p class="soft">{say("nothingAllowed")}</p>}
      <More obj={obj} ask={ask} />
    </>
  );
}

const SCALED = ["deployments", "statefulsets", "replicasets"];
const MOST_REPLICAS = 10_000;

function Workload({ resource, obj, ask }: ActProps & { resource: string }) {
  const say = useWords();
  const { namespace, name } = obj.metadata;
  const path = `${pathOf(resource, namespace, name)}/scale`;
  const allowed = useMay({ verb: "patch", group: groupOf(resource), resource, subresource: "scale", namespace, name });
  const [replicas, setReplicas] = useState<number>(obj.spec.replicas ?? 1);
  if (!allowed) return <p class="soft">{say("nothingAllowed")}</p>;
  const body = { spec: { replicas } };
  const merge = (dry: boolean) => send("PATCH", `/cluster${path}${dry ? "?dryRun=All" : ""}`, JSON.stringify(body), "application/merge-patch+json");
  return (
    <div class="tabs">
      <label>{say("replicas")} <input type="number" min={0} max={MOST_REPLICAS} value={replicas} onInput={(event) => setReplicas(Math.max(0, Math.min(MOST_REPLICAS, Math.trunc(event.currentTarget.valueAsNumber || 0))))} /></label>
      <button type="button" disabled={replicas === (obj.spec.replicas ?? 1)} onClick={() => ask({ title: "scale", look: () => merge(true), run: () => merge(false) })}>{say("scale")}…</button>
    </div>
  );
}

interface ActProps {
  obj: Obj;
  ask: (plan: Plan) => void;
}

export const actsOn = (resource: string): boolean => ["nodes", "pods", ...SCALED].includes(resource);

export function Act({ resource, obj }: TabProps) {
  useLive();
  const [plan, setPlan] = useState<Plan>();
  return (
    <>
      {resource === "nodes" && <Node obj={obj} ask={setPlan} />}
      {resource === "pods" && <Pod obj={obj} ask={setPlan} />}
      {SCALED.includes(resource) && <Workload resource={resource} obj={obj} ask={setPlan} />}
      {plan && <Confirmation plan={plan} close={() => setPlan(undefined)} />}
    </>
  );
}
