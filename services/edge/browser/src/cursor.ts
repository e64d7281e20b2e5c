// Places in the log. A cursor is `<log id>.<position>`; everything at or below it has been seen.

/** Where a tab is: a cursor, `earliest` before a stream has told one, or null for "from now on". */
export type Place = string | null;

function split(place: Place): [log: string, position: number] {
  const at = place?.lastIndexOf(".") ?? -1;
  return at < 0 ? ["", NaN] : [place!.slice(0, at), Number(place!.slice(at + 1))];
}

/** Whether all that is at or below `other` is at or below `place`, too; never across two logs. */
export function covers(place: Place, other: Place): boolean {
  const [log, position] = split(place);
  const [otherLog, otherPosition] = split(other);
  return log === otherLog && position >= otherPosition;
}

/** Whether it is a cursor, and not a word for one or nothing. */
export const isPlace = (place: Place): place is string => covers(place, place);
