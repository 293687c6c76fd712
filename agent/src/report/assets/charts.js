// The pictures: when, how long it was silent, and who against whom.

const SVG = "http://www.w3.org/2000/svg";
// The most frequent causes have a colour of their own. The others share one, and what is as in
// normal operation has the faintest: it is most of what happens, and nobody looks for it.
const COLOURS = 5;
const OTHER = COLOURS;
const NORMAL = COLOURS + 1;

function shape(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Steps of time that a person can read.
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800].map((s) => s * 1000);

function timeline() {
  const causes = counted("cause", (row) => !columns.routine[row]);
  const last = columns.time.reduce((most, time) => Math.max(most, time), 0);
  const step = STEPS.find((step) => last / step <= 60) ?? Math.ceil(last / 60);
  const begin = Math.floor(data.start / step) * step;
  const bins = Math.floor((data.start + last - begin) / step) + 1;
  const colour = new Map(causes.slice(0, COLOURS).map(([cause], index) => [cause, index]));
  const counts = Array.from({ length: bins }, () => new Array(NORMAL + 1).fill(0));
  columns.time.forEach((time, row) => {
    const bin = Math.floor((data.start + time - begin) / step);
    const kind = columns.routine[row] ? NORMAL : (colour.get(columns.cause[row]) ?? OTHER);
    counts[bin][kind] += columns.count[row];
  });
  const totals = counts.map((bin) => bin.reduce((sum, count) => sum + count, 0));
  const most = Math.max(...totals, 1);
  const [width, height, left, bottom] = [1000, 190, 48, 24];
  const chart = shape("svg", { viewBox: `0 0 ${width} ${height + bottom}`, role: "img", "aria-labelledby": "timeline-heading timeline-note" });
  for (const share of most > 3 ? [0, 0.5, 1] : [0, 1]) {
    const y = height - share * (height - 14);
    chart.append(shape("line", { class: "axis", x1: left, x2: width, y1: y, y2: y }));
    chart.append(shape("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, number.format(Math.round(share * most))));
  }
  const wide = (width - left) / bins;
  counts.forEach((bin, index) => {
    let y = height;
    bin.forEach((count, kind) => {
      if (!count) return;
      const tall = Math.max((count / most) * (height - 14), 1.5);
      y -= tall;
      const name = kind === NORMAL ? "as in normal operation" : kind === OTHER ? "of other causes" : data.texts[causes[kind][0]];
      const title = shape("title", {}, `${moment(begin + index * step)}: ${number.format(count)} ${name}`);
      chart.append(shape("rect", { class: `s${kind}`, x: left + index * wide, y, width: Math.max(Math.min(wide, 60) - 1.5, 1), height: tall }, title));
    });
  });
  const every = Math.max(Math.ceil(bins / 6), 1);
  for (let bin = 0; bin < bins; bin += every) {
    const day = begin + bin * step;
    const label = step * bins > 172800000 ? moment(day).slice(5, 16) : moment(day).slice(11, step < 60000 ? 19 : 16);
    chart.append(shape("text", { x: left + bin * wide, y: height + 18 }, label));
  }
  document.getElementById("timeline").replaceChildren(chart);
  const busiest = totals.indexOf(most);
  const at = moment(begin + busiest * step);
  document.getElementById("timeline-note").textContent =
    `${events(totals.reduce((a, b) => a + b, 0))} from ${moment(data.start)} to ${moment(data.start + last)} UTC, ` +
    `in steps of ${length(step)}; the most in one of them: ${number.format(most)}, at ${at}.`;
  const rest = causes.slice(COLOURS);
  const entries = causes.slice(0, COLOURS).map(([cause, count], index) => [index, data.texts[cause], count]);
  if (rest.length) entries.push([OTHER, `${rest.length} other causes`, rest.reduce((sum, [, count]) => sum + count, 0)]);
  const normal = counts.reduce((sum, bin) => sum + bin[NORMAL], 0);
  if (normal) entries.push([NORMAL, "normal operation", normal]);
  document.getElementById("legend").replaceChildren(
    ...entries.map(([kind, name, count]) =>
      element("li", {}, element("span", { class: `swatch s${kind}`, "aria-hidden": "true" }), `${name} ${number.format(count)}`)),
  );
}

function bar(share) {
  const inner = element("span", { "aria-hidden": "true" });
  inner.style.width = share ? `${Math.max(share * 100, 1)}%` : "0";
  return element("td", { class: "bar" }, inner);
}

// Silences double from row to row: a timeout stands out as one row of many.
function silence() {
  const values = [];
  columns.silence.forEach((ms, row) => ms !== NOTHING && !columns.routine[row] && values.push([ms, columns.count[row]]));
  const place = document.getElementById("silence");
  const note = document.getElementById("silence-note");
  if (!values.length) {
    note.textContent = "Of no connection that was lost it is known.";
    return;
  }
  const limits = [1000, 5000, 15000, 30000, 60000, 120000, 240000, 360000, 660000, 960000, 1260000, 3660000, 7200000, 86400000, Infinity];
  const bins = limits.map((to, index) => ({ from: limits[index - 1] ?? 0, to, count: 0 }));
  for (const [ms, count] of values) bins.find((bin) => ms < bin.to).count += count;
  const most = Math.max(...bins.map((bin) => bin.count));
  const first = bins.findIndex((bin) => bin.count);
  const end = bins.findLastIndex((bin) => bin.count);
  const within = (bin, ms) => ms >= bin.from && ms < bin.to;
  const rows = bins.slice(first, end + 1).map((bin) => {
    const learnt = data.learnt.filter(([ms]) => within(bin, ms));
    // Of the defaults those that fit what was learnt; else all that lie there.
    const near = (seconds) => !learnt.length || learnt.some(([ms]) => Math.abs(ms - seconds * 1000) <= ms * 0.02);
    const names = data.known.filter(([seconds]) => bin.count && within(bin, seconds * 1000) && near(seconds)).map(([, name]) => name);
    const marks = learnt.map(([ms, count]) => element("span", { class: "mark learnt" }, `learnt: ${length(ms)}, ${number.format(count)} times`));
    if (names.length) marks.push(element("span", { class: "mark" }, `default of ${names.join(", ")}`));
    const name = bin.to === Infinity ? `over ${length(bin.from)}` : `${bin.from ? length(bin.from) : "0 s"} to ${length(bin.to)}`;
    return element("tr", {}, element("th", { scope: "row", class: "length" }, name), element("td", { class: "number" }, number.format(bin.count)), bar(bin.count / most), element("td", {}, ...marks));
  });
  const heads = ["Silence", "Events", "", "Timeouts that fit"].map((name, index) => element("th", { scope: "col", class: index === 1 ? "number" : "" }, name));
  place.replaceChildren(element("table", { class: "bins" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
  note.textContent = `Without what is as in normal operation: ${events(values.reduce((sum, [, count]) => sum + count, 0))}. A default that fits is a hint, never proof.`;
}

const PAIRS = 12;

function who(choose) {
  const pairs = new Map();
  columns.who.forEach((one, row) => {
    if (columns.routine[row]) return;
    const key = `${one} ${columns.whom[row]}`;
    const pair = pairs.get(key) ?? { who: one, whom: columns.whom[row], count: 0 };
    pair.count += columns.count[row];
    pairs.set(key, pair);
  });
  const sorted = [...pairs.values()].sort((a, b) => b.count - a.count);
  const most = sorted[0]?.count ?? 1;
  const rows = sorted.slice(0, PAIRS).map((pair) =>
    element(
      "tr",
      {},
      element("td", {}, element("button", { type: "button", onclick: () => choose(pair) }, data.texts[pair.who])),
      element("td", {}, data.texts[pair.whom]),
      element("td", { class: "number" }, number.format(pair.count)),
      bar(pair.count / most),
    ));
  const heads = ["Ended by", "To the loss of", "Events", ""].map((name, index) => element("th", { scope: "col", class: index === 2 ? "number" : "" }, name));
  const table = element("table", { class: "bins" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
  const place = document.getElementById("who");
  if (!sorted.length) {
    place.replaceChildren(element("p", { class: "note" }, "Nobody: all was as in normal operation."));
    return;
  }
  place.replaceChildren(table);
  if (sorted.length > PAIRS) place.append(element("p", { class: "note" }, `And ${number.format(sorted.length - PAIRS)} more pairs.`));
}
