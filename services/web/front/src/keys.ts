// Keys that lead from one of many to the next: Tab would have to pass all of them.

/** For the keys of what holds them: arrows go among all that `chosen` names, if one of them has the focus. */
export function arrows(event: KeyboardEvent, chosen: string): void {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const here = event.target as HTMLElement;
  if (!step || !here.matches(chosen)) return;
  const all = [...document.querySelectorAll<HTMLElement>(chosen)];
  all[all.indexOf(here) + step]?.focus();
  event.preventDefault();
}
