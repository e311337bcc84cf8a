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
