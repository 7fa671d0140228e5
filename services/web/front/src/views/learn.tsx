// Lessons, in which something is broken and its cause is to be found, and a tutorial, each step of which is done here and seen here.
import { useEffect, useState } from "preact/hooks";
import { live, useLive } from "../live";
import type { Obj } from "../objects";
import { usePolled } from "../polled";
import { useMay } from "../rights";
import { get, send } from "../server";
import { useLanguage, useWords, type Language, type Word } from "../words";
import type { Choose } from "./map";

type Told = Record<Language, string>;

interface Lesson {
  id: string;
  title: Told;
  story: Told;
  hint: Told;
  real: boolean;
  choices: { id: string; words: Told }[];
}

interface Step {
  id: string;
  title: Told;
  told: Told;
  do: Told;
  makes: boolean;
  opened: string;
  viewed: string;
}

interface Now {
  namespace: string;
  state: "" | "preparing" | "breaking" | "asked" | "found" | "mended" | "failed";
  said: string;
  image: string;
  lesson?: string;
  wrong?: number;
  step?: number;
  done?: number;
  explanation?: Told;
}

const POLL_MS = 1000;
const DONE = "lessons-done";

export const post = async (what: string, query: Record<string, string> = {}): Promise<any> => JSON.parse(await send("POST", `/lessons/${what}?${new URLSearchParams(query)}`, "", "application/json"));

const finished = (): string[] => JSON.parse(localStorage.getItem(DONE) ?? "[]");

/** Tells the server what is shown, while the tutorial wants to know. */
export function tell(seen: { opened?: string; viewed?: string }): void {
  if (sessionStorage.getItem("tutorial")) void post("seen", { opened: seen.opened ?? "", viewed: seen.viewed ?? "" }).catch(() => undefined);
}

function LessonUnderWay({ lesson, now, choose, leave }: { lesson: Lesson; now: Now; choose: Choose; leave: () => void }) {
  const say = useWords();
  const language = useLanguage();
  const [said, setSaid] = useState("");
  const [hinted, setHinted] = useState(false);
  const asked = ["asked", "found", "mended"].includes(now.state);
  const found = ["found", "mended"].includes(now.state);
  const answer = (id: string) => void post("answer", { id }).then(({ right }) => setSaid(say(right ? "answerRight" : "answerWrong")), (error) => setSaid(error.message));
  useEffect(() => {
    if (found) localStorage.setItem(DONE, JSON.stringify([...new Set([...finished(), lesson.id])]));
  }, [found]);
  return (
    <section class="card" aria-labelledby="lesson">
      <div class="bar"><h2 id="lesson">{lesson.title[language]}</h2><button type="button" onClick={leave}>{say("leaveLesson")}</button></div>
      <p>{asked && marked(lesson.story[language])}</p>
      <p class="soft" role="status">{say(`lesson.${now.state || "preparing"}` as Word)} {now.said}</p>
      {asked && <Surroundings namespace={now.namespace} choose={choose} />}
      {asked && (
        <fieldset disabled={found}>
          <legend>{say("whatIsTheCause")}</legend>
          <div class="choices">{lesson.choices.map((one) => <button type="button" key={one.id} class={found && one.id === lesson.id ? "good" : ""} onClick={() => answer(one.id)}>{one.words[language]}</button>)}</div>
        </fieldset>
      )}
      <div role="status">{said && <p class="notice">{said}</p>}</div>
      {asked && !found && (hinted ? <p>{marked(lesson.hint[language])}</p> : <button type="button" onClick={() => setHinted(true)}>{say("hint")}</button>)}
      {found && now.explanation && <p>{marked(now.explanation[language])}</p>}
      {now.state === "found" && <p>{say("mendIt")} <button type="button" onClick={() => void post("mend").catch((error) => setSaid(error.message))}>{say("mendForMe")}</button></p>}
    </section>
  );
}

/** What stands between backticks is to be typed or found so. */
const marked = (text: string) => text.split("`").map((part, index) => (index % 2 ? <code key={index}>{part}</code> : part));

const SHOWN = ["pods", "services", "deployments", "replicasets"];

/** What there is in the namespace of a lesson: each opens. */
function Surroundings({ namespace, choose }: { namespace: string; choose: Choose }) {
  const say = useWords();
  useLive();
  const found: [string, Obj][] = SHOWN.flatMap((resource) => [...live.of(resource).values()].filter((obj) => obj.metadata.namespace === namespace).map((obj): [string, Obj] => [resource, obj]));
  if (!found.length) return null;
  return (
    <>
      <p class="soft">{say("lookHere", { namespace })}</p>
      <ul class="chips">{found.map(([resource, obj]) => <li key={resource + obj.metadata.uid}><button type="button" class="chip" onClick={() => choose(resource, obj)}><span class="soft">{resource}</span> {obj.metadata.name}</button></li>)}</ul>
    </>
  );
}

function Tutorial({ steps, now, choose, leave }: { steps: Step[]; now: Now; choose: Choose; leave: () => void }) {
  const say = useWords();
  const language = useLanguage();
  const [said, setSaid] = useState("");
  const at = now.step ?? 0;
  const done = now.done ?? 0;
  const step = steps[at];
  const act = (what: string, query?: Record<string, string>) => void post(what, query).then(() => setSaid(""), (error) => setSaid(error.message));
  return (
    <section class="card" aria-labelledby="step">
      <div class="bar">
        <ol class="progress" aria-label={say("tutorial")}>
          {steps.map((one, index) => (
            <li key={one.id}><button type="button" aria-current={index === at ? "step" : undefined} aria-label={`${index + 1}: ${one.title[language]}`} title={one.title[language]} class={index < done ? "good" : ""} disabled={index > done} onClick={() => act("go", { step: String(index) })}>{index < done ? "✓" : index + 1}</button></li>
          ))}
        </ol>
        <button type="button" onClick={leave}>{say("leaveLesson")}</button>
      </div>
      <h2 id="step">{at + 1}. {step.title[language]}</h2>
      <p>{marked(step.told[language])}</p>
      <p><strong>{say("toDo")}</strong> {marked(step.do[language])}</p>
      {now.state === "preparing" || now.state === "failed" ? <p class={now.state === "failed" ? "notice" : "soft"} role="status">{say(`lesson.${now.state}` as Word)} {now.said}</p> : (
        <>
          <div class="tabs">
            {step.makes && <button type="button" onClick={() => act("make")}>{say("makeIt")}</button>}
            {at < done && at + 1 < steps.length && <button type="button" class="next" onClick={() => act("go", { step: String(at + 1) })}>{say("nextStep")}</button>}
          </div>
          <p role="status" class={at < done ? "good" : "soft"}>{say(at < done ? (done === steps.length && at + 1 === steps.length ? "tutorialOver" : "stepDone") : "stepAwaited")}</p>
          <Surroundings namespace={now.namespace} choose={choose} />
        </>
      )}
      {said && <p class="notice" role="status">{said}</p>}
    </section>
  );
}

export function Learn({ choose }: { choose: Choose; namespace: string }) {
  const say = useWords();
  const language = useLanguage();
  const [all, setAll] = useState<{ lessons: Lesson[]; steps: Step[] }>();
  const [image, setImage] = useState("");
  const [said, setSaid] = useState("");
  const { answer: now } = usePolled<Now>("/lessons/now", POLL_MS);
  const allowed = useMay({ verb: "create", resource: "namespaces" }, { verb: "delete", resource: "namespaces" });
  useEffect(() => void get("/lessons").then(setAll, (error) => setSaid(error.message)), []);
  useEffect(() => (now?.step === undefined ? sessionStorage.removeItem("tutorial") : sessionStorage.setItem("tutorial", "yes")), [now?.step]);
  if (!all || !now) return said ? <p class="notice">{said}</p> : null;
  const begin = (query: Record<string, string>) => void post("begin", { ...query, ...(image && { image }) }).then(() => (setSaid(""), scrollTo(0, 0), query.id || sessionStorage.setItem("tutorial", "yes")), (error) => setSaid(error.message));
  const leave = () => void post("leave").catch((error) => setSaid(error.message));
  const lesson = all.lessons.find((one) => one.id === now.lesson);
  const known = finished();
  return (
    <>
      {said && <p class="notice" role="status">{said}</p>}
      {lesson && <LessonUnderWay key={lesson.id} lesson={lesson} now={now} choose={choose} leave={leave} />}
      {now.step !== undefined && <Tutorial steps={all.steps} now={now} choose={choose} leave={leave} />}
      {!allowed && <p class="soft">{say("nothingAllowed")}</p>}
      {allowed && (
        <>
          <section aria-labelledby="tutorial">
            <h2 id="tutorial">{say("tutorial")}</h2>
            <p>{say("tutorialMeans")} <button type="button" onClick={() => begin({})}>{say("beginTutorial")}</button></p>
          </section>
          <section aria-labelledby="lessons">
            <h2 id="lessons">{say("lessons")}</h2>
            <p class="soft">{say("lessonsMean", { done: known.length, all: all.lessons.length })}</p>
            <p><label>{say("imageFor")} <input size={24} placeholder={now.image} value={image} onInput={(event) => setImage(event.currentTarget.value)} /></label></p>
            <ol class="cards lessons">
              {all.lessons.map((one, index) => (
                <li key={one.id} class="card">
                  <button type="button" class="link" onClick={() => begin({ id: one.id })}><h3>{index + 1}. {one.title[language]} {known.includes(one.id) && <span class="good" role="img" aria-label={say("lessonDone")}>✓</span>}</h3></button>
                  <p class="soft">{marked(one.story[language])}{one.real && <> <em>{say("realOnly")}</em></>}</p>
                </li>
              ))}
            </ol>
          </section>
        </>
      )}
    </>
  );
}
