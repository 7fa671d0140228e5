// Where connections go: the outside, Services, and the pods behind them, each edge with its connections a second.
import { useMemo } from "preact/hooks";
import { live } from "../live";
import type { Obj } from "../objects";
import { usePolled } from "../polled";
import { useWords } from "../words";
import type { Choose } from "./map";

interface Edge {
  namespace: string;
  service: string;
  protocol: string;
  port: number;
  address: string;
  target: number;
  pod: string;
  connections: number;
  rate: number | null;
}

const POLL_MS = 2000;
// A picture that is read: the busiest Services, and of each the busiest endpoints; what is left out is said.
const MOST_SERVICES = 12;
const MOST_ENDS = 8;
const ROW = 26;
const BOX = { outside: [8, 150], service: [300, 250], end: [710, 270] } as const;
const WIDTH = 990;

interface End {
  label: string;
  pod?: string;
  rate: number;
  connections: number;
}

interface Flow {
  key: string;
  service?: Obj;
  ways: string[];
  rate: number;
  ends: End[];
  left: number;
}

/** How a Service is reached from outside the cluster; nothing where it is not. */
function waysIn(service: Obj | undefined): string[] {
  if (!service) return [];
  const addresses = [...(service.status?.loadBalancer?.ingress ?? []).map((one: Obj) => one.ip ?? one.hostname), ...(service.spec.externalIPs ?? [])];
  const ports = (service.spec.ports ?? []).flatMap((one: Obj) => (one.nodePort ? `:${one.nodePort}` : []));
  return [...ports, ...addresses];
}

export function flowsOf(edges: Edge[], services: ReadonlyMap<string, Obj>, namespace: string): Flow[] {
  const found = new Map<string, Map<string, End>>();
  for (const edge of edges) {
    if (namespace && edge.namespace !== namespace) continue;
    const key = `${edge.namespace}/${edge.service}`;
    const ends = found.get(key) ?? new Map<string, End>();
    found.set(key, ends);
    // Several ports of a Service may lead to one pod.
    const label = edge.pod || edge.address;
    const end = ends.get(label) ?? { label, pod: edge.pod ? `${edge.namespace}/${edge.pod}` : undefined, rate: 0, connections: 0 };
    end.rate += edge.rate ?? 0;
    end.connections += edge.connections;
    ends.set(label, end);
  }
  return [...found]
    .map(([key, ends]) => {
      const all = [...ends.values()].sort((a, b) => b.rate - a.rate || b.connections - a.connections || a.label.localeCompare(b.label));
      const service = services.get(key);
      return { key, service, ways: waysIn(service), rate: all.reduce((sum, one) => sum + one.rate, 0), ends: all.slice(0, MOST_ENDS), left: Math.max(all.length - MOST_ENDS, 0) };
    })
    .sort((a, b) => b.rate - a.rate || Number(b.ways.length > 0) - Number(a.ways.length > 0) || a.key.localeCompare(b.key));
}

const shown = (rate: number): string => (rate >= 100 ? rate.toFixed(0) : rate >= 10 ? rate.toFixed(1) : rate.toFixed(2));
const thickness = (rate: number): number => (rate ? Math.min(1.5 + Math.log10(1 + rate) * 2, 8) : 1);
const shortened = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

function Line({ from, to, rate, label }: { from: [number, number]; to: [number, number]; rate: number; label: string }) {
  const bend = (to[0] - from[0]) / 2;
  return (
    <>
      <path class={rate ? "edge busy-edge" : "edge"} stroke-width={thickness(rate)} d={`M${from[0]},${from[1]} C${from[0] + bend},${from[1]} ${to[0] - bend},${to[1]} ${to[0]},${to[1]}`} />
      {/* On the side from which the line does not come. */}
      {label && <text class="rate" x={to[0] - 8} y={to[1] + (to[1] > from[1] + 1 ? 13 : -4)} text-anchor="end">{label}</text>}
    </>
  );
}

interface BoxProps {
  at: readonly [number, number];
  y: number;
  height?: number;
  label: string;
  look?: string;
  go?: () => void;
}

function Box({ at: [x, width], y, height = ROW - 6, label, look = "", go }: BoxProps) {
  const keys = (event: KeyboardEvent) => (event.key === "Enter" || event.key === " ") && (event.preventDefault(), go?.());
  return (
    <g class={`box ${look}`} {...(go ? { role: "button", tabIndex: 0, "aria-label": label, onClick: go, onKeyDown: keys } : {})}>
      <title>{label}</title>
      <rect x={x} y={y} width={width} height={height} rx={4} />
      <text x={x + 8} y={y + height / 2 + 4}>{shortened(label, Math.floor(width / 7))}</text>
    </g>
  );
}

function Picture({ flows, choose }: { flows: Flow[]; choose: Choose }) {
  const say = useWords();
  let top = 4;
  const placed = flows.map((flow) => {
    const rows = Math.max(flow.ends.length + (flow.left ? 1 : 0), 1);
    const here = { flow, top, middle: top + (rows * ROW - 6) / 2 };
    top += rows * ROW + 8;
    return here;
  });
  const outside = placed.filter(({ flow }) => flow.ways.length);
  const middle = outside.length ? outside.reduce((sum, one) => sum + one.middle, 0) / outside.length : top / 2;
  const pods = live.of("pods");
  return (
    <svg class="traffic" viewBox={`0 0 ${WIDTH} ${top}`} role="group" aria-label={say("traffic")}>
      {outside.map(({ flow, middle: y }) => <Line key={flow.key} from={[BOX.outside[0] + BOX.outside[1], middle]} to={[BOX.service[0], y]} rate={0} label={shortened(flow.ways.join(" "), 24)} />)}
      {placed.flatMap(({ flow, top: first, middle: y }) =>
        flow.ends.map((end, index) => (
          <Line key={`${flow.key} ${end.label}`} from={[BOX.service[0] + BOX.service[1], y]} to={[BOX.end[0], first + index * ROW + 10]} rate={end.rate} label={end.rate ? say("perSecond", { rate: shown(end.rate) }) : ""} />
        )),
      )}
      <Box at={BOX.outside} y={middle - 17} height={34} label={say("outside")} look="outside" />
      {placed.map(({ flow, top: first, middle: y }) => (
        <g key={flow.key}>
          <Box at={BOX.service} y={y - 10} label={flow.rate ? `${flow.key} · ${say("perSecond", { rate: shown(flow.rate) })}` : flow.key} look={flow.rate ? "live" : ""} go={flow.service && (() => choose("services", flow.service!))} />
          {flow.ends.map((end, index) => {
            const pod = end.pod ? pods.get(end.pod) : undefined;
            return <Box key={end.label} at={BOX.end} y={first + index * ROW} label={end.label} look={end.rate ? "live" : ""} go={pod && (() => choose("pods", pod))} />;
          })}
          {flow.left > 0 && <text class="rate" x={BOX.end[0] + 8} y={first + flow.ends.length * ROW + 14}>{say("andMore", { count: flow.left })}</text>}
        </g>
      ))}
    </svg>
  );
}

export function Traffic({ choose, namespace }: { choose: Choose; namespace: string }) {
  const say = useWords();
  const { answer, said } = usePolled<{ datapath: string; edges: Edge[] }>("/traffic", POLL_MS);
  const flows = useMemo(() => flowsOf(answer?.edges ?? [], live.of("services"), namespace), [answer, namespace, live.of("services")]);
  return (
    <section aria-labelledby="traffic">
      <h2 id="traffic">{say("traffic")}</h2>
      {said && <p class="soft">{said}</p>}
      {answer && !flows.length && <p class="soft">{say("noTraffic")}</p>}
      {flows.length > 0 && (
        <>
          <div class="card wide" tabIndex={0} role="group" aria-label={say("traffic")}><Picture flows={flows.slice(0, MOST_SERVICES)} choose={choose} /></div>
          <p class="soft">{say("trafficSource", { datapath: answer!.datapath })} {flows.length > MOST_SERVICES && say("andMoreServices", { count: flows.length - MOST_SERVICES })}</p>
        </>
      )}
    </section>
  );
}
