"use strict";
// Charts: a legend that hides, values on hover. Tables: sorted by a click on a heading. Nothing leaves the page.

const UNITS = {
  percent: value => `${+(100 * value).toPrecision(4)} %`,
  points: value => `${value < 0 ? "" : "+"}${(100 * value).toFixed(1)}`,
  count: value => [[1e9, " G"], [1e6, " M"], [1e3, " k"]].reduce(
    (said, [size, unit]) => said ?? (Math.abs(value) >= size ? +(value / size).toPrecision(3) + unit : null), null) ?? `${value}`,
  number: value => Math.abs(value) >= 1e5 ? UNITS.count(value) : `${+value.toPrecision(4)}`,
};
const hidden = new Set();

function toggle(name, alone) {
  const names = new Set([...document.querySelectorAll("[data-key]")].map(key => key.dataset.key));
  if (alone) {
    const others = [...names].filter(other => other !== name), isolated = others.every(other => hidden.has(other));
    hidden.clear();
    if (!isolated) others.forEach(other => hidden.add(other));
  } else if (!hidden.delete(name)) hidden.add(name);
  for (const part of document.querySelectorAll("[data-arm]")) part.classList.toggle("off", hidden.has(part.dataset.arm));
  for (const key of document.querySelectorAll("[data-key]")) key.setAttribute("aria-pressed", !hidden.has(key.dataset.key));
}

function element(name, text, ...parts) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  made.append(...parts);
  return made;
}

// Place, 0 to 1, <-> value of an axis.
const value = (part, low, high, log) => log ? low * (high / low) ** part : low + part * (high - low);

function nearest(xs, at, known) {
  let best = -1;
  xs.forEach((x, index) => {
    if (known[index] !== null && (best < 0 || Math.abs(x - at) <= Math.abs(xs[best] - at))) best = index;
  });
  return best;
}

function rows(panel, at, room) {
  const found = [];
  let across = at;
  for (const line of panel.lines) {
    const index = nearest(line.x, at, line.y);
    if (hidden.has(line.arm) || index < 0 || at - line.x.at(-1) > room) continue;
    across = line.x[index];
    const show = UNITS[panel.unit] ?? UNITS.number, low = line.low?.[index], high = line.high?.[index];
    const band = low === undefined || low === null ? "" : `[${show(low)}, ${show(high)}]`;
    found.push([line, line.y[index], show(line.y[index]), band]);
  }
  found.sort((a, b) => b[1] - a[1]);
  return [across, found];
}

function hover(figure) {
  const panels = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
  const tip = element("div");
  tip.className = "tip";
  tip.hidden = true;
  figure.append(tip);
  const leave = () => {
    tip.hidden = true;
    for (const line of figure.querySelectorAll(".cursor")) line.style.visibility = "hidden";
  };
  const move = event => {
    leave();
    const mark = event.target.closest("[data-tip]"), group = event.target.closest(".panel");
    if (mark) tip.replaceChildren(element("span", mark.dataset.tip));
    else if (group) {
      const [left, , right, , low, high, , , log] = JSON.parse(group.dataset.ends), panel = panels[group.dataset.panel];
      const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(group.getScreenCTM().inverse());
      const [across, found] = rows(panel, value((place.x - left) / (right - left), low, high, log), (high - low) / 20);
      if (!found.length) return;
      const part = log ? Math.log(across / low) / Math.log(high / low) : (across - low) / (high - low);
      const cursor = group.querySelector(".cursor");
      cursor.style.visibility = "visible";
      cursor.setAttribute("transform", `translate(${left + part * (right - left)} 0)`);
      const table = element("table", undefined, ...found.map(([line, , said, band]) => {
        const swatch = element("i");
        swatch.style.background = `var(--${line.color})`;
        return element("tr", undefined, element("td", undefined, swatch), element("td", line.arm),
          element("td", undefined, element("b", said)), element("td", band));
      }));
      tip.replaceChildren(element("b", `${panel.name || "x"} ${(UNITS[panel.across] ?? UNITS.number)(across)}`), table);
    } else return;
    tip.hidden = false;
    const box = figure.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
    tip.style.left = `${Math.max(0, Math.min(x + 16, box.width - tip.offsetWidth - 4))}px`;
    tip.style.top = `${y + 18}px`;
  };
  for (const drawing of figure.querySelectorAll(":scope > svg")) {
    drawing.addEventListener("pointermove", move);
    drawing.addEventListener("pointerdown", move);
    drawing.addEventListener("pointerleave", leave);
  }
}

// What a cell counts as: its data-order, the number it begins with (never: beyond all), else nothing.
function order(cell) {
  if (cell.dataset.order !== undefined) return +cell.dataset.order;
  const said = cell.firstChild?.textContent.trim() ?? "";
  if (said.startsWith("never")) return Infinity;
  const found = said.match(/(?:^|[^\w.])[≥>]?\s*([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?:\s*(k|M|G)\b|\/(\d+))?/);
  if (!found) return NaN;
  const scale = { k: 1e3, M: 1e6, G: 1e9 }[found[2]] ?? 1;
  return +found[1].replaceAll(",", "") * scale / (+found[3] || 1);
}

function sort(heading, column) {
  const body = heading.closest("table").tBodies[0], down = heading.getAttribute("aria-sort") === "descending";
  const all = [...body.rows].map((row, place) => [row, order(row.cells[column]), row.cells[column].textContent, place]);
  const numbers = all.some(one => !Number.isNaN(one[1])), sign = down ? 1 : -1;
  all.sort((a, b) => {
    if (!numbers) return -sign * a[2].localeCompare(b[2]);
    if (Number.isNaN(a[1]) || Number.isNaN(b[1])) return Number.isNaN(a[1]) - Number.isNaN(b[1]);
    return a[1] === b[1] ? a[3] - b[3] : sign * (a[1] < b[1] ? -1 : 1);
  });
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "ascending" : "descending");
  body.append(...all.map(one => one[0]));
}

for (const figure of document.querySelectorAll("figure.chart")) hover(figure);
for (const key of document.querySelectorAll("[data-key]")) {
  key.addEventListener("click", event => toggle(key.dataset.key, event.detail === 2 || event.shiftKey));
}
for (const heading of document.querySelectorAll("thead th")) {
  const button = element("button", undefined, ...heading.childNodes);
  button.type = "button";
  heading.append(button);
  button.addEventListener("click", () => sort(heading, heading.cellIndex));
}

// What a test, or a reader's console, can ask: how many charts are there, does the rollout play?
addEventListener("load", () => {
  const page = document.body.dataset, rollout = document.querySelector("iframe");
  page.charts = document.querySelectorAll("figure.chart").length;
  if (rollout) page.rolloutFrames = rollout.contentDocument.body.dataset.frames;
  page.ready = "true";
});
