// One event in full: the sentence, what to do, what speaks for it, and all that the line holds.

function facts(names, rows) {
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, String(cell ?? "")))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

const percent = (share) => (share === undefined ? "" : `${Math.round(share * 100)} %`);

function told(event) {
  const parts = [];
  const cause = event.cause ?? {};
  const origin = event.origin ?? {};
  if (cause.summary) parts.push(element("p", {}, cause.summary));
  if (cause.advice) parts.push(element("p", {}, element("strong", {}, "What to do: "), cause.advice));
  const verdict = [
    ["Ended by", [origin.kind, origin.name, origin.address].filter(Boolean).join(" "), percent(origin.confidence)],
    ["Cause", cause.id, percent(cause.confidence)],
  ];
  parts.push(element("h3", {}, "Verdict"), facts(["", "", "Probability"], verdict));
  if (event.evidence?.length) {
    const rows = event.evidence.map((one) => [one.strength, one.points_to, one.detail, one.signal]);
    parts.push(element("h3", {}, "Evidence, strongest first"), facts(["Strength", "Points to", "What was seen", "Signal"], rows));
  }
  if (event.pattern?.length) parts.push(element("h3", {}, "Patterns"), facts(["Pattern", "What they have in common"], event.pattern.map((one) => [one.id, one.detail])));
  const whole = element("details", {}, element("summary", {}, "The whole line"), element("pre", { tabindex: "0" }, JSON.stringify(event, null, 2)));
  return [...parts, element("h3", {}, "As JSON"), whole];
}

async function detail(row, opener) {
  const dialog = byId("detail");
  history.replaceState(null, "", `#line-${row + 1}`);
  byId("detail-heading").textContent = sentence(row);
  const body = byId("detail-body");
  body.replaceChildren(element("p", { class: "note" }, `${moment(when(row))} UTC`));
  dialog.showModal();
  dialog.addEventListener("close", () => {
    history.replaceState(null, "", location.pathname);
    opener.focus();
  }, { once: true });
  try {
    const event = await details(row);
    if (event) body.append(...told(event));
    else body.append(element("p", { class: "note" }, "Of this line the report keeps no more: there were too many."));
  } catch (error) {
    body.append(element("p", { class: "notice" }, `This browser cannot open what the report keeps of it (${error.name}); the file of events has the whole line.`));
  }
}
