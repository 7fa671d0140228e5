// One object: what it is in YAML, with a look at what an edit would change; its logs; its events.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { lineDifference, shortened, type Line } from "../difference";
import { arrows } from "../keys";
import { eventsOf, useLive, whenOf } from "../live";
import { groupOf, kindOf, pathOf, podState, type Obj } from "../objects";
import { useMay } from "../rights";
import { follow, send, text } from "../server";
import { timeOfDay } from "../times";
import { useWords, type Word } from "../words";
import { Act, actsOn } from "./act";
import { TerminalTab } from "./terminal";
import { Chain, History } from "./timeline";
import { Usage } from "./usage";
import { WhyHere, WhyReach, WhyRestarted } from "./why";

export interface Chosen {
  resource: string;
  key: string;
}

export interface TabProps {
  resource: string;
  obj: Obj;
}

export function Differences({ lines }: { lines: Line[] }) {
  const say = useWords();
  if (lines.every((line) => line.kind === "same")) return <p class="soft">{say("noDifference")}</p>;
  const sign = { same: "  ", plus: "+ ", minus: "- " };
  return (
    <pre aria-label={say("difference")}>
      {shortened(lines).map((line) => <span class={line.kind}>{sign[line.kind] + line.text}{"\n"}</span>)}
    </pre>
  );
}

/** As kubectl shows it: who manages which field would be most of the text. What is sent without that keeps it. */
const withoutManagers = (yaml: string): string => yaml.replace(/^ {2}managedFields:\n(?: {2}[- ].*\n)*/m, "");

function Yaml({ resource, obj }: TabProps) {
  const say = useWords();
  const path = `/cluster${pathOf(resource, obj.metadata.namespace ?? "", obj.metadata.name)}`;
  const editable = useMay({ verb: "update", group: groupOf(resource), resource, namespace: obj.metadata.namespace, name: obj.metadata.name });
  const [before, setBefore] = useState("");
  const [edited, setEdited] = useState("");
  const [lines, setLines] = useState<Line[]>();
  const [said, setSaid] = useState("");
  const tell = (error: Error) => setSaid(error.message);
  const read = () =>
    text(path, "application/yaml").then((yaml) => {
      const shown = withoutManagers(yaml);
      setBefore(shown), setEdited(shown), setLines(undefined), setSaid("");
    }, tell);
  useEffect(() => void read(), [path]);
  const put = (query: string) => send("PUT", path + query, edited, "application/yaml", "application/yaml");
  // The server answers what would be stored, with what it changes by itself.
  const look = () => put("?dryRun=All").then((yaml) => (setLines(lineDifference(before, withoutManagers(yaml))), setSaid("")), tell);
  const apply = () => put("").then(() => read().then(() => setSaid(say("applied"))), tell);
  return (
    <>
      <textarea class="code" spellcheck={false} aria-label={say("yaml")} readOnly={!editable} value={edited} onInput={(event) => (setEdited(event.currentTarget.value), setLines(undefined))} />
      <div class="tabs">
        {editable && <button type="button" onClick={look} disabled={edited === before}>{say("dryRun")}</button>}
        {editable && <button type="button" onClick={apply} disabled={!lines}>{say("apply")}</button>}
        <button type="button" onClick={read}>{say("reload")}</button>
      </div>
      <div role="status">{said && <p class="notice">{said}</p>}</div>
      {lines && <Differences lines={lines} />}
    </>
  );
}

const TAIL = 200;
// Of a log that is followed so much is kept.
const MOST_LETTERS = 200_000;
// Who reads further up is not to be taken away from there.
const AT_END_PIXELS = 8;

function Logs({ obj }: TabProps) {
  const say = useWords();
  const names: string[] = [...(obj.spec.initContainers ?? []), ...obj.spec.containers].map((one: Obj) => one.name);
  const [container, setContainer] = useState<string>(obj.spec.containers[0].name);
  const [previous, setPrevious] = useState(false);
  const [lines, setLines] = useState<string>();
  const [said, setSaid] = useState("");
  const box = useRef<HTMLPreElement>(null);
  const atEnd = useRef(true);
  const query = `container=${encodeURIComponent(container)}&tailLines=${TAIL}${previous ? "&previous=true" : "&follow=true"}`;
  const path = `/cluster${pathOf("pods", obj.metadata.namespace, obj.metadata.name)}/log?${query}`;
  useEffect(() => {
    const stop = new AbortController();
    setLines(undefined), setSaid("");
    atEnd.current = true;
    // What comes is drawn once a frame, however many pieces there are.
    let waiting = "";
    let frame = 0;
    const draw = () => {
      const here = box.current;
      atEnd.current = !here || here.scrollHeight - here.scrollTop - here.clientHeight < AT_END_PIXELS;
      const more = waiting;
      (waiting = ""), (frame = 0);
      setLines((kept = "") => (kept + more).slice(-MOST_LETTERS));
    };
    const take = (piece: string) => {
      waiting = (waiting + piece).slice(-MOST_LETTERS);
      frame ||= requestAnimationFrame(draw);
    };
    follow(path, stop.signal, take).then(
      () => (frame ||= requestAnimationFrame(draw)),
      (error) => stop.signal.aborted || setSaid(error.message),
    );
    return () => {
      stop.abort();
      cancelAnimationFrame(frame);
    };
  }, [path]);
  // Before the next frame looks where the reader is.
  useLayoutEffect(() => void (atEnd.current && box.current?.scrollTo(0, box.current.scrollHeight)), [lines]);
  return (
    <>
      <div class="tabs">
        <label>{say("container")} <select value={container} onChange={(event) => setContainer(event.currentTarget.value)}>{names.map((name) => <option key={name}>{name}</option>)}</select></label>
        <label><input type="checkbox" checked={previous} onChange={(event) => setPrevious(event.currentTarget.checked)} /> {say("previous")}</label>
      </div>
      {said && <p class="notice" role="status">{said}</p>}
      {lines === "" ? <p class="soft">{say("noLogs")}</p> : <pre class="log" ref={box} tabIndex={0} aria-label={say("logs")}>{lines}</pre>}
    </>
  );
}

function Events({ obj }: TabProps) {
  const say = useWords();
  useLive();
  const events = eventsOf(obj);
  if (!events.length) return <p class="soft">{say("noEvents")}</p>;
  return (
    <table>
      <thead><tr>{(["when", "type", "reason", "count", "message"] as Word[]).map((word) => <th key={word} scope="col">{say(word)}</th>)}</tr></thead>
      <tbody>
        {events.map((event) => (
          <tr key={event.metadata.uid}>
            <td>{timeOfDay(whenOf(event))}</td>
            <td class={event.type === "Warning" ? "bad" : ""}>{event.type}</td>
            <td>{event.reason}</td>
            <td>{event.series?.count ?? event.count ?? 1}</td>
            <td>{event.message}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Shell({ obj }: TabProps) {
  const say = useWords();
  const allowed = useMay({ verb: "create", resource: "pods", subresource: "exec", namespace: obj.metadata.namespace, name: obj.metadata.name });
  return allowed ? <TerminalTab obj={obj} /> : <p class="soft">{say("nothingAllowed")}</p>;
}

interface Tab {
  name: Word;
  on: (resource: string) => boolean;
  view: (props: TabProps) => any;
}

const TABS: Tab[] = [
  { name: "whyHere", on: (resource) => resource === "pods", view: WhyHere },
  { name: "whyRestarted", on: (resource) => resource === "pods", view: WhyRestarted },
  { name: "whyReach", on: (resource) => resource === "services", view: WhyReach },
  { name: "chain", on: (resource) => resource === "pods", view: Chain },
  { name: "yaml", on: () => true, view: Yaml },
  { name: "logs", on: (resource) => resource === "pods", view: Logs },
  { name: "terminal", on: (resource) => resource === "pods", view: Shell },
  { name: "usage", on: (resource) => resource === "pods" || resource === "nodes", view: Usage },
  { name: "act", on: actsOn, view: Act },
  { name: "events", on: () => true, view: Events },
  { name: "history", on: () => true, view: History },
];

export function ObjectPanel({ chosen, close }: { chosen: Chosen; close: () => void }) {
  const say = useWords();
  const { objects } = useLive();
  const obj = objects.get(chosen.resource)?.get(chosen.key);
  const tabs = TABS.filter((tab) => tab.on(chosen.resource));
  const [wanted, setWanted] = useState<Word>(tabs[0].name);
  const tab = tabs.find((one) => one.name === wanted) ?? tabs[0];
  const title = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    title.current?.focus();
    // Where there is no room beside the map the panel stands below it.
    if (matchMedia("(max-width: 60rem)").matches) title.current?.scrollIntoView();
  }, [chosen.resource, chosen.key]);
  return (
    <aside aria-label={say("details")} onKeyDown={(event) => event.key === "Escape" && close()}>
      <div class="bar">
        <h2 ref={title} tabIndex={-1}>{kindOf(chosen.resource)} {chosen.key.replace(/^\//, "")}</h2>
        {obj && chosen.resource === "pods" && <span class={podState(obj).look}>{podState(obj).word}</span>}
        <button type="button" onClick={close}>{say("close")}</button>
      </div>
      {!obj && <p class="notice">{say("gone")}</p>}
      {obj && (
        <>
          <div class="tabs" role="tablist" aria-label={say("details")} onKeyDown={(event) => arrows(event, "aside [role=tab]")}>
            {tabs.map((one) => <button type="button" role="tab" key={one.name} aria-selected={one === tab} onClick={() => setWanted(one.name)}>{say(one.name)}</button>)}
          </div>
          <div role="tabpanel" key={`${chosen.resource} ${chosen.key} ${tab.name}`}><tab.view resource={chosen.resource} obj={obj} /></div>
        </>
      )}
    </aside>
  );
}
