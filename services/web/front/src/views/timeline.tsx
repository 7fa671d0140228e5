// What happened, newest first: what each change changed and who wrote it; and the cluster as it was at a revision.
import { useEffect, useState } from "preact/hooks";
import { live, useLive } from "../live";
import { kindOf, type Obj } from "../objects";
import { usePolled } from "../polled";
import { get } from "../server";
import { timeOfDay } from "../times";
import { useWords, type Word } from "../words";
import type { TabProps } from "./object";

interface Change {
  revision: number;
  at: number;
  type: "ADDED" | "MODIFIED" | "DELETED";
  writer: string;
  resource: string;
  namespace: string;
  name: string;
}

interface Difference {
  path: string;
  before: unknown;
  after: unknown;
}

const MOST = 300;
const SETTLE_MS = 150;
const LOOKS: Record<Change["type"], [Word, string]> = { ADDED: ["added", "good"], MODIFIED: ["modified", ""], DELETED: ["deleted", "bad"] };

const short = (value: unknown): string => (value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value, null, 1));

function WhatChanged({ revision }: { revision: number }) {
  const say = useWords();
  const [found, setFound] = useState<{ differences: Difference[] }>();
  const [said, setSaid] = useState("");
  useEffect(() => void get(`/timeline/change?revision=${revision}`).then(setFound, (error) => setSaid(error.message)), [revision]);
  if (said) return <p class="notice">{said}</p>;
  if (!found) return null;
  return (
    <div class="wide">
      <table>
        <thead><tr>{(["field", "before", "after"] as Word[]).map((word) => <th scope="col" key={word}>{say(word)}</th>)}</tr></thead>
        <tbody>
          {found.differences.map((one) => (
            <tr key={one.path}>
              <th scope="row">{one.path || say("whole")}</th>
              <td class="minus-cell"><pre>{short(one.before)}</pre></td>
              <td class="plus-cell"><pre>{short(one.after)}</pre></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The changes that a query names, asked again while the cluster changes. */
function Changes({ query }: { query: string }) {
  const say = useWords();
  const { newest } = useLive();
  const [changes, setChanges] = useState<Change[]>([]);
  const [open, setOpen] = useState<number>();
  useEffect(() => {
    const timer = setTimeout(() => void get(`/timeline?limit=${MOST}&${query}`).then(setChanges, () => undefined), SETTLE_MS);
    return () => clearTimeout(timer);
  }, [query, newest]);
  if (!changes.length) return <p class="soft">{say("noChanges")}</p>;
  return (
    <ol class="changes">
      {changes.map((one) => {
        const [word, look] = LOOKS[one.type];
        return (
          <li key={`${one.revision} ${one.resource}`}>
            <button type="button" class="link" aria-expanded={open === one.revision} onClick={() => setOpen(open === one.revision ? undefined : one.revision)}>
              <span class="soft">{timeOfDay(one.at, true)} · {one.revision}</span> <span class={look}>{say(word)}</span> {kindOf(one.resource)} {one.namespace && `${one.namespace}/`}{one.name}
            </button>
            {one.writer && <span class="soft"> {say("by", { writer: one.writer })}</span>}
            {open === one.revision && (
              <>
                <WhatChanged revision={one.revision} />
                <button type="button" onClick={() => travel(one.revision)}>{say("seeThen")}</button>
              </>
            )}
          </li>
        );
      })}
    </ol>
  );
}

/** Shows the cluster as it was: the map, until one comes back. */
export async function travel(revision: number): Promise<void> {
  live.show(revision, await get(`/timeline/at?revision=${revision}`));
}

export function Timeline({ namespace }: { namespace: string }) {
  const say = useWords();
  const { floor, newest, shown } = useLive();
  const [said, setSaid] = useState("");
  const go = (revision: number) => travel(revision).then(() => setSaid(""), (error) => setSaid(error.message));
  return (
    <section aria-labelledby="timeline">
      <h2 id="timeline">{say("timeline")}</h2>
      <label class="scrub">
        {say("revision", { revision: shown ?? newest })}
        <input type="range" min={floor} max={newest} value={shown ?? newest} onChange={(event) => void go(Number(event.currentTarget.value))} />
      </label>
      <p class="soft">{say("recordedFrom", { floor })}</p>
      {said && <p class="notice" role="status">{said}</p>}
      <Changes query={`namespace=${encodeURIComponent(namespace)}`} />
    </section>
  );
}

export function History({ resource, obj }: TabProps) {
  const query = new URLSearchParams({ resource, namespace: obj.metadata.namespace ?? "", name: obj.metadata.name });
  return <Changes query={String(query)} />;
}

interface Link {
  step: string;
  at: number;
  revision: number;
  resource: string;
  name: string;
  writer: string;
  /** How many milliseconds earlier it may have been. */
  within: number;
}

const CHAIN_MS = 2000;

export function Chain({ obj }: TabProps) {
  const say = useWords();
  const query = new URLSearchParams({ namespace: obj.metadata.namespace, name: obj.metadata.name });
  // What nodes do no watch tells: their rules, the first connection.
  const { answer: links, said } = usePolled<Link[]>(`/timeline/chain?${query}`, CHAIN_MS);
  if (said) return <p class="notice" role="status">{said}</p>;
  if (!links) return null;
  if (!links.length) return <p class="soft">{say("noChain")}</p>;
  return (
    <table>
      <thead><tr>{(["step", "object", "afterMs", "inAllMs", "writer"] as Word[]).map((word) => <th scope="col" key={word}>{say(word)}</th>)}</tr></thead>
      <tbody>
        {links.map((link, index) => (
          <tr key={link.step + link.name}>
            <th scope="row">{say(`chain.${link.step}` as Word)}</th>
            <td>{kindOf(link.resource)} {link.name}</td>
            <td>{index ? `${link.within ? "≤\u00a0" : ""}+${link.at - links[index - 1].at}` : "0"}</td>
            <td>{link.within ? "≤\u00a0" : ""}{link.at - links[0].at}</td>
            <td class="soft">{link.writer}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
