// The place that a tab keeps over reloads. Each tab has its own; a duplicated tab begins with a copy, as it should.

/** The place kept, or null. */
export function keptPlace(key: string): string | null {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Where the storage is full or forbidden, a reload begins as a new page would. */
export function keepPlace(key: string, cursor: string): void {
  try {
    sessionStorage.setItem(key, cursor);
  } catch {
    // See above.
  }
}
