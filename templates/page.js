// The page's behaviour. Every entry is drawn by the templates; this redraws its cells for another unit,
// shows a token's numbers on hover, focus and tap, sorts tables, copies CSV, and follows permalinks.
"use strict";

const STEPS = 41;
const LONG = 200; // characters of a token that the card and the table show
const entries = new Map(); // section -> its answers with their cells
const card = document.getElementById("card");
let unit = document.body.dataset.unit;
let quantity = document.body.dataset.quantity; // what is coloured, where two answers are compared: the reward or the delta
let shown = null; // the cell whose card is open
let pinned = false; // a tap or a permalink keeps the card until it is dismissed

// Numbers ------------------------------------------------------------------------------------------------------------

const minus = (text) => text.replace("-", "−");
const plain = (value, decimals = 3) => minus(value.toFixed(decimals));

function signed(value, decimals) {
  const text = value.toFixed(decimals);
  if (!/[1-9]/.test(text)) return text.replace("-", "");
  return minus(value > 0 ? "+" + text : text);
}

const spoken = (value, decimals) => signed(value, decimals).replace("−", "minus ").replace("+", "plus ");

function percent(logp) {
  const value = 100 * Math.exp(logp);
  if (value < 0.001) return "below 0.001\u00a0%";
  return `${value > 99.95 ? value.toFixed(2) : value.toPrecision(3)}\u00a0%`;
}

function times(logRatio) {
  const factor = Math.exp(Math.abs(logRatio));
  return factor < 1e6 ? factor.toLocaleString("en", { maximumSignificantDigits: 3 }) : "over a million";
}

function shade(reward, limit, noise) {
  if (Math.abs(reward) < noise) return "n";
  const position = limit ? Math.max(-1, Math.min(1, reward / limit)) : 0;
  return "s" + Math.round(((position + 1) / 2) * (STEPS - 1));
}

// Small pieces of page -----------------------------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// White space around a token goes, unless it is all there is.
const trimmed = (text) => text.trim() || text.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥");
const short = (text) => (text.length > LONG ? `${text.slice(0, LONG)}… (${text.length} characters)` : text);
const raw = (text) => make("bdi", { class: "raw" }, short(trimmed(text)));
const ref = () => ["log π", make("sub", {}, "ref")];

function say(text) {
  document.getElementById("said").textContent = text;
}

// Cells --------------------------------------------------------------------------------------------------------------

const quantityOf = (answer) => (answer.delta ? quantity : "reward");

// The answer's cells in a unit: runs of segments with their sums.
function sumOver(answer, unit) {
  const cells = [];
  const uncounted = new Set(answer.uncounted);
  const sizes = unit === "token" ? answer.text.map(() => 1) : answer[unit];
  let start = 0;
  let token = 0;
  let cumulative = 0;
  for (const size of sizes) {
    const cell = { start, stop: start + size, policy: 0, ratio: 0, earned: 0, delta: 0, text: "", token };
    for (let n = cell.start; n < cell.stop; n++) {
      cell.policy += answer.policy[n];
      cell.ratio += answer.ratio[n];
      if (!uncounted.has(n)) cell.earned += answer.ratio[n];
      if (answer.delta) cell.delta += answer.delta[n];
      cell.text += answer.text[n];
      token += answer.sizes ? answer.sizes[n] : 1;
    }
    cell.reward = answer.weight * cell.earned;
    cell.cumulative = cumulative += cell.reward;
    cell.value = quantityOf(answer) === "delta" ? cell.delta : cell.reward;
    cell.last = token; // tokens `token + 1` to `last`, counted from 1
    cells.push(cell);
    start = cell.stop;
  }
  return cells;
}

const editsOver = (answer, start, stop) =>
  answer.edits.filter(([first, last]) => first < stop && last > start).map((edit) => edit[2]);

// A frame with the edits' numbers; white space at its start and its end stays outside.
function mark(numbers, ...children) {
  const before = typeof children[0] === "string" ? /^\s*/.exec(children[0])[0] : "";
  if (before) children[0] = children[0].slice(before.length);
  const after = typeof children.at(-1) === "string" && !children.at(-1).trim() ? children.pop() : "";
  const sup = make("sup", { "aria-hidden": "true" }, numbers.join(","));
  return [before, make("mark", { class: "e", "data-edits": numbers.join(" ") }, ...children, sup), after];
}

// Where an edit has nothing on this side.
function markNothing(number) {
  const nodes = mark([number], make("span", { "aria-hidden": "true" }, "∅"), make("span", { class: "v" }, " nothing here"));
  nodes[1].classList.add("void");
  return nodes;
}

// What is shaded of a cell, as parts, and the white space around it. A line break alone gets a sign to be shaded.
function cutSpace(cell, answer) {
  cell.parts = ROWS.includes(unit) ? cutAtEdits(answer, cell) : [[cell.text, []]];
  cell.before = cell.after = "";
  if (!cell.text.trim()) {
    if (cell.text.includes("\n")) [cell.parts, cell.after] = [[["↵", []]], cell.text];
    return;
  }
  const texts = cell.parts.filter(([text]) => text);
  const [first, last] = [texts[0], texts[texts.length - 1]];
  cell.before = first[0].slice(0, first[0].length - first[0].trimStart().length);
  first[0] = first[0].trimStart();
  cell.after = last[0].slice(last[0].trimEnd().length);
  last[0] = last[0].trimEnd();
  if (!cell.start) cell.before = cell.before.replace(/^ /, ""); // no gap where the prompt ended
}

function isAside(cell, answer) {
  for (let n = cell.start; n < cell.stop; n++) if (!answer.aside.includes(n)) return false;
  return true;
}

// What stands for a cell: a shaded span between the white space around it.
function drawCell(cell, answer, entry) {
  const index = answer.nodes.length;
  const node = make("span", { class: shadeOf(cell, answer), role: "button", tabindex: index ? -1 : 0 });
  node.dataset.cell = index;
  if (answer.ends.includes(cell.start)) node.classList.add("end");
  if (answer.aside && isAside(cell, answer)) node.classList.add("aside");
  for (const [part, numbers] of cell.parts) {
    if (!numbers.length) node.append(part);
    else node.append(...(part ? mark(numbers, part) : markNothing(numbers[0])));
  }
  // no hidden text for ears within the cell: between two digits it would turn a number around in text from right to left
  // the name holds all that is seen, the numbers of edits within a sentence too
  node.setAttribute("aria-label", `${trimmed(node.textContent)} ${spoken(cell.value, entry.decimals)}`);
  answer.nodes.push(node);
  return [cell.before, node, cell.after];
}

function shadeOf(cell, answer) {
  const shown = quantityOf(answer);
  return shade(cell.value, answer.limits[shown][unit], answer.noise[shown]);
}

function cutAtEdits(answer, cell) {
  const parts = [];
  for (let n = cell.start; n < cell.stop; n++) {
    for (const [start, stop, number] of answer.edits) if (start === stop && start === n) parts.push(["", [number]]);
    const numbers = editsOver(answer, n, n + 1);
    const last = parts[parts.length - 1];
    if (last && String(last[1]) === String(numbers)) last[0] += answer.text[n];
    else parts.push([answer.text[n], numbers]);
  }
  return parts;
}

// Cells with the edits that frame them.
function drawCells(cells, answer, entry) {
  const nodes = [];
  let group = null; // cells within the same edits
  const close = () => {
    if (group) nodes.push(...(group.numbers.length ? mark(group.numbers, ...group.nodes) : group.nodes));
    group = null;
  };
  for (const cell of cells) {
    for (const [first, last, number] of answer.edits) {
      if (first !== last || first !== cell.start) continue;
      close();
      nodes.push(...markNothing(number));
    }
    const numbers = editsOver(answer, cell.start, cell.stop);
    if (group && String(group.numbers) !== String(numbers)) close();
    group ??= { numbers, nodes: [] };
    group.nodes.push(...drawCell(cell, answer, entry));
  }
  close();
  return nodes;
}

// Cells below each other, each with its sum beside it; they hold their edits.
function drawRows(cells, answer, entry) {
  return cells.map((cell) => {
    const sum = make("span", { class: `sum ${shadeOf(cell, answer)}`, "aria-hidden": "true" }, signed(cell.value, entry.decimals));
    return make("div", { class: "row" }, sum, make("div", {}, ...drawCell(cell, answer, entry)));
  });
}

function drawAnswer(answer, entry) {
  answer.cells = sumOver(answer, unit);
  answer.nodes = [];
  for (const cell of answer.cells) cutSpace(cell, answer);
  const place = [];
  for (const { fold, parts } of blocksOf(answer, unit)) {
    const nodes = parts.flatMap(({ code, cells, after }, n) => {
      const drawn = (ROWS.includes(unit) ? drawRows : drawCells)(cells, answer, entry);
      return [...(code < 0 ? drawn : [make("div", { class: "code" }, ...drawn)]), n < parts.length - 1 ? after : ""];
    });
    place.push(...(fold < 0 ? nodes : [drawFold(fold, parts.flatMap(({ cells }) => cells), entry, ...nodes)]), parts[parts.length - 1].after);
  }
  answer.place.replaceChildren(...place);
}

function draw(section) {
  const entry = entries.get(section);
  [entry.unit, entry.quantity] = [unit, quantity];
  hideCard();
  for (const answer of entry.answers) {
    drawAnswer(answer, entry);
    if (answer.table.open) fillTable(answer, entry);
  }
  const shown = quantityOf(entry.answers[0]);
  section.querySelectorAll(".legend").forEach((legend, n) => {
    for (const limit of legend.querySelectorAll(".limit"))
      limit.textContent = signed(limit.dataset.end * entry.answers[n].limits[shown][unit], entry.decimals);
    const noise = legend.querySelector(".noise");
    if (noise) noise.textContent = entry.answers[n].noise[shown].toPrecision(1);
  });
  for (const per of section.querySelectorAll(".per")) per.textContent = unit;
  drawPlaces(section, entry);
  followReader();
}

// Take an entry's numbers and bring it to life.
function wake(section) {
  const entry = JSON.parse(section.querySelector("script").textContent);
  entries.set(section, entry);
  entry.anchor = section.dataset.entry;
  entry.answers.forEach((answer, n) => {
    answer.number = n + 1;
    answer.place = section.querySelector(`.answer[data-answer="${n + 1}"] .text`);
    answer.place.setAttribute("role", "group");
    answer.place.setAttribute("aria-label", `${answer.label}; arrow keys move from token to token`);
    answer.table = section.querySelector(`.tokens[data-answer="${n + 1}"]`);
    answer.table.addEventListener("toggle", () => answer.table.open && fillTable(answer, entry));
    answer.table.querySelector(".copy").addEventListener("click", () => copy(csv(answer, entry), answer.cells.length));
    makeSortable(answer.table.querySelector("table"));
  });
  wakeReading(section, entry);
  draw(section);
}

// The cell that a node belongs to, with its answer and entry.
function cellOf(node) {
  const element = node instanceof Element ? node.closest("[data-cell]") : null;
  if (!element) return null;
  const section = element.closest(".entry");
  const entry = entries.get(section);
  const answer = entry.answers[element.closest(".answer").dataset.answer - 1];
  return { element, entry, answer, cell: answer.cells[element.dataset.cell] };
}

// The card -----------------------------------------------------------------------------------------------------------

const anchorOf = ({ entry, answer, cell }) => `#${entry.anchor}a${answer.number}t${cell.token + 1}`;

// Did the reward move because pi rose or because it fell?
function story({ answer, cell }) {
  if (answer.uncounted?.includes(cell.start)) return "No turn of the assistant's: it is there to be read, and does not count.";
  if (Math.abs(cell.reward) < answer.noise.reward) return "Within the numerical error of the models' dtype: no reward to speak of.";
  if (!cell.ratio) return "π and the reference give it the same probability: no reward.";
  const what = unit === "token" ? "token" : unit;
  const odds = `${percent(cell.policy - cell.ratio)} under the reference, ${percent(cell.policy)} under π`;
  return cell.ratio > 0
    ? `π rose: this ${what} became ${times(cell.ratio)} times as likely (${odds}), so its reward is positive.`
    : `π fell: this ${what} became ${times(cell.ratio)} times less likely (${odds}), so its reward is negative.`;
}

// What happened to the token that the reference would most have liked instead.
function rival({ answer, cell }) {
  if (unit !== "token" || !answer.policyTop || !answer.referenceTop) return null;
  const other = answer.referenceTop[cell.start].find(([piece]) => piece !== cell.text);
  if (!other) return null;
  const now = answer.policyTop[cell.start].find(([piece]) => piece === other[0]);
  const end = now ? `${percent(now[1])} under π` : "not among those that π preferred";
  return make("p", {}, "Its strongest rival in the reference, “", raw(other[0]), `”: ${percent(other[1])} there, ${end}.`);
}

function preferred({ answer, cell }) {
  if (unit !== "token" || !answer.policyTop || !answer.referenceTop) return null;
  const list = (top) =>
    make("td", {}, ...top.flatMap(([piece, logp]) => [raw(piece), ` ${percent(logp)}`, make("br")]));
  const heads = [["π preferred"], ["π", make("sub", {}, "ref"), " preferred"]].map((text) => make("th", { scope: "col" }, ...text));
  const cells = [answer.policyTop, answer.referenceTop].map((top) => list(top[cell.start]));
  return make("table", { class: "top-k" }, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, make("tr", {}, ...cells)));
}

function fillCard(found) {
  const { entry, answer, cell } = found;
  const total = answer.cells[answer.cells.length - 1].last;
  const many = cell.last - cell.token > 1;
  const place = `${many ? "tokens" : "token"} ${cell.token + 1}${many ? "–" + cell.last : ""} of ${total}`;
  const link = make("a", { href: anchorOf(found) }, anchorOf(found));
  const row = (name, value) => make("tr", {}, make("th", { scope: "row" }, ...[name].flat()), make("td", {}, value));
  const numbers = make("tbody", {},
    row("reward", make("strong", {}, signed(cell.reward, entry.decimals))),
    row("cumulative", signed(cell.cumulative, entry.decimals)),
    ...(answer.delta ? [row("delta", signed(cell.delta, entry.decimals))] : []),
    row("log π", `${plain(cell.policy)} nats`),
    row(ref(), `${plain(cell.policy - cell.ratio)} nats`),
  );
  const parts = [
    make("p", { class: "head" }, raw(cell.text), link),
    make("p", { class: "hint" }, place),
    make("table", {}, numbers),
    make("p", {}, story(found)),
    rival(found),
    preferred(found),
  ];
  card.replaceChildren(...parts.filter(Boolean));
}

function showCard(found) {
  if (shown !== found.element) {
    hideCard();
    shown = found.element;
    fillCard(found);
    shown.classList.add("on");
    shown.setAttribute("aria-describedby", "card");
    if (found.entry.lines) point(found.entry, found.answer.at[found.cell.start]);
  }
  card.hidden = false;
  const [box] = shown.getClientRects(); // the first line of a token that wraps
  const { width, height } = card.getBoundingClientRect();
  const below = shown.getBoundingClientRect().bottom + 8;
  const fits = below + height < innerHeight || box.top < height + 12;
  const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - width - 8));
  card.style.left = `${left + scrollX}px`;
  card.style.top = `${(fits ? below : box.top - height - 8) + scrollY}px`;
}

function hideCard() {
  card.hidden = true;
  pinned = false;
  shown?.classList.remove("on");
  shown?.removeAttribute("aria-describedby");
  shown = null;
}

let leaving = 0; // the pointer may cross the gap to the card before it closes
document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  clearTimeout(leaving);
  const found = cellOf(event.target);
  if (found && !pinned) showCard(found);
  else if (shown && !pinned && !card.contains(event.target)) {
    leaving = setTimeout(() => pinned || shown === document.activeElement || hideCard(), 200);
  }
});

document.addEventListener("click", (event) => {
  const found = cellOf(event.target);
  const link = event.target.closest(".entry a[href^='#']");
  if (link?.hash === location.hash) follow(); // that changes no hash
  if (found && !getSelection().toString()) {
    moveTo(found);
    pinned = true;
    history.replaceState(null, "", anchorOf(found));
  } else if (!found && !card.contains(event.target)) {
    hideCard();
  }
});

// Focus a cell; it becomes the one that Tab reaches.
function moveTo({ element, answer }) {
  unfold(element);
  answer.place.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
  element.setAttribute("tabindex", "0");
  element.focus();
  showCard(cellOf(element));
}

document.addEventListener("focusin", (event) => {
  const found = cellOf(event.target);
  if (found) showCard(found);
  else if (!card.contains(event.target)) hideCard();
});

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hideCard();
  const found = cellOf(event.target);
  if (!found || event.ctrlKey || event.altKey || event.metaKey) return;
  const at = Number(found.element.dataset.cell);
  const forward = found.answer.place.dir === "rtl" ? "ArrowLeft" : "ArrowRight";
  const backward = found.answer.place.dir === "rtl" ? "ArrowRight" : "ArrowLeft";
  const last = found.answer.cells.length - 1;
  let to = { [forward]: at + 1, [backward]: at - 1, ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
  if (event.key === "Enter" || event.key === " ") found.element.click();
  else if (to === undefined) return;
  while (to > 0 && to < last && folded(found.answer.nodes[to])) to += to < at ? -1 : 1;
  if (to >= 0 && to <= last) moveTo({ answer: found.answer, element: cellElement(found.answer, to) });
  event.preventDefault();
});

const cellElement = (answer, index) => answer.nodes[index];
addEventListener("resize", hideCard);

// Tables -------------------------------------------------------------------------------------------------------------

const tops = (top) => top.map(([piece, logp]) => `${piece} ${plain(logp, 2)}`).join(", ");

function fillTable(answer, entry) {
  const table = answer.table.querySelector("table");
  for (const head of table.querySelectorAll("[aria-sort]")) head.removeAttribute("aria-sort");
  table.classList.toggle("summed", unit !== "token"); // what the models preferred is known for tokens alone
  table.querySelector("thead .what button").textContent = unit;
  const extra = (cell) => (unit === "token" && answer.policyTop && answer.referenceTop ? [answer.policyTop[cell.start], answer.referenceTop[cell.start]] : []);
  const rows = answer.cells.map((cell) => {
    const numbers = [plain(cell.policy), plain(cell.policy - cell.ratio), signed(cell.reward, entry.decimals), signed(cell.cumulative, entry.decimals)];
    return make("tr", {},
      make("td", {}, String(cell.token + 1)),
      make("th", { scope: "row", class: "what" }, raw(cell.text)),
      ...numbers.map((text) => make("td", {}, text)),
      ...extra(cell).map((top) => make("td", { class: "what" }, raw(tops(top)))),
    );
  });
  table.tBodies[0].replaceChildren(...rows);
}

function csv(answer, entry) {
  const quote = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value);
  const digits = (value) => Number(value.toPrecision(9)); // what the page knows, without the noise of adding up
  const named = unit === "token" && answer.policyTop && answer.referenceTop;
  const lines = [["answer", "position", unit, "log_pi", "log_pi_ref", "reward", "cumulative", ...(named ? ["policy_top", "reference_top"] : [])]];
  for (const cell of answer.cells) {
    const numbers = [cell.policy, cell.policy - cell.ratio, cell.reward, cell.cumulative].map(digits);
    const top = named ? [answer.policyTop, answer.referenceTop].map((each) => each[cell.start].map(([piece, logp]) => `${piece} ${logp}`).join("; ")) : [];
    lines.push([answer.label, cell.token + 1, cell.text, ...numbers, ...top]);
  }
  return lines.map((line) => line.map(quote).join(",") + "\r\n").join("");
}

async function copy(text, count) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { class: "ears" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy"); // where the page may not use the clipboard itself
    area.remove();
  }
  say(`Copied ${count} rows as CSV.`);
}

function numberIn(text) {
  const value = parseFloat(text.replace("−", "-"));
  return Number.isNaN(value) ? -Infinity : value;
}

// Headings become buttons that sort; an index moves whole bodies (a row with its detail), a table of tokens its rows.
function makeSortable(table) {
  const whole = table.tBodies.length > 1;
  for (const head of table.tHead.querySelectorAll("[data-sort]")) {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") !== "descending";
      for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const items = [...(whole ? table.tBodies : table.tBodies[0].rows)];
      const text = (item) => (whole ? item.rows[0] : item).cells[head.cellIndex].textContent;
      const words = head.classList.contains("what");
      const keyed = items.map((item) => [words ? text(item) : numberIn(text(item)), item]);
      keyed.sort(([a], [b]) => (words ? a.localeCompare(b) : a - b) * (descending ? -1 : 1));
      const parent = whole ? table : table.tBodies[0];
      parent.append(...keyed.map(([, item]) => item));
    });
  }
}

// An index of entries ------------------------------------------------------------------------------------------------

// An entry of an index lies in a <noscript>, as text: 2,000 of them cost nothing until they are opened.
function openEntry(body, open = true) {
  const detail = body.rows[1];
  const sleeping = detail.querySelector("noscript");
  if (open && sleeping) {
    const parsed = new DOMParser().parseFromString(sleeping.textContent, "text/html");
    const section = document.importNode(parsed.querySelector(".entry"), true);
    sleeping.replaceWith(section);
    wake(section);
  }
  detail.hidden = !open;
  body.classList.toggle("open", open);
  body.querySelector("a").setAttribute("aria-expanded", open);
  const section = detail.querySelector(".entry");
  if (open && (entries.get(section).unit !== unit || entries.get(section).quantity !== quantity)) draw(section); // changed while it was closed
}

function wakeIndex(table) {
  makeSortable(table);
  for (const body of table.tBodies) {
    body.rows[0].querySelector("a").setAttribute("aria-expanded", "false");
    body.rows[1].hidden = true;
  }
  table.addEventListener("click", (event) => {
    const row = event.target.closest(".index > tbody > tr:first-child");
    if (!row || getSelection().toString()) return;
    event.preventDefault();
    const body = row.parentElement;
    openEntry(body, !body.classList.contains("open"));
    if (body.classList.contains("open")) history.replaceState(null, "", `#${body.id}`);
  });
}

// Permalinks: #a1t17, or #e3a1t17 in an index, is answer 1, token 17, and #a1d2 its edit 2; #e3 opens an entry.
function follow() {
  const parts = /^#(e\d+)?(?:a(\d+)([td])(\d+))?$/.exec(location.hash);
  if (!parts) return;
  const [, anchor, number, kind, token] = parts;
  const body = anchor && document.getElementById(anchor);
  if (body) openEntry(body);
  const section = (body ?? document).querySelector(".entry");
  const answer = entries.get(section)?.answers[number - 1];
  if (!answer) return body?.scrollIntoView();
  if (kind === "d") return answer.edits.some((edit) => edit[2] === Number(token)) && leadToEdit(entries.get(section), token);
  const index = answer.cells.findIndex((cell) => cell.token < token && token <= cell.last);
  if (index < 0) return;
  const element = cellElement(answer, index);
  unfold(element);
  element.scrollIntoView({ block: "center" });
  markHere([element]);
  moveTo({ answer, element });
  pinned = true;
}

// Start --------------------------------------------------------------------------------------------------------------

document.documentElement.classList.add("js");
for (const section of document.querySelectorAll("main > .entry")) wake(section);
document.querySelectorAll("table.index").forEach(wakeIndex);
function redraw() {
  document.body.dataset.quantity = quantity;
  for (const section of entries.keys()) if (!section.closest("[hidden]")) draw(section);
}
for (const input of document.querySelectorAll("input[name='unit'], input[name='quantity']")) {
  if (input.value === (input.name === "unit" ? unit : quantity)) input.checked = true; // a reload may remember another
  input.addEventListener("change", () => {
    if (input.name === "unit") unit = input.value;
    else quantity = input.value;
    redraw();
  });
}
addEventListener("hashchange", follow);
follow();
