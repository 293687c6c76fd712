// The events, in columns: numbers, and texts by their numbers.

const data = JSON.parse(document.getElementById("data").textContent);
const columns = data.columns;
const SEVERITIES = ["info", "warning", "error"];
const NOTHING = -1;

const text = (column, row) => data.texts[columns[column][row]] ?? "";
const sentence = (row) => text("message", row).replaceAll("\u0001", text("local", row)).replaceAll("\u0002", text("peer", row));
const when = (row) => data.start + columns.time[row];

// Every text that holds what is looked for, by its number: each is looked at once, not once a row.
function holding(words) {
  return data.texts.map((text) => {
    const lower = text.toLowerCase();
    return words.map((word) => lower.includes(word));
  });
}

const SEARCHED = ["cause", "who", "whom", "host", "local", "peer", "effect", "message"];

// The rows that pass a filter, in the order of time.
function filtered(filter) {
  const words = filter.search.toLowerCase().split(/\s+/).filter(Boolean);
  const held = words.length ? holding(words) : null;
  const rows = [];
  for (let row = 0; row < columns.time.length; row += 1) {
    if (filter.severity !== "" && columns.severity[row] !== filter.severity) continue;
    if (filter.cause !== "" && columns.cause[row] !== filter.cause) continue;
    if (filter.host !== "" && columns.host[row] !== filter.host) continue;
    if (filter.who !== null && (columns.who[row] !== filter.who[0] || columns.whom[row] !== filter.who[1])) continue;
    if (held && !words.every((_, word) => SEARCHED.some((column) => held[columns[column][row]]?.[word]))) continue;
    rows.push(row);
  }
  return rows;
}

// How many events there are of each text of a column, the most frequent first.
function counted(column, wanted = () => true) {
  const counts = new Map();
  columns[column].forEach((number, row) => wanted(row) && counts.set(number, (counts.get(number) ?? 0) + columns.count[row]));
  return [...counts].sort((a, b) => b[1] - a[1]);
}

const number = new Intl.NumberFormat();

// ISO without what a person does not need: 2026-12-01 02:10:03.
const moment = (ms) => new Date(ms).toISOString().replace("T", " ").slice(0, 19);

function length(ms) {
  if (ms < 0) return "";
  if (ms < 1000) return `${ms} ms`;
  if (ms < 600000) return `${Number((ms / 1000).toFixed(ms < 100000 ? 1 : 0))} s`;
  if (ms < 7200000) return `${Math.round(ms / 60000)} min`;
  if (ms < 172800000) return `${Number((ms / 3600000).toFixed(1))} h`;
  return `${Math.round(ms / 86400000)} days`;
}

const events = (count) => `${number.format(count)} ${count === 1 ? "event" : "events"}`;

// An element with children. Texts are texts: nothing here is ever read as markup.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// What one event says in full. Kept compressed, some hundreds together, and opened when asked for.
const opened = new Map();
async function details(row) {
  const place = columns.detail[row];
  if (place === NOTHING) return null;
  const chunk = Math.floor(place / data.chunk);
  if (!opened.has(chunk)) {
    const bytes = Uint8Array.from(atob(document.getElementById(`detail-${chunk}`).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    opened.set(chunk, await new Response(stream).json());
  }
  return opened.get(chunk)[place % data.chunk];
}
