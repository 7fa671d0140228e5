// What a node or pod has used of processors and memory, as plots. What draws them is loaded with the first.
import { useEffect, useRef } from "preact/hooks";
import { megabytes, quantity, requested, type Obj } from "../objects";
import { usePolled } from "../polled";
import { timeOfDay } from "../times";
import { useWords } from "../words";
import type { TabProps } from "./object";

interface Samples {
  /** Milliseconds since 1970. */
  at: number[];
  cpu: number[];
  memory: number[];
}

const POLL_MS = 10_000;
const HEIGHT = 170;

interface PlotProps {
  title: string;
  at: number[];
  values: number[];
  /** Lines that do not move: what is asked for, what there is at most. */
  marks: { name: string; value: number }[];
  show: (value: number) => string;
}

function Plot({ title, at, values, marks, show }: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const latest = values[values.length - 1];
  const words = `${title}: ${latest === undefined ? "–" : show(latest)}${marks.map((one) => `, ${one.name} ${show(one.value)}`).join("")}`;
  const key = `${at[at.length - 1]} ${marks.map((one) => one.value).join()}`;
  useEffect(() => {
    const here = box.current!;
    let plot: { destroy: () => void; setSize: (size: { width: number; height: number }) => void } | undefined;
    let gone = false;
    void import("uplot").then(({ default: UPlot }) => {
      if (gone) return;
      const probe = getComputedStyle(here.querySelector(".probe")!);
      const [ink, line, accent, mark] = [probe.color, probe.borderTopColor, probe.borderBottomColor, probe.outlineColor];
      const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
      const times = at.map((one) => one / 1000);
      plot = new UPlot(
        {
          width: here.clientWidth, height: HEIGHT, legend: { show: false }, cursor: { y: false },
          axes: [{ ...axis, space: 90, values: (_: unknown, splits: number[]) => splits.map((one) => timeOfDay(one * 1000)) }, { ...axis, size: 70, values: (_: unknown, splits: number[]) => splits.map(show) }],
          scales: { y: { range: (_: unknown, __: number, most: number) => [0, Math.max(most, ...marks.map((one) => one.value)) * 1.1 || 1] } },
          series: [{}, { label: title, stroke: accent, width: 2, fill: `color-mix(in srgb, ${accent} 15%, transparent)` }, ...marks.map((one) => ({ label: one.name, stroke: mark, width: 1, dash: [6, 4], points: { show: false } }))],
        },
        [times, values, ...marks.map((one) => times.map(() => one.value))],
        here,
      );
    });
    const watched = new ResizeObserver(() => plot?.setSize({ width: here.clientWidth, height: HEIGHT }));
    watched.observe(here);
    return () => {
      gone = true;
      watched.disconnect();
      plot?.destroy();
    };
  }, [key, document.documentElement.dataset.theme, document.documentElement.lang]);
  return (
    <figure>
      <figcaption>{words}</figcaption>
      <div class="plot" ref={box} role="img" aria-label={words}><span class="probe" /></div>
    </figure>
  );
}

const cores = (amount: number): string => (amount >= 1 ? amount.toFixed(2) : `${Math.round(amount * 1000)}m`);

/** What a pod may use at most; nothing where a container has no bound. */
function limited(pod: Obj, resource: string): number {
  const limits = (pod.spec.containers as Obj[]).map((one) => quantity(one.resources?.limits?.[resource]));
  return limits.every(Boolean) ? limits.reduce((sum, one) => sum + one, 0) : 0;
}

export function Usage({ resource, obj }: TabProps) {
  const say = useWords();
  const query = new URLSearchParams({ resource, namespace: obj.metadata.namespace ?? "", name: obj.metadata.name });
  const { answer, said } = usePolled<Samples>(`/usage?${query}`, POLL_MS);
  if (said) return <p class="notice" role="status">{said}</p>;
  if (!answer) return null;
  if (!answer.at.length) return <p class="soft">{say("noUsage")}</p>;
  const marks = (of: string) => {
    const found = resource === "nodes" ? [{ name: say("allocatable"), value: quantity(obj.status?.allocatable?.[of]) }] : [{ name: say("requests"), value: requested(obj, of) }, { name: say("limit"), value: limited(obj, of) }];
    return found.filter((one) => one.value > 0);
  };
  return (
    <>
      <Plot title={say("cpu")} at={answer.at} values={answer.cpu} marks={marks("cpu")} show={cores} />
      <Plot title={say("memory")} at={answer.at} values={answer.memory} marks={marks("memory")} show={megabytes} />
      <p class="soft">{say("usageKept")}</p>
    </>
  );
}
