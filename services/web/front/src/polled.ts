// What no watch tells: asked again and again, and not while nobody looks.
import { useEffect, useState } from "preact/hooks";
import { get } from "./server";

export interface Polled<T> {
  answer?: T;
  /** Why there is no answer. */
  said: string;
}

export function usePolled<T>(path: string, milliseconds: number): Polled<T> {
  const [polled, setPolled] = useState<Polled<T>>({ said: "" });
  useEffect(() => {
    let gone = false;
    const tell = (found: Polled<T>) => gone || setPolled(found);
    const ask = () => void (document.hidden || get(path).then((answer) => tell({ answer, said: "" }), (error) => tell({ said: error.message })));
    ask();
    const timer = setInterval(ask, milliseconds);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [path, milliseconds]);
  return polled;
}
