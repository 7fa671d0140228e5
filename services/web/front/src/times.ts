// Times of day, as they are written in the page's language.

const FORMS = new Map<string, Intl.DateTimeFormat>();

/** Of milliseconds since 1970 or a time as the API server writes it; with milliseconds where it matters what came first. */
export function timeOfDay(at: number | string, exact = false): string {
  const language = document.documentElement.lang;
  const key = `${language} ${exact}`;
  const form = FORMS.get(key) ?? new Intl.DateTimeFormat(language || undefined, { timeStyle: exact ? undefined : "medium", ...(exact && EXACT) });
  FORMS.set(key, form);
  return form.format(new Date(at));
}

const EXACT: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" };
