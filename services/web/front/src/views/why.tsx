// Why things are as they are: a pod's place, a container's restarts, the way to a Service.
import { useEffect, useState } from "preact/hooks";
import { eventsOf, live, useLive } from "../live";
import { keyOf, pathOf, type Obj } from "../objects";
import { get, text } from "../server";
import { timeOfDay } from "../times";
import { useWords, type Word } from "../words";
import type { TabProps } from "./object";

interface Verdict {
  node: string;
  fits: boolean;
  refusedBy: string;
  reasons: string[];
  scores: Record<string, string>;
  totalScore: string;
  hindrances: { filter: string; reasons: string[]; numbers: string[] }[];
}

interface Explanation {
  verdicts: Verdict[];
  summary: string;
  choice: string;
  filters: string[];
  weights: Record<string, string>;
  remedies: { words: string; nodes: string[] }[];
  standing: string;
  queued?: { attempts: number; retryInSeconds: number; awaits: string[] };
  eviction?: { node: string; why: string; victims: { namespace: string; pod: string; priority: number }[] };
  evictionReason: string;
}

// A row a node: of a thousand, those that fit and those that nearly do come first.
const MOST_ROWS = 200;

/** What one plugin says of one node, in words and in a colour. */
function Cell({ verdict, plugin }: { verdict: Verdict; plugin: string }) {
  const hindrance = verdict.hindrances.find((one) => one.filter === plugin);
  if (hindrance) return <td class="bad">{(hindrance.numbers.length ? hindrance.numbers : hindrance.reasons).join("; ")}</td>;
  if (!verdict.fits && verdict.refusedBy === plugin) return <td class="bad">{verdict.reasons.join("; ")}</td>;
  return plugin in verdict.scores ? <td>{verdict.scores[plugin]}</td> : <td class="soft">·</td>;
}

export function WhyHere({ obj }: TabProps) {
  const say = useWords();
  const { latest } = useLive();
  const [found, setFound] = useState<Explanation>();
  const [said, setSaid] = useState("");
  const query = `namespace=${encodeURIComponent(obj.metadata.namespace)}&name=${encodeURIComponent(obj.metadata.name)}`;
  // It is asked again when the pod changed; what changes elsewhere is told by `reload`.
  const ask = () => void get(`/why/pod?${query}`).then((answer) => (setFound(answer), setSaid("")), (error) => setSaid(error.message));
  useEffect(ask, [query, obj.metadata.resourceVersion]);
  if (said) return <p class="notice" role="status">{said}</p>;
  if (!found) return null;
  const telling = (plugin: string) => found.verdicts.some((one) => plugin in one.scores || one.refusedBy === plugin || one.hindrances.some((other) => other.filter === plugin));
  const plugins = [...new Set([...found.filters, ...Object.keys(found.weights)])].filter(telling);
  const rows = [...found.verdicts].sort((a, b) => Number(b.fits) - Number(a.fits) || Number(b.totalScore) - Number(a.totalScore) || a.hindrances.length - b.hindrances.length || a.node.localeCompare(b.node));
  return (
    <>
      <p class={found.choice ? "" : "notice"}>{found.choice ? say("choice", { node: found.choice }) : say("noChoice", { summary: found.summary })}</p>
      <div class="wide" tabIndex={0} role="region" aria-label={say("whyHere")} data-revision={latest}>
        <table>
          <thead>
            <tr>
              <th scope="col">{say("node")}</th>
              <th scope="col">{say("score")}</th>
              {plugins.map((name) => <th scope="col" key={name} title={name in found.weights ? say("weight", { weight: found.weights[name] }) : undefined}>{name}</th>)}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, MOST_ROWS).map((one) => (
              <tr key={one.node}>
                <th scope="row">{one.node}</th>
                <td class={one.fits ? "good" : "bad"}>{one.fits ? one.totalScore : "✗"}</td>
                {plugins.map((name) => <Cell key={name} verdict={one} plugin={name} />)}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {found.remedies.length > 0 && (
        <>
          <h3>{say("remedies")}</h3>
          <ul>{found.remedies.map((one) => <li key={one.words}>{one.words} ({one.nodes.slice(0, 5).join(", ")}{one.nodes.length > 5 ? ", …" : ""})</li>)}</ul>
        </>
      )}
      {obj.spec.nodeName ? <p>{say("isOn", { node: obj.spec.nodeName })}</p> : found.standing && !found.queued && <p>{say("standing")}: {found.standing}</p>}
      {found.queued && (
        <>
          <p>{say("attempts", { count: found.queued.attempts, seconds: Math.round(found.queued.retryInSeconds) })}</p>
          {found.queued.awaits.length > 0 && <><p>{say("awaits")}:</p><ul>{found.queued.awaits.map((words) => <li key={words}>{words}</li>)}</ul></>}
        </>
      )}
      {found.eviction && <p>{say("eviction", { node: found.eviction.node })}: {found.eviction.victims.map((one) => `${one.namespace}/${one.pod}`).join(", ")}. {found.eviction.why}</p>}
      {found.evictionReason && <p>{found.evictionReason}</p>}
      <button type="button" onClick={ask}>{say("reload")}</button>
    </>
  );
}

const TAIL = 15;
const SIGNALS: Record<number, string> = { 1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL", 11: "SEGV", 13: "PIPE", 15: "TERM" };

/** By which signal it ended: as told, or as shells and engines count it into the code. */
function signalOf(exit: Obj): string {
  const number = exit.signal ?? (exit.exitCode > 128 && exit.exitCode < 160 ? exit.exitCode - 128 : undefined);
  return number ? SIGNALS[number] ?? String(number) : "";
}

/** Of a duration as Go writes it: 1m20s. */
const secondsOf = (duration: string): number =>
  [...duration.matchAll(/([\d.]+)(h|m(?!s)|s)/g)].reduce((sum, [, amount, unit]) => sum + Number(amount) * { h: 3600, m: 60, s: 1 }[unit as "h"], 0);

function Restarted({ pod, status }: { pod: Obj; status: Obj }) {
  const say = useWords();
  const [lines, setLines] = useState("");
  const exit: Obj | undefined = status.lastState?.terminated ?? status.state?.terminated;
  const query = `container=${encodeURIComponent(status.name)}&tailLines=${TAIL}${status.lastState?.terminated ? "&previous=true" : ""}`;
  const path = `/cluster${pathOf("pods", pod.metadata.namespace, pod.metadata.name)}/log?${query}`;
  useEffect(() => void text(path).then(setLines, (error) => setLines(error.message)), [path, status.restartCount]);
  const events = eventsOf(pod).filter((event) => !event.involvedObject.fieldPath || event.involvedObject.fieldPath.includes(`{${status.name}}`));
  const probe = events.find((event) => event.reason === "Unhealthy");
  const waiting = status.state?.waiting;
  const pause = /back-off (\S+) restarting/.exec(waiting?.message ?? "")?.[1];
  const signal = exit && signalOf(exit);
  return (
    <section class="card" aria-label={status.name}>
      <h3>{status.name}</h3>
      <table>
        <tbody>
          <tr><th scope="row">{say("restarts")}</th><td>{status.restartCount}</td></tr>
          {exit && (
            <tr>
              <th scope="row">{say("lastExit")}</th>
              <td>{[exit.reason, say("exitCode", { code: exit.exitCode }), signal && say("signal", { signal }), exit.message, exit.finishedAt && timeOfDay(exit.finishedAt)].filter(Boolean).join(", ")}</td>
            </tr>
          )}
          <tr><th scope="row">{say("probe")}</th><td>{probe ? probe.message : say("none")}</td></tr>
          <tr>
            <th scope="row">{say("nextTry")}</th>
            <td>{waiting ? (pause ? say("nextWithin", { seconds: secondsOf(pause) }) : `${waiting.reason}: ${waiting.message ?? ""}`) : status.state?.running ? say("runsSince", { time: timeOfDay(status.state.running.startedAt) }) : say("none")}</td>
          </tr>
        </tbody>
      </table>
      <p class="soft">{say("lastLines")}</p>
      <pre class="log" tabIndex={0}>{lines}</pre>
    </section>
  );
}

export function WhyRestarted({ obj }: TabProps) {
  const say = useWords();
  useLive();
  const all: Obj[] = [...(obj.status?.initContainerStatuses ?? []), ...(obj.status?.containerStatuses ?? [])];
  const ended = all.filter((status) => status.restartCount || status.lastState?.terminated || status.state?.terminated?.exitCode);
  if (!ended.length) return <p class="soft">{say("neverRestarted")}</p>;
  return <>{ended.map((status) => <Restarted key={status.name} pod={obj} status={status} />)}</>;
}

interface Step {
  verdict: "good" | "bad" | "unknown";
  code: Word;
  values: Record<string, string>;
  facts: string[];
}

const VERDICTS: Record<Step["verdict"], [Word, string, string]> = {
  good: ["verdictGood", "good", "✓"],
  bad: ["verdictBad", "bad", "✗"],
  unknown: ["verdictUnknown", "soft", "?"],
};

export function WhyReach({ obj }: TabProps) {
  const say = useWords();
  const ports: Obj[] = obj.spec.ports ?? [];
  const [from, setFrom] = useState("");
  const [port, setPort] = useState(0);
  const [steps, setSteps] = useState<Step[]>();
  const [said, setSaid] = useState("");
  const pods = [...live.of("pods").values()].filter((pod) => pod.spec.nodeName && !pod.spec.hostNetwork).map(keyOf).sort();
  const ask = () => {
    const query = new URLSearchParams({ namespace: obj.metadata.namespace, service: obj.metadata.name, port: String(ports[port]?.port ?? 0), protocol: ports[port]?.protocol ?? "TCP", from });
    get(`/why/reach?${query}`).then((answer) => (setSteps(answer), setSaid("")), (error) => setSaid(error.message));
  };
  return (
    <>
      <div class="tabs">
        <label>{say("fromPod")} <select value={from} onChange={(event) => setFrom(event.currentTarget.value)}>
          <option value="">{say("anyPod")}</option>
          {pods.map((key) => <option key={key}>{key}</option>)}
        </select></label>
        <label>{say("toPort")} <select value={port} onChange={(event) => setPort(Number(event.currentTarget.value))}>
          {ports.map((one, index) => <option key={index} value={index}>{one.port}/{one.protocol ?? "TCP"}</option>)}
        </select></label>
        <button type="button" onClick={ask}>{say("ask")}</button>
      </div>
      <div role="status">{said && <p class="notice">{said}</p>}</div>
      <ol class="steps">
        {steps?.map((step, index) => {
          const [word, look, sign] = VERDICTS[step.verdict];
          return (
            <li key={index}>
              <span class={look} role="img" aria-label={say(word)} title={say(word)}>{sign}</span> {say(step.code, step.values)}
              {step.facts.length > 0 && <ul class="soft">{step.facts.map((fact) => <li key={fact}>{fact}</li>)}</ul>}
            </li>
          );
        })}
      </ol>
    </>
  );
}
