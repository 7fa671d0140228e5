import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { live, useLive } from "./live";
import { keyOf } from "./objects";
import "./page.css";
import { Controllers } from "./views/controllers";
import { Elsewhere } from "./views/elsewhere";
import { Learn, tell } from "./views/learn";
import { Map_, type Choose } from "./views/map";
import { ObjectPanel, type Chosen } from "./views/object";
import { Timeline } from "./views/timeline";
import { SignIn, signOut, useWay } from "./views/sign_in";
import { LANGUAGES, LanguageNow, Words, firstLanguage, sayIn, type Language, type Word } from "./words";

const THEMES: Word[] = ["auto", "light", "dark"];

interface View {
  name: Word;
  view: (props: { choose: Choose; namespace: string }) => any;
}

const VIEWS: View[] = [{ name: "map", view: Map_ }, { name: "controllers", view: Controllers }, { name: "timeline", view: Timeline }, { name: "learn", view: Learn }];

function Page() {
  const { connection, standing, shown, within } = useLive();
  const [language, setLanguage] = useState<Language>(firstLanguage());
  const [theme, setTheme] = useState<Word>((localStorage.getItem("theme") as Word) ?? "auto");
  const [view, setView] = useState<View>(VIEWS.find((one) => `#${one.name}` === location.hash) ?? VIEWS[0]);
  const [namespace, setNamespace] = useState("");
  const [chosen, setChosen] = useState<Chosen>();
  // What had the focus when the panel was opened gets it again.
  const origin = useRef<HTMLElement>();
  const way = useWay();
  const say = sayIn(language);
  useEffect(() => {
    document.documentElement.lang = language;
    localStorage.setItem("language", language);
  }, [language]);
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const unseen = Object.entries(standing).filter(([, words]) => words);
  const namespaces = [...new Set([...[...live.of("namespaces").values()].map((one) => one.metadata.name as string), ...within])].sort();
  const go = (one: View) => (setView(one), tell({ viewed: one.name }), history.replaceState(null, "", `#${one.name}`));
  const choose: Choose = (resource, obj) => {
    origin.current = document.activeElement as HTMLElement;
    setChosen({ resource, key: keyOf(obj) });
    tell({ opened: resource });
  };
  const close = () => {
    setChosen(undefined);
    origin.current?.focus();
  };
  return (
    <LanguageNow.Provider value={language}>
    <Words.Provider value={say}>
      <a class="skip" href="#content">{say("skip")}</a>
      <header>
        <h1>Knarr</h1>
        <nav>{VIEWS.map((one) => <button type="button" key={one.name} aria-current={one === view ? "page" : undefined} onClick={() => go(one)}>{say(one.name)}</button>)}</nav>
        <label>{say("namespace")} <select value={namespace} onChange={(event) => setNamespace(event.currentTarget.value)}>
          <option value="">{say("allNamespaces")}</option>
          {namespaces.map((name) => <option key={name}>{name}</option>)}
        </select></label>
        <label>{say("language")} <select value={language} onChange={(event) => setLanguage(event.currentTarget.value as Language)}>
          {Object.entries(LANGUAGES).map(([key, name]) => <option key={key} value={key} lang={key}>{name}</option>)}
        </select></label>
        <label>{say("theme")} <select value={theme} onChange={(event) => setTheme(event.currentTarget.value as Word)}>
          {THEMES.map((one) => <option key={one} value={one}>{say(one)}</option>)}
        </select></label>
        {connection !== "stranger" && <span role="status" class={`state ${connection}`}>{say(connection)}</span>}
        {connection !== "stranger" && way === "token" && <button type="button" onClick={signOut}>{say("signOut")}</button>}
      </header>
      {connection === "stranger" ? (
        <SignIn />
      ) : (
        <div class={chosen ? "body split" : "body"}>
          <main id="content" tabIndex={-1}>
            {unseen.length > 0 && <ul class="notice">{unseen.map(([name, words]) => <li key={name}>{say("notSeen")}: {name} – {words}</li>)}</ul>}
            {(within.length > 0 || standing.pods) && <Elsewhere />}
            {shown !== undefined && (
              <p class="notice" role="status">
                {say("asOf", { revision: shown })} <button type="button" onClick={() => live.show()}>{say("backToNow")}</button>
              </p>
            )}
            <view.view namespace={namespace} choose={choose} />
          </main>
          {chosen && <ObjectPanel chosen={chosen} close={close} />}
        </div>
      )}
    </Words.Provider>
    </LanguageNow.Provider>
  );
}

live.start();
render(<Page />, document.body);
