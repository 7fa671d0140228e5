// How a stranger becomes known: by a link, which is followed elsewhere, or by a token of the cluster's.
import { useEffect, useRef, useState } from "preact/hooks";
import { live } from "../live";
import { get, send } from "../server";
import { useWords } from "../words";

type Way = "link" | "token";

/** By which of the two this server lets viewers in; unknown until it has said. */
export function useWay(): Way | undefined {
  const [way, setWay] = useState<Way>();
  useEffect(() => {
    get("/login/way").then((said) => setWay(said.way), () => undefined);
  }, []);
  return way;
}

export async function signOut(): Promise<void> {
  await send("POST", "/logout", "", "text/plain");
  // What was seen is nobody's any more, drawn or in memory.
  location.reload();
}

export function SignIn() {
  const say = useWords();
  const way = useWay();
  const field = useRef<HTMLInputElement>(null);
  const [refused, setRefused] = useState("");
  const [asking, setAsking] = useState(false);
  useEffect(() => field.current?.focus(), [way]);
  if (way !== "token") return <main id="content">{way && <p class="notice" role="alert">{say("stranger")}</p>}</main>;
  const enter = async (event: Event) => {
    event.preventDefault();
    setAsking(true);
    setRefused("");
    try {
      await send("POST", "/login", JSON.stringify({ token: field.current!.value }), "application/json");
      live.start();
    } catch (error) {
      setRefused((error as Error).message);
      field.current?.select();
    }
    setAsking(false);
  };
  return (
    <main id="content">
      <form class="card sign-in" onSubmit={enter}>
        <h2>{say("signIn")}</h2>
        <p>{say("signInHow")}</p>
        <label>{say("token")} <input ref={field} type="password" name="token" autocomplete="off" spellcheck={false} required aria-describedby="refused" aria-invalid={refused ? true : undefined} /></label>
        <button type="submit" disabled={asking}>{say("signIn")}</button>
        <p id="refused" role="alert">{refused}</p>
      </form>
    </main>
  );
}
