// The documents of the API and the parts of the page, for the type checker only.

type View = import("lit/html.js").TemplateResult | typeof import("lit/html.js").nothing;
type Role = "reader" | "sender" | "admin";

interface Session {
  username: string;
  role: Role;
  labels: Record<string, string> | null;
  csrfToken: string;
}

interface Agent {
  agentId: string;
  platform: string;
  region: string | null;
  labels: Record<string, string>;
  facts: Record<string, unknown>;
  capacity: unknown;
  metadata: unknown;
  approval: "pending" | "approved" | "rejected";
  presence: "online" | "degraded" | "offline";
  createdAt: string;
  registeredAt: string | null;
  connectedAt: string | null;
  lastSeenAt: string | null;
  activeSessions: number | null;
  pendingCount: number;
  oldestPendingAt: string | null;
}

interface Command {
  commandId: string;
  agentId: string;
  sessionId: string | null;
  action: string;
  status: string;
  errorMessage: string | null;
  createdAt: string;
  sentAt: string | null;
  acknowledgedAt: string | null;
  completedAt: string | null;
  priority: number;
  notBefore: string | null;
  deliverBy: string | null;
  executionTimeoutSeconds: number;
  maxAttempts: number;
  attempt: number;
  cancelRequestedAt: string | null;
  cause: string;
  submittedBy: string | null;
  redriveOf: string | null;
  payload?: unknown;
  result?: unknown;
  progress?: unknown;
}

interface HistoryEntry {
  fromStatus: string | null;
  toStatus: string;
  attempt: number;
  cause: string;
  at: string;
}

interface Why {
  reason: string;
  sentence: string;
  unblock: string | null;
}

interface FeedEvent {
  id: string;
  type: string;
  at: string;
  agentId: string;
  commandId?: string;
  action?: string;
  status?: string;
  attempt?: number;
  cause?: string;
}

interface Overview {
  at: string;
  agents: Record<"online" | "degraded" | "offline", number>;
  commands: Record<string, number>;
  oldestDueSeconds: number;
  deadLast24h: number;
  series: { minute: string; accepted: number; sent: number; completed: number; failed: number }[];
  latency: Record<string, Record<"p50" | "p95" | "p99", number | null>>;
}

interface Place {
  /** The name of the page; empty for the overview. */
  page: string;
  /** The id in the address, of one agent or command. */
  item: string;
  query: URLSearchParams;
}

interface Page {
  /** What the heading and the window's title say. */
  title: string;
  /** Reads what the page shows; it is called again whenever that may have changed. */
  load(signal: AbortSignal): Promise<void>;
  view(): View;
  /** Tells whether an event of the feed may have changed what the page shows. */
  concerns?(event: FeedEvent): boolean;
  /** What the palette offers on this page. */
  actions?(): PaletteEntry[];
  /** Frees what the page holds. */
  close?(): void;
}

interface PaletteEntry {
  name: string;
  hint?: string;
  run(): void;
}

interface Shell {
  place: Place;
  session: Session;
  /** Shows the page anew, with what it has. */
  redraw(): void;
  /** Reads again, then shows. */
  reload(): Promise<void>;
  go(address: string): void;
  /** Changes the query of the address; null and "" remove a name. */
  filter(changes: Record<string, string | null>): void;
  /** Tells people what has been done. */
  tell(text: string): void;
}
