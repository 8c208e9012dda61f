// The history of personal bests: as curves, and as the board that stood at a moment of the past.

/**
 * Records that may be shown, in order of time.
 *
 * A submission that has no rank on the board today had none in the past.
 */
export function usable(records, entries) {
  const barred = new Set(entries.filter((entry) => entry.rank === null).map((e) => e.submission));
  const names = new Map(entries.map((entry) => [entry.participant, entry.name]));
  return records
    .filter((record) => !barred.has(record.submission) && Number.isFinite(record.score))
    .map((record) => ({ ...record, name: names.get(record.participant) ?? record.name }))
    .sort((a, b) => a.time - b.time);
}

/** One series per participant, the best first: {participant, name, points: [record]}. */
export function series(records) {
  const found = new Map();
  for (const record of records) {
    const { participant, name } = record;
    let one = found.get(participant);
    if (!one) found.set(participant, (one = { participant, name, points: [] }));
    one.points.push(record);
    one.name = name;
  }
  const last = (one) => one.points[one.points.length - 1];
  return [...found.values()].sort(
    (a, b) => last(b).score - last(a).score || last(a).time - last(b).time,
  );
}

/**
 * The board after the first `records`: entries ranked by score alone, since only the server can
 * compare image by image. Where a record is today's entry, its facts are known, too.
 */
export function boardAfter(records, entries) {
  const today = new Map(entries.map((entry) => [entry.submission, entry]));
  const best = series(records);
  const scores = best.map((one) => one.points[one.points.length - 1].score);
  return best.map(({ participant, name, points }) => {
    const record = points[points.length - 1];
    const rank = 1 + scores.findIndex((score) => score === record.score);
    const known = today.get(record.submission);
    if (known) return { ...known, rank, submissions: 0 };
    const { submission, time, score, test } = record;
    return { partial: true, rank, participant, name, submission, time, score, test, claim: null };
  });
}
