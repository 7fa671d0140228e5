// What is asked of the server one by one.

export class Refused extends Error {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

async function answered(response: Response): Promise<Response> {
  if (response.ok) return response;
  const text = await response.text();
  let message = text;
  try {
    message = JSON.parse(text).message ?? text;
  } catch {
    // It is no JSON; then it is the words themselves.
  }
  throw new Refused(response.status, message);
}

export const get = async (path: string): Promise<any> => (await answered(await fetch(path))).json();

export const text = async (path: string, accept = "text/plain"): Promise<string> =>
  (await answered(await fetch(path, { headers: { Accept: accept } }))).text();

/** Anything that may change something. */
export const send = async (method: string, path: string, body: string, type: string, accept = "application/json"): Promise<string> =>
  (await answered(await fetch(path, { method, body, headers: { "Content-Type": type, Accept: accept, "X-Knarr-Page": "1" } }))).text();

/** The pieces of an answer as they come, until `signal`. */
export async function follow(path: string, signal: AbortSignal, take: (piece: string) => void): Promise<void> {
  const response = await answered(await fetch(path, { signal }));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    take(value);
  }
}
