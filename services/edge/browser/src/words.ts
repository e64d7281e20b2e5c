// What the inbox element says, and how it tells times and links. Pure.

export interface Words {
  title: string;
  /** What the bell is called, with how many are unread ("3", "99+"); `none` without any. */
  bell: (count: string) => string;
  bellNone: string;
  all: string;
  unread: string;
  archived: string;
  filter: string;
  markAll: string;
  close: string;
  read: (title: string) => string;
  markUnread: (title: string) => string;
  archive: (title: string) => string;
  unarchive: (title: string) => string;
  /** The button that shows what has come meanwhile. */
  fresh: (count: number) => string;
  /** Said to those who hear the page. */
  arrived: (count: number, newest: string) => string;
  older: string;
  loading: string;
  empty: string;
  emptyUnread: string;
  emptyArchived: string;
  failed: string;
  retry: string;
  expired: string;
  offline: string;
  unreadItem: string;
  /** Takes a toast away. */
  dismiss: (title: string) => string;
  /** The button that asks the user to permit notifications of the system. */
  permit: string;
  levels: Record<"info" | "success" | "warning" | "error", string>;
}

export const ENGLISH: Words = {
  title: "Notifications",
  bell: (count) => `Notifications, ${count} unread`,
  bellNone: "Notifications, none unread",
  all: "All",
  unread: "Unread",
  archived: "Archived",
  filter: "Which notifications",
  markAll: "Mark all as read",
  close: "Close",
  read: (title) => `Mark as read: ${title}`,
  markUnread: (title) => `Mark as unread: ${title}`,
  archive: (title) => `Archive: ${title}`,
  unarchive: (title) => `Move back to the inbox: ${title}`,
  fresh: (count) => `${count} new`,
  arrived: (count, newest) => (count === 1 ? `New notification: ${newest}` : `${count} new notifications`),
  older: "Show older",
  loading: "Loading…",
  empty: "You are all caught up",
  emptyUnread: "Nothing unread",
  emptyArchived: "Nothing archived",
  failed: "This did not work",
  retry: "Try again",
  expired: "You are signed out. Sign in again to see your notifications.",
  offline: "Offline. This goes on by itself.",
  unreadItem: "Unread",
  dismiss: (title) => `Dismiss: ${title}`,
  permit: "Tell me outside of this page, too",
  levels: { info: "Information", success: "Success", warning: "Warning", error: "Error" },
};

/** A count as people read it: `99+` stands for more than the limit. */
export function shownCount(count: number, limit: number): string {
  return count > limit ? `${limit}+` : String(count);
}

const UNITS = [
  ["year", 365 * 86_400],
  ["month", 30 * 86_400],
  ["week", 7 * 86_400],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
] as const;

/** How long ago, in the words of the locale. A time to come is now: one of the two clocks is wrong. */
export function relativeTime(time: string, now: number, locale?: string): string {
  const then = Date.parse(time);
  if (Number.isNaN(then)) return "";
  const ago_s = Math.max(0, (now - then) / 1_000);
  const [unit, size_s] = UNITS.find(([, size]) => ago_s >= size) ?? ["second", 1];
  const count = unit === "second" ? 0 : Math.floor(ago_s / size_s);
  return new Intl.RelativeTimeFormat(supported(locale), { numeric: "auto", style: "short" }).format(-count, unit);
}

/** The whole date, for those who want to know exactly. */
export function fullTime(time: string, locale?: string): string {
  const then = Date.parse(time);
  if (Number.isNaN(then)) return "";
  return new Intl.DateTimeFormat(supported(locale), { dateStyle: "full", timeStyle: "short" }).format(then);
}

/** A page may say any `lang`; one that is no language is the browser's. */
function supported(locale: string | undefined): string | undefined {
  try {
    return Intl.getCanonicalLocales(locale || undefined)[0];
  } catch {
    return undefined;
  }
}

/** Where a link leads, if that is a page: http, https or relative to `base`. Anything else would run or open what it likes. */
export function safeLink(link: unknown, base: string): string | null {
  if (typeof link !== "string" || link === "") return null;
  try {
    const { protocol, href } = new URL(link, base);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}
