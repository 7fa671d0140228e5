// A terminal in a container of a pod. What draws it is loaded with the first one.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Obj } from "../objects";
import { useWords } from "../words";

// The best shell that there is.
const SHELL = ["sh", "-c", "if command -v bash >/dev/null; then exec bash; else exec sh; fi"];
const FONT = 'ui-monospace, "DejaVu Sans Mono", monospace';
const KEPT_LINES = 5000;

/** An element whose styles, which xterm writes as text and the page's policy forbids, are given to the browser as objects. */
function styledByObjects(name: string): HTMLElement {
  // Even an empty style element is one too many.
  const element = Document.prototype.createElement.call(document, name === "style" ? "template" : name);
  const setAttribute = element.setAttribute.bind(element);
  element.setAttribute = (attribute, value) => (attribute === "style" ? void (element.style.cssText = value) : setAttribute(attribute, value));
  if (name !== "style") return element;
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(element, "textContent", { set: (text: string) => void sheet.replaceSync(text) });
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    HTMLElement.prototype.remove.call(element);
  };
  return element;
}

/** The document as xterm is to see it. */
const styledDocument = (): Document =>
  new Proxy(document, {
    get(target, name) {
      if (name === "createElement") return styledByObjects;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });

/** Runs what asks the document itself for elements: some parts of xterm do when they are made, whatever document they are given. */
function whileStyled(make: () => void): void {
  document.createElement = styledByObjects as typeof document.createElement;
  try {
    make();
  } finally {
    delete (document as { createElement?: unknown }).createElement;
  }
}

interface Session {
  /** Ends it, and takes it from the screen. */
  close: () => void;
}

async function open(box: HTMLElement, path: string, ended: (words: string) => void): Promise<Session> {
  const [{ Terminal }, { FitAddon }] = await Promise.all([import("@xterm/xterm"), import("@xterm/addon-fit")]);
  const style = getComputedStyle(box);
  const theme = { background: style.backgroundColor, foreground: style.color, cursor: style.color, selectionBackground: "#7fb2ff80" };
  const terminal = new Terminal({ documentOverride: styledDocument(), fontFamily: FONT, fontSize: 13, scrollback: KEPT_LINES, screenReaderMode: true, theme });
  const fit = new FitAddon();
  terminal.loadAddon(fit);
  whileStyled(() => terminal.open(box));
  const socket = new WebSocket(new URL(path, location.href.replace(/^http/, "ws")));
  socket.binaryType = "arraybuffer";
  const typed = new TextEncoder();
  let told = false;
  const tell = (words: string) => (told ||= (ended(words), true));
  const resize = () => {
    fit.fit();
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ columns: terminal.cols, rows: terminal.rows }));
  };
  socket.onopen = () => (resize(), terminal.focus());
  socket.onmessage = ({ data }) => (typeof data === "string" ? tell(JSON.parse(data).ended) : terminal.write(new Uint8Array(data)));
  socket.onclose = () => tell("lost");
  terminal.onData((text) => socket.readyState === WebSocket.OPEN && socket.send(typed.encode(text)));
  const watched = new ResizeObserver(resize);
  watched.observe(box);
  return {
    close: () => {
      told = true;
      watched.disconnect();
      socket.close();
      terminal.dispose();
    },
  };
}

export function TerminalTab({ obj }: { obj: Obj }) {
  const say = useWords();
  const running: string[] = (obj.status?.containerStatuses ?? []).filter((one: Obj) => one.state?.running).map((one: Obj) => one.name);
  const [container, setContainer] = useState<string>();
  const [said, setSaid] = useState<string>();
  const box = useRef<HTMLDivElement>(null);
  const chosen = container ?? running[0];
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (!chosen || !box.current) return;
    setSaid(undefined);
    const query = new URLSearchParams([["namespace", obj.metadata.namespace], ["pod", obj.metadata.name], ["container", chosen], ...SHELL.map((word) => ["command", word])]);
    const session = open(box.current, `/terminal?${query}`, (words) => setSaid(words === "lost" ? say("lostTerminal") : words ? say("terminalEnded", { words }) : say("terminalOver")));
    session.catch((error: Error) => setSaid(error.message));
    return () => void session.then(({ close }) => close(), () => undefined);
  }, [chosen, obj.metadata.uid, attempt]);
  if (!chosen) return <p class="soft">{say("noneRuns")}</p>;
  return (
    <>
      <div class="tabs">
        <label>{say("container")} <select value={chosen} onChange={(event) => setContainer(event.currentTarget.value)}>{[...new Set([chosen, ...running])].map((name) => <option key={name}>{name}</option>)}</select></label>
        {said !== undefined && <button type="button" onClick={() => setAttempt(attempt + 1)}>{say("openAgain")}</button>}
      </div>
      <div role="status">{said !== undefined && <p class="notice">{said}</p>}</div>
      {/* Escape and Tab are typed, not taken by the page. */}
      <div class="terminal-box" ref={box} role="region" aria-label={say("terminal")} onKeyDown={(event) => event.stopPropagation()} />
      <p class="soft">{say("terminalKeys")}</p>
    </>
  );
}
