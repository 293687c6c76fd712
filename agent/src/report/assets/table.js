// The table: what passes the filter, a page at a time.

const PAGE = 100;
const HEADS = [
  ["time", "Time (UTC)"],
  ["severity", "Severity"],
  ["message", "What happened"],
  ["cause", "Cause"],
  ["peer", "Peer"],
  ["silence", "Silence"],
];

const view = { rows: [], page: 0, sort: "time", down: false, chosen: null };
const byId = (id) => document.getElementById(id);

function heads() {
  byId("head").replaceChildren(
    ...HEADS.map(([column, name]) => {
      const sorted = view.sort === column;
      const arrow = sorted ? (view.down ? " ↓" : " ↑") : "";
      const sort = () => {
        view.down = sorted ? !view.down : column === "severity" || column === "silence";
        view.sort = column;
        view.page = 0;
        show();
      };
      const attributes = { scope: "col", "aria-sort": sorted ? (view.down ? "descending" : "ascending") : "none" };
      return element("th", attributes, element("button", { type: "button", onclick: sort }, name + arrow));
    }),
  );
}

function sorted() {
  if (view.sort === "time") return view.down ? view.rows.toReversed() : view.rows;
  const values = columns[view.sort];
  const texts = view.sort !== "severity" && view.sort !== "silence";
  // Texts are put in order once, not at each comparison.
  const order = texts ? [...data.texts.keys()].sort((a, b) => (data.texts[a] < data.texts[b] ? -1 : 1)).reduce((ranks, text, rank) => ((ranks[text] = rank), ranks), []) : null;
  const of = (row) => (order ? order[values[row]] : values[row]);
  return view.rows.toSorted((a, b) => (view.down ? of(b) - of(a) : of(a) - of(b)) || a - b);
}

function line(row) {
  const severity = SEVERITIES[columns.severity[row]];
  const folded = columns.count[row] > 1 ? ` (${number.format(columns.count[row])} alike)` : "";
  const open = element("button", { type: "button", class: "open", "aria-haspopup": "dialog" }, sentence(row) + folded);
  const line = element(
    "tr",
    { onclick: () => detail(row, open) },
    element("td", { class: "time" }, moment(when(row))),
    element("td", {}, element("span", { class: `tag ${severity}` }, severity)),
    element("td", { class: "message" }, open),
    element("td", {}, text("cause", row)),
    element("td", { class: "end" }, text("peer", row)),
    element("td", { class: "silence" }, length(columns.silence[row])),
  );
  return line;
}

function show() {
  heads();
  const rows = sorted();
  const pages = Math.max(Math.ceil(rows.length / PAGE), 1);
  view.page = Math.min(view.page, pages - 1);
  byId("rows").replaceChildren(...rows.slice(view.page * PAGE, (view.page + 1) * PAGE).map(line));
  byId("page").textContent = `Page ${number.format(view.page + 1)} of ${number.format(pages)}`;
  byId("previous").disabled = view.page === 0;
  byId("next").disabled = view.page === pages - 1;
  byId("pages").hidden = pages === 1;
}

function filter() {
  const chosen = (id) => (byId(id).value === "" ? "" : Number(byId(id).value));
  view.rows = filtered({ search: byId("search").value, severity: chosen("severity"), cause: chosen("cause"), host: chosen("host"), who: view.chosen });
  view.page = 0;
  const lines = columns.time.length;
  const pair = view.chosen ? `, ended by ${data.texts[view.chosen[0]]} to the loss of ${data.texts[view.chosen[1]]}` : "";
  const kept = data.left_out ? ` ${number.format(data.left_out)} more lines are in the story alone.` : "";
  byId("chosen").textContent = `${number.format(view.rows.length)} of ${number.format(lines)} lines${pair}.${kept}`;
  show();
}
