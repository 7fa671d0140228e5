// What the viewer may do, as the API server says: buttons for the rest are not there.
import { useEffect, useState } from "preact/hooks";
import { send } from "./server";

export interface Right {
  verb: string;
  group?: string;
  resource: string;
  subresource?: string;
  namespace?: string;
  name?: string;
}

const REVIEWS = "/cluster/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
// Rights change seldom; an action that was allowed a moment ago is refused by the API server itself.
const KEPT_MS = 30_000;
const MOST_KEPT = 200;
const kept = new Map<string, { until: number; answer: Promise<boolean> }>();

export function may(right: Right): Promise<boolean> {
  const key = JSON.stringify(right);
  const known = kept.get(key);
  if (known && known.until > Date.now()) return known.answer;
  const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes: right } };
  const answer = send("POST", REVIEWS, JSON.stringify(body), "application/json").then(
    (text) => JSON.parse(text).status?.allowed === true,
    () => false,
  );
  if (kept.size >= MOST_KEPT) kept.clear();
  kept.set(key, { until: Date.now() + KEPT_MS, answer });
  return answer;
}

/** Whether all of it may be done; false until that is known. */
export function useMay(...rights: Right[]): boolean {
  const [allowed, setAllowed] = useState(false);
  const key = JSON.stringify(rights);
  useEffect(() => {
    let gone = false;
    void Promise.all(rights.map(may)).then((all) => gone || setAllowed(all.every(Boolean)));
    return () => void (gone = true);
  }, [key]);
  return allowed;
}
