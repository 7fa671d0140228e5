// The cluster as the server tells it, and who is told of its changes: once a frame, however many there were.
import { useEffect, useState } from "preact/hooks";
import { keyOf, type Obj } from "./objects";

export type Connection = "connecting" | "live" | "lost" | "stranger";

class Live {
  objects = new Map<string, Map<string, Obj>>();
  standing: Record<string, string | null> = {};
  /** The namespaces in which is looked one by one, because the viewer may not see everything everywhere; mostly none. */
  within: string[] = [];
  connection: Connection = "connecting";
  floor = 0;
  newest = 0;
  /** The revision that is shown instead of now, if any. */
  shown?: number;
  private past?: Map<string, Map<string, Obj>>;
  private listeners = new Set<() => void>();
  private drawing = false;

  of(resource: string): ReadonlyMap<string, Obj> {
    return (this.past ?? this.objects).get(resource) ?? new Map();
  }

  /** Shows the cluster as it was; without objects, as it is. */
  show(revision?: number, objects?: Record<string, Obj[]>): void {
    this.shown = objects && revision;
    this.past = objects && new Map(Object.entries(objects).map(([resource, all]) => [resource, new Map(all.map((obj) => [keyOf(obj), obj]))]));
    this.version++;
    this.changed();
  }

  /** By which a view knows whether what it shows has changed: counts what came. Revisions do not tell: the lists of several resources may
   * be of the same one. */
  version = 0;

  get latest(): number {
    return this.shown ?? this.newest;
  }

  listen(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  start(): void {
    const source = new EventSource("/live");
    const on = (event: string, take: (data: any) => void) =>
      source.addEventListener(event, (message) => {
        take(JSON.parse((message as MessageEvent).data));
        this.version++;
        this.changed();
      });
    on("all", ([resource, all]: [string, Obj[]]) => this.objects.set(resource, new Map(all.map((obj) => [keyOf(obj), obj]))));
    on("object", ([resource, obj]: [string, Obj]) => this.table(resource).set(keyOf(obj), obj));
    on("gone", ([resource, namespace, name]: string[]) => this.table(resource).delete(`${namespace}/${name}`));
    on("revision", ([floor, latest]: number[]) => ([this.floor, this.newest] = [floor, latest]));
    on("standing", (standing) => (this.standing = standing));
    on("within", (within) => (this.within = within));
    source.onopen = () => this.connect("live");
    // Closed: the server has refused it. Else the browser tries again by itself.
    source.onerror = () => {
      if (source.readyState !== EventSource.CLOSED) return this.connect("lost");
      this.connect("stranger");
    };
  }

  private table(resource: string): Map<string, Obj> {
    const table = this.objects.get(resource) ?? new Map<string, Obj>();
    this.objects.set(resource, table);
    return table;
  }

  private connect(connection: Connection): void {
    this.connection = connection;
    this.changed();
  }

  private changed(): void {
    if (this.drawing) return;
    this.drawing = true;
    // A page that is not seen gets no frames, and need not draw.
    requestAnimationFrame(() => {
      this.drawing = false;
      for (const listener of this.listeners) listener();
    });
  }
}

export const live = new Live();

/** Draws a component again when anything has changed. */
export function useLive(): Live {
  const [, draw] = useState(0);
  useEffect(() => live.listen(() => draw((count) => count + 1)), []);
  return live;
}

export const whenOf = (event: Obj): string => event.series?.lastObservedTime ?? event.lastTimestamp ?? event.eventTime ?? event.metadata.creationTimestamp;

/** What was told about an object, the latest first. */
export const eventsOf = (obj: Obj): Obj[] =>
  [...live.of("events").values()]
    .filter((event) => (event.involvedObject?.uid ? event.involvedObject.uid === obj.metadata.uid : event.involvedObject?.name === obj.metadata.name))
    .sort((a, b) => whenOf(b).localeCompare(whenOf(a)));
