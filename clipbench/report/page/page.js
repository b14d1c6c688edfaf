// Draws the pictures from the data in the page, and lets a reader hide arms, choose axes and sort tables.
const DATA = JSON.parse(document.getElementById("data").textContent);
const state = { task: 0, axis: "step", scale: "linear", part: "later", hidden: new Set(DATA.hidden), quantity: "" };
const drawn = new Map(); // the view of each figure that is on the page
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const SHAPES = {
  "circle": "M4,0A4,4,0,1,1,-4,0A4,4,0,1,1,4,0Z",
  "square": "M-4,-4H4V4H-4Z",
  "triangle-up": "M0,-5L5,4H-5Z",
  "triangle-down": "M0,5L5,-4H-5Z",
  "triangle-right": "M5,0L-4,5V-5Z",
  "diamond": "M0,-5.5L4.5,0L0,5.5L-4.5,0Z",
  "cross": "M-1.7,-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
};
let turn = 0; // counts up with every redrawing, so that an older one stops

function theme() {
  const css = getComputedStyle(document.documentElement);
  const of = (name) => css.getPropertyValue(name).trim();
  const axis = { labelColor: of("--soft"), titleColor: of("--soft"), gridColor: of("--line"), domainColor: of("--soft"),
    tickColor: of("--soft"), titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12, gridOpacity: 0.6,
    labelLimit: 150, labelOverlap: true };
  return { background: null, view: { stroke: null }, axis, font: css.fontFamily || "sans-serif",
    legend: { orient: "bottom", columns: 5, labelColor: of("--ink"), titleColor: of("--soft") }, text: { color: of("--ink") } };
}

// Columns as rows; a column of texts is kept as places in a list.
function rows(columns) {
  const names = Object.keys(columns);
  const values = names.map((name) => (Array.isArray(columns[name]) ? columns[name]
    : columns[name].at.map((place) => columns[name].texts[place])));
  const length = names.length ? values[0].length : 0;
  return Array.from({ length }, (_, row) => Object.fromEntries(names.map((name, at) => [name, values[at][row]])));
}

function axisOf(figure) {
  if (figure.axis === "same") return state.axis;
  return state.axis === "seconds" ? "step" : "seconds";
}

// The chips are the legend of the arms.
function withoutLegends(part) {
  if (Array.isArray(part)) part.forEach(withoutLegends);
  else if (part && typeof part === "object") {
    if (part.field === "arm" && part.legend) part.legend = null;
    Object.values(part).forEach(withoutLegends);
  }
}

function specOf(figure) {
  const spec = structuredClone({ ...DATA.specs[figure.spec], ...figure.own });
  spec.data = { values: rows(DATA.rows[figure.rows]) };
  spec.params[0].value = [...state.hidden];
  if (figure.axis) {
    spec.encoding.x.field = axisOf(figure);
    spec.encoding.x.title = DATA.axes[axisOf(figure)];
  }
  if (figure.loss && state.part === "whole") {
    spec.params.find((each) => each.name === "first").value = 0;
    delete spec.encoding.y.scale.domainMax;
  }
  if (figure.loss && state.scale === "log") {
    const positive = spec.data.values.every((row) => !("value" in row) || row.value === null || row.value > 0);
    spec.encoding.y.scale = { type: positive ? "log" : "symlog" }; // a loss may be below 0
  }
  withoutLegends(spec);
  return spec;
}

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function titleOf(figure) {
  const over = figure.loss ? { step: "steps", seconds: "seconds", tokens: "tokens" }[axisOf(figure)] : "";
  return figure.loss ? `Loss over ${over}` : figure.title;
}

// The numbers behind a picture, made when they are first asked for.
function fillTable(details, figure) {
  if (details.querySelector("table")) return;
  const names = Object.entries(figure.headings);
  const table = element("table");
  const head = element("tr");
  for (const [, heading] of names) head.append(element("th", heading, { scope: "col" }));
  const body = element("tbody");
  const all = rows(DATA.rows[figure.rows]);
  const means = all.some((row) => row.kind === "mean") ? all.filter((row) => row.kind === "mean") : all;
  for (const row of means) {
    const line = element("tr");
    for (const [name] of names) {
      const value = row[name];
      line.append(element("td", value === null || value === undefined ? "–" : String(value),
        typeof value === "number" ? { class: "number" } : {}));
    }
    body.append(line);
  }
  const top = element("thead");
  top.append(head);
  table.append(top, body);
  const scroll = element("div", "", { class: "scroll" });
  scroll.append(table);
  details.append(scroll);
}

function hostOf(figure) {
  const host = element("figure", "", { "data-figure": figure.name });
  const caption = element("figcaption");
  caption.append(element("h3", titleOf(figure)), element("p", figure.about, { class: "about" }));
  const details = element("details");
  details.append(element("summary", "Numbers"));
  details.addEventListener("toggle", () => fillTable(details, figure));
  host.append(caption, element("div", "", { class: "plot" }), details);
  return host;
}

async function draw(host, figure) {
  const embedded = await vegaEmbed(host.querySelector(".plot"), specOf(figure), {
    mode: "vega-lite", renderer: "svg", config: theme(), tooltip: { theme: dark.matches ? "dark" : "light" },
    actions: { export: true, source: false, compiled: false, editor: false }, downloadFileName: figure.name,
    logLevel: 1, // errors alone
  });
  drawn.get(host)?.finalize();
  drawn.set(host, embedded);
}

const pause = () => new Promise((done) => setTimeout(done));

// Draws figures one after another, so that the page answers meanwhile; those of the first screen come first.
async function redraw(hosts) {
  const mine = ++turn;
  document.documentElement.dataset.ready = "";
  for (const [place, [host, figure]] of hosts.entries()) {
    if (mine !== turn) return;
    host.querySelector("h3").textContent = titleOf(figure);
    await draw(host, figure);
    if (place >= 2) await pause();
    if (figure.group === "loss") document.documentElement.dataset.ready = "first";
  }
  document.documentElement.dataset.ready = "all";
}

let hosts = [];

function lay() {
  for (const each of drawn.values()) each.finalize();
  drawn.clear();
  hosts = [];
  const figures = DATA.tasks[state.task].figures;
  const quantities = figures.filter((figure) => figure.group === "quantities");
  if (!quantities.some((figure) => figure.name === state.quantity)) state.quantity = quantities[0]?.name;
  const choice = document.getElementById("quantity");
  choice.replaceChildren(...quantities.map((figure) => {
    const option = element("option", figure.title, { value: figure.name });
    option.selected = figure.name === state.quantity;
    return option;
  }));
  for (const section of document.querySelectorAll("section.pictures")) {
    const shown = figures.filter((figure) => figure.group === section.id
      && (figure.group !== "quantities" || figure.name === state.quantity));
    section.hidden = shown.length === 0;
    const made = shown.map((figure) => [hostOf(figure), figure]);
    section.querySelector(".figures").replaceChildren(...made.map(([host]) => host));
    hosts.push(...made);
  }
  for (const part of document.querySelectorAll(".of-task")) part.hidden = Number(part.dataset.task) !== state.task;
  return redraw(hosts);
}

function hide(arm, isHidden) {
  state.hidden[isHidden ? "add" : "delete"](arm);
  for (const { view } of drawn.values()) view.signal("hidden", [...state.hidden]).runAsync();
}

for (const chip of document.querySelectorAll(".chip")) {
  const mark = chip.querySelector("path");
  mark.setAttribute("d", SHAPES[mark.dataset.shape]);
  chip.setAttribute("aria-pressed", String(!state.hidden.has(chip.dataset.arm)));
  chip.addEventListener("click", () => {
    const isHidden = chip.getAttribute("aria-pressed") === "true";
    chip.setAttribute("aria-pressed", String(!isHidden));
    hide(chip.dataset.arm, isHidden);
  });
}

for (const kind of ["axis", "scale", "part"]) {
  const buttons = document.querySelectorAll(`button[data-${kind}]`);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      state[kind] = button.dataset[kind];
      for (const each of buttons) each.setAttribute("aria-pressed", String(each === button));
      redraw(hosts.filter(([, figure]) => (kind === "axis" ? figure.axis : figure.loss)));
    });
  }
}

document.getElementById("task")?.addEventListener("change", (event) => {
  state.task = Number(event.target.value);
  lay();
});
document.getElementById("quantity").addEventListener("change", (event) => {
  state.quantity = event.target.value;
  lay();
});
dark.addEventListener("change", () => redraw(hosts));

function sortBy(heading) {
  const table = heading.closest("table");
  const place = [...heading.parentNode.children].indexOf(heading);
  const up = heading.getAttribute("aria-sort") !== "ascending";
  for (const each of heading.parentNode.children) each.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  const keyOf = (row) => {
    const cell = row.children[place];
    return "order" in cell.dataset ? Number(cell.dataset.order.replace("inf", "Infinity")) : null;
  };
  const lines = [...table.tBodies[0].rows];
  const numeric = lines.some((row) => keyOf(row) !== null);
  lines.sort((one, other) => {
    if (!numeric) return (up ? 1 : -1) * one.children[place].textContent.localeCompare(other.children[place].textContent);
    const [left, right] = [keyOf(one), keyOf(other)];
    if (left === null || right === null) return Number(left === null) - Number(right === null);
    return left === right ? 0 : (up ? 1 : -1) * (left < right ? -1 : 1);
  });
  table.tBodies[0].append(...lines);
}

for (const button of document.querySelectorAll("th .sort")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

const begun = performance.now();
lay().then(() => { document.documentElement.dataset.milliseconds = String(Math.round(performance.now() - begun)); });
