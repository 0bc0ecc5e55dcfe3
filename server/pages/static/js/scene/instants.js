// Instants in attributes: which fields say when a thing was built and taken down, and their values as seconds since 1970.

const BEGINS = /^(start|begin|began|built|build_|construct|erect|complet|opened|install|laid|commission|year|since|valid_from|建成|建造|竣工|敷设|启用|开工|施工)/i;
const ENDS = /^(end|demol|removed|torn|closed|decommission|abandon|until|valid_to|拆除|废弃|停用|终止)/i;
const EPOCH = "_epoch";
const LAST_YEAR = 3000; // a whole number below is a year, above it seconds

/** Seconds since 1970 of a value: a number of seconds, a year, "1952", "1952-03", "1952-03-01T...". Null for anything else. */
export function secondsOf(value) {
  if (typeof value === "bigint") return secondsOf(Number(value));
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return null;
    return Number.isInteger(value) && value > 0 && value < LAST_YEAR ? yearSeconds(value) : value;
  }
  if (typeof value !== "string") return null;
  const year = /^\s*(\d{4})\s*$/.exec(value);
  if (year) return yearSeconds(Number(year[1]));
  if (!/^\d{4}-\d{2}/.test(value)) return null;
  const milliseconds = Date.parse(value);
  return Number.isNaN(milliseconds) ? null : milliseconds / 1000;
}

function yearSeconds(year) {
  const date = new Date(0);
  date.setUTCFullYear(year, 0, 1);
  return date.getTime() / 1000;
}

/** The seconds of an `_epoch` column, which is always in seconds; of other columns what `secondsOf` makes of them. */
export function reader(field) {
  return field.endsWith(EPOCH) ? (value) => (typeof value === "number" && Number.isFinite(value) ? value : null) : secondsOf;
}

/** {begin, end}: the ids of the fields that say when a thing came and went; null where no field does. `_epoch` columns win. */
export function timeFields(fields) {
  const best = (pattern) => {
    const named = fields.filter(({ id, title }) => pattern.test(id) || pattern.test(title));
    return (named.find(({ id }) => id.endsWith(EPOCH)) ?? named[0])?.id ?? null;
  };
  return { begin: best(BEGINS), end: best(ENDS) };
}

/** Whether a thing stands at an instant (seconds): begun, not yet ended. What does not say when it was built stands always. */
export function stands(begin, end, instant) {
  return (begin === null || begin <= instant) && (end === null || instant < end);
}

/** "2024-05-01" of seconds since 1970, in UTC; empty for an instant that no calendar has. */
export function dayOf(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(0, 10);
}
