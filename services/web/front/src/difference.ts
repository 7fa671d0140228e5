// Which lines of a text are other than those of another one.

export interface Line {
  kind: "same" | "plus" | "minus";
  text: string;
}

// Beyond, what lies between the first and the last difference is told as a whole: the table would have too many places.
const MOST_PLACES = 4_000_000;

/** The lines of both, in order: by their longest common sequence between what begins and ends the same. */
export function lineDifference(before: string, after: string): Line[] {
  const a = before.split("\n");
  const b = after.split("\n");
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const as = (kind: Line["kind"], lines: string[]): Line[] => lines.map((text) => ({ kind, text }));
  const middle = between(a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  return [...as("same", a.slice(0, head)), ...middle, ...as("same", a.slice(a.length - tail))];
}

function between(a: string[], b: string[]): Line[] {
  const minus = (text: string): Line => ({ kind: "minus", text });
  const plus = (text: string): Line => ({ kind: "plus", text });
  const width = b.length + 1;
  if (a.length * width > MOST_PLACES) return [...a.map(minus), ...b.map(plus)];
  const longest = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ kind: "same", text: a[i] });
      i++, j++;
    } else if (i < a.length && (j === b.length || longest[(i + 1) * width + j] >= longest[i * width + j + 1])) lines.push(minus(a[i++]));
    else lines.push(plus(b[j++]));
  }
  return lines;
}

const AROUND = 3;

/** Only what differs, with a few lines around it; `…` stands for what was left out. */
export function shortened(lines: Line[]): Line[] {
  const near = lines.map((_, index) => lines.slice(Math.max(0, index - AROUND), index + AROUND + 1).some((one) => one.kind !== "same"));
  return lines.flatMap((line, index) => (near[index] ? [line] : index && near[index - 1] ? [{ kind: "same" as const, text: "…" }] : []));
}
