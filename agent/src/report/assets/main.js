// Puts it all together.

function options(id, entries, all) {
  byId(id).replaceChildren(element("option", { value: "" }, all), ...entries.map(([value, name]) => element("option", { value }, name)));
}

function start() {
  if (!columns.time.length) return;
  const causes = counted("cause");
  const hosts = counted("host");
  options("severity", SEVERITIES.map((name, index) => [index, name]).reverse(), "all");
  options("cause", causes.map(([cause, count]) => [cause, `${data.texts[cause]} (${number.format(count)})`]), "all");
  options("host", hosts.map(([host, count]) => [host, `${data.texts[host]} (${number.format(count)})`]), "all");
  byId("host-label").hidden = hosts.length < 2;
  timeline();
  silence();
  who((pair) => {
    view.chosen = [pair.who, pair.whom];
    filter();
    byId("events").scrollIntoView();
    byId("events").focus({ preventScroll: true });
  });
  let typing = 0;
  byId("filters").addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filter, 120);
  });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => {
    view.chosen = null;
    setTimeout(filter);
  });
  byId("previous").addEventListener("click", () => { view.page -= 1; show(); });
  byId("next").addEventListener("click", () => { view.page += 1; show(); });
  byId("detail").addEventListener("click", (event) => event.target === byId("detail") && byId("detail").close());
  byId("charts").hidden = false;
  byId("events").hidden = false;
  filter();
}

// report.html#line-12 opens that line of the table in the order of time: for whoever sends somebody
// there.
function linked() {
  const row = Number(/^#line-(\d+)$/.exec(location.hash)?.[1]) - 1;
  if (row >= 0 && row < columns.time.length) detail(row, byId("search"));
}

start();
linked();
addEventListener("hashchange", linked);
// How long it took from the click on, in milliseconds, for whoever measures.
document.documentElement.dataset.ready = Math.round(performance.now());
