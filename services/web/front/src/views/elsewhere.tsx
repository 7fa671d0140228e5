// For viewers who may not see everything everywhere: in which namespaces is looked, and how to name another one.
import { useState } from "preact/hooks";
import { live } from "../live";
import { send } from "../server";
import { useWords } from "../words";

export function Elsewhere() {
  const say = useWords();
  const [refused, setRefused] = useState("");
  const look = async (event: Event) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const name = String(new FormData(form).get("namespace")).trim();
    setRefused("");
    try {
      await send("POST", `/look?namespace=${encodeURIComponent(name)}`, "", "text/plain");
      form.reset();
    } catch (error) {
      setRefused((error as Error).message);
    }
  };
  return (
    <form class="notice" onSubmit={look}>
      {live.within.length > 0 && <p>{say("within", { namespaces: live.within.join(", ") })}</p>}
      <label>{say("lookIn")} <input name="namespace" autocomplete="off" spellcheck={false} required maxLength={63} /></label> <button type="submit">{say("look")}</button>
      <span role="alert" class="bad">{refused}</span>
    </form>
  );
}
