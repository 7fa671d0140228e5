// Every word of the page, in each of its languages.
import { createContext } from "preact";
import { useContext } from "preact/hooks";

const en = {
  map: "Map",
  skip: "Skip to the content",
  language: "Language",
  theme: "Colours",
  auto: "as the system",
  light: "light",
  dark: "dark",
  connecting: "connecting",
  live: "live",
  lost: "connection lost, trying again",
  stranger: "This browser is not known. Follow the link that `knarr ui` printed; it is good once, and Enter there makes a new one.",
  notSeen: "Not shown",
  controlPlane: "Control plane",
  noParts: "The components are not reached from here; what is below comes from the API server.",
  nodes: "Nodes",
  pods: "Pods",
  services: "Services",
  noNodes: "There are no nodes.",
  noServices: "There are no Services.",
  waiting: "Without a node",
  ready: "ready",
  notReady: "not ready",
  cordoned: "takes no more pods",
  cpu: "CPU",
  memory: "Memory",
  requestedOf: "{used} of {all} asked for",
  usedNow: "{used} in use",
  single: "by themselves",
  restartsShort: "restarts",
  endpoints: "Endpoints",
  noEndpoints: "no pod is ready for it",
  namespace: "Namespace",
  allNamespaces: "all",
  close: "Close",
  details: "Details",
  yaml: "YAML",
  logs: "Logs",
  events: "Events",
  noEvents: "No event is kept about it. They expire after an hour.",
  container: "Container",
  previous: "the one before",
  follow: "follow",
  noLogs: "It has written nothing.",
  difference: "What would change",
  dryRun: "Look what would change",
  apply: "Apply",
  reload: "Read again",
  noDifference: "Nothing would change.",
  applied: "Applied.",
  gone: "It is gone.",
  type: "Type",
  reason: "Reason",
  message: "Message",
  count: "Times",
  when: "When",
  none: "none",
};

export type Word = keyof typeof en;

const ko: Record<Word, string> = {
  map: "지도",
  skip: "본문으로 건너뛰기",
  language: "언어",
  theme: "색상",
  auto: "시스템 설정",
  light: "밝게",
  dark: "어둡게",
  connecting: "연결 중",
  live: "실시간",
  lost: "연결이 끊겨 다시 시도하는 중",
  stranger: "이 브라우저는 아직 로그인하지 않았습니다. `knarr ui`가 출력한 링크를 여세요. 링크는 한 번만 쓸 수 있고, 터미널에서 Enter를 누르면 새 링크가 나옵니다.",
  notSeen: "표시되지 않음",
  controlPlane: "컨트롤 플레인",
  noParts: "여기서는 구성 요소에 직접 연결할 수 없습니다. 아래 내용은 API 서버에서 온 것입니다.",
  nodes: "노드",
  pods: "파드",
  services: "서비스",
  noNodes: "노드가 없습니다.",
  noServices: "서비스가 없습니다.",
  waiting: "아직 노드가 없는 파드",
  ready: "준비됨",
  notReady: "준비되지 않음",
  cordoned: "새 파드를 받지 않음",
  cpu: "CPU",
  memory: "메모리",
  requestedOf: "{all} 중 {used} 요청됨",
  usedNow: "{used} 사용 중",
  single: "소유자 없음",
  restartsShort: "재시작",
  endpoints: "엔드포인트",
  noEndpoints: "준비된 파드가 없습니다",
  namespace: "네임스페이스",
  allNamespaces: "전체",
  close: "닫기",
  details: "상세 정보",
  yaml: "YAML",
  logs: "로그",
  events: "이벤트",
  noEvents: "이 오브젝트에 대한 이벤트가 없습니다. 이벤트는 한 시간 뒤에 사라집니다.",
  container: "컨테이너",
  previous: "이전 컨테이너",
  follow: "이어서 보기",
  noLogs: "출력된 로그가 없습니다.",
  difference: "바뀌는 내용",
  dryRun: "바뀌는 내용 미리 보기",
  apply: "적용",
  reload: "다시 읽기",
  noDifference: "바뀌는 내용이 없습니다.",
  applied: "적용했습니다.",
  gone: "삭제되었습니다.",
  type: "유형",
  reason: "이유",
  message: "메시지",
  count: "횟수",
  when: "시각",
  none: "없음",
};

export const LANGUAGES = { en: "English", ko: "한국어" } as const;
export type Language = keyof typeof LANGUAGES;
const WORDS: Record<Language, Record<Word, string>> = { en, ko };

export type Say = (word: Word, values?: Record<string, string | number>) => string;

export function sayIn(language: Language): Say {
  return (word, values = {}) => WORDS[language][word].replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

export const Words = createContext<Say>(sayIn("en"));
export const useWords = (): Say => useContext(Words);

/** The language that was chosen here before, or that the browser prefers. */
export function firstLanguage(): Language {
  const kept = localStorage.getItem("language");
  if (kept === "en" || kept === "ko") return kept;
  return navigator.languages.some((one) => one.startsWith("ko")) && !navigator.languages[0].startsWith("en") ? "ko" : "en";
}
