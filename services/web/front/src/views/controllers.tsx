// What each controller wants next: its queue, what is not as it should be, the last error, the next try.
import { live, useLive } from "../live";
import type { Obj } from "../objects";
import { usePolled } from "../polled";
import { useWords, type Word } from "../words";
import type { Choose } from "./map";

interface Controller {
  name: string;
  depth: number;
  running: number;
  syncs: number;
  errors: number;
}

interface ActiveKey {
  controller: string;
  key: string;
  state: "failed" | "retried" | "running" | "queued" | "planned";
  error: string;
  failures: number;
  next: number;
}

interface Wants {
  leader: boolean;
  controllers: Controller[];
  keys: ActiveKey[];
  left_out: number;
}

const POLL_MS = 2000;
const LOOKS: Record<ActiveKey["state"], string> = { failed: "bad", retried: "bad", running: "busy", queued: "busy", planned: "soft" };
// Whose objects tell themselves what is wanted and what there is.
const WORKLOADS: Record<string, string> = { deployment: "deployments", replicaset: "replicasets", statefulset: "statefulsets", daemonset: "daemonsets", job: "jobs" };

/** What is wanted of a workload and what there is of it, as numbers of pods. */
export function wantsAndHas(resource: string, obj: Obj): [number, number] {
  if (resource === "daemonsets") return [obj.status?.desiredNumberScheduled ?? 0, obj.status?.numberReady ?? 0];
  if (resource === "jobs") return [obj.spec.completions ?? obj.spec.parallelism ?? 1, obj.status?.succeeded ?? 0];
  return [obj.spec.replicas ?? 1, obj.status?.readyReplicas ?? 0];
}

function useDifference(): (controller: string, key: string) => string {
  const say = useWords();
  return (controller, key) => {
    const resource = WORKLOADS[controller];
    const obj = resource && live.of(resource).get(key);
    if (!obj) return "";
    const [wants, has] = wantsAndHas(resource, obj);
    return wants === has ? say("asWanted") : say("wantsHas", { wants, has });
  };
}

/** Workloads that are not as they should be, of which no controller says anything: they wait for others. */
function unlike(told: ReadonlySet<string>): { controller: string; key: string }[] {
  return Object.entries(WORKLOADS).flatMap(([controller, resource]) =>
    [...live.of(resource)].flatMap(([key, obj]) => {
      const [wants, has] = wantsAndHas(resource, obj);
      return wants !== has && !told.has(`${controller} ${key}`) ? [{ controller, key }] : [];
    }),
  );
}

const MOST_WAITING = 100;

export function Controllers({ namespace, choose }: { namespace: string; choose: Choose }) {
  const say = useWords();
  useLive();
  const difference = useDifference();
  const { answer, said } = usePolled<Wants>("/controllers", POLL_MS);
  const mine = (key: string) => !namespace || key.startsWith(`${namespace}/`);
  const keys = (answer?.keys ?? []).filter((one) => mine(one.key));
  const waiting = unlike(new Set(keys.map((one) => `${one.controller} ${one.key}`))).filter((one) => mine(one.key));
  const go = (controller: string, key: string) => {
    const obj = live.of(WORKLOADS[controller] ?? "").get(key);
    return obj ? <button type="button" class="link" onClick={() => choose(WORKLOADS[controller], obj)}>{key}</button> : <>{key}</>;
  };
  const head = (words: Word[]) => <thead><tr>{words.map((word) => <th scope="col" key={word}>{say(word)}</th>)}</tr></thead>;
  return (
    <section aria-labelledby="controllers">
      <h2 id="controllers">{say("controllers")}</h2>
      {said && <p class="notice" role="status">{said}</p>}
      {answer && !answer.leader && <p class="notice">{say("noLeader")}</p>}
      <h3>{say("nextKeys")}</h3>
      {!keys.length && !waiting.length && <p class="soft">{say("noKeys")}</p>}
      {(keys.length > 0 || waiting.length > 0) && (
        <div class="wide" tabIndex={0} role="region" aria-label={say("nextKeys")}>
          <table>
            {head(["controller", "object", "stateOfKey", "wantedDifference", "lastError", "nextTry"])}
            <tbody>
              {keys.map((one) => (
                <tr key={`${one.controller} ${one.key}`}>
                  <th scope="row">{one.controller}</th>
                  <td>{go(one.controller, one.key)}</td>
                  <td class={LOOKS[one.state]}>{say(`key.${one.state}` as Word)}{one.failures > 0 && ` (${say("failuresInARow", { count: one.failures })})`}</td>
                  <td>{difference(one.controller, one.key)}</td>
                  <td class={one.error ? "bad" : ""}>{one.error}</td>
                  <td>{one.next ? say("inSeconds", { seconds: one.next }) : one.state === "failed" ? say("afterChange") : ""}</td>
                </tr>
              ))}
              {waiting.slice(0, MOST_WAITING).map((one) => (
                <tr key={`${one.controller} ${one.key}`}>
                  <th scope="row">{one.controller}</th>
                  <td>{go(one.controller, one.key)}</td>
                  <td class="soft">{say("key.waits")}</td>
                  <td>{difference(one.controller, one.key)}</td>
                  <td />
                  <td class="soft">{say("afterChange")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {answer && answer.left_out + Math.max(waiting.length - MOST_WAITING, 0) > 0 && <p class="soft">{say("andMore", { count: answer.left_out + Math.max(waiting.length - MOST_WAITING, 0) })}</p>}
      {answer && (
        <>
          <h3>{say("queues")}</h3>
          <table>
            {head(["controller", "queueDepth", "atWork", "syncs", "errors"])}
            <tbody>
              {[...answer.controllers].filter((one) => one.syncs).sort((a, b) => b.depth + b.running - a.depth - a.running || b.syncs - a.syncs).map((one) => (
                <tr key={one.name}>
                  <th scope="row">{one.name}</th>
                  <td class={one.depth ? "busy" : ""}>{one.depth}</td>
                  <td class={one.running ? "busy" : ""}>{one.running}</td>
                  <td>{one.syncs}</td>
                  <td class={one.errors ? "bad" : ""}>{one.errors}</td>
                </tr>
              ))}
            </tbody>
          </table>
          <p class="soft">{say("idleControllers", { names: answer.controllers.filter((one) => !one.syncs).map((one) => one.name).join(", ") || say("none") })}</p>
        </>
      )}
    </section>
  );
}
