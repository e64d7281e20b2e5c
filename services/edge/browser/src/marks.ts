// What a user sees of the inbox: what the server has said, and over it what they have just done. Pure.

export interface InboxItem {
  /** Opaque. */
  readonly id: string;
  readonly title: string;
  readonly body: string | null;
  readonly link: string | null;
  readonly level: "info" | "success" | "warning" | "error";
  readonly topic: string | null;
  /** RFC 3339. */
  readonly time: string;
  readonly seen: boolean;
  readonly read: boolean;
  readonly archived: boolean;
  readonly [more: string]: unknown;
}

/** One more than `limit` stands for "more than `limit`". */
export interface InboxCounts {
  readonly unread: number;
  readonly unseen: number;
  readonly limit: number;
}

export type Mark = "seen" | "read" | "unread" | "archive" | "unarchive";

/** What the user has done, and the server has not answered yet. */
export interface Action {
  readonly mark: Mark;
  /** Null for all that there were. */
  readonly ids: ReadonlySet<string> | null;
}

export interface Marked {
  readonly items: readonly InboxItem[];
  readonly counts: InboxCounts;
}

// Reading an item is having seen it.
const CHANGES: Record<Mark, Partial<InboxItem>> = {
  seen: { seen: true },
  read: { seen: true, read: true },
  unread: { read: false },
  archive: { archived: true },
  unarchive: { archived: false },
};

/** As it will be once the server has taken all of these. */
export function withActions(marked: Marked, actions: readonly Action[]): Marked {
  return actions.reduce(withAction, marked);
}

function withAction({ items, counts }: Marked, { mark, ids }: Action): Marked {
  const changed = items.map((item) => (ids === null || ids.has(item.id) ? { ...item, ...CHANGES[mark] } : item));
  const moved = (is: (item: InboxItem) => boolean): number => changed.filter(is).length - items.filter(is).length;
  return {
    items: changed,
    counts: {
      unread: ids === null && mark !== "seen" ? 0 : counted(counts.unread, moved(isUnread), counts.limit),
      unseen: ids === null ? 0 : counted(counts.unseen, moved(isUnseen), counts.limit),
      limit: counts.limit,
    },
  };
}

const isUnread = ({ read, archived }: InboxItem): boolean => !read && !archived;
const isUnseen = ({ seen, archived }: InboxItem): boolean => !seen && !archived;

/** Where there are more than are counted, a few less are still more, for all that is known here. */
function counted(count: number, change: number, limit: number): number {
  return count > limit ? count : Math.min(limit + 1, Math.max(0, count + change));
}

/** A newer beginning of the list put on what was loaded of its rest. */
export function refreshed(before: readonly InboxItem[], newest: readonly InboxItem[], isAll: boolean): InboxItem[] {
  const last = newest.at(-1);
  const overlap = isAll || last === undefined ? -1 : before.findIndex(({ id }) => id === last.id);
  return overlap < 0 ? [...newest] : [...newest, ...before.slice(overlap + 1)];
}
