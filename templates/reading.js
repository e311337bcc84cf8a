// Finding one's way in a long answer: what two answers share folds, a strip follows the reader, links lead to places.
"use strict";

const PLACES = 5; // at either end of the list
const FOLDED = 40; // segments that a fold has at least
const ROWS = ["sentence", "line", "turn"]; // units that stand below each other, each with its sum beside it
const AROUND = 24; // characters shown beside a place
const strips = new Set(); // of entries, each followed as the page scrolls

// Blocks and rows ----------------------------------------------------------------------------------------------------

const within = (stretches, segment) => stretches.findIndex(([start, stop]) => start <= segment && segment < stop);

// The first segment of a cell that is more than white space.
function seenFirst(answer, { start, stop }) {
  const index = answer.text.slice(start, stop).findIndex((text) => text.trim());
  return start + Math.max(0, index);
}

// The whole cells of a fold; none where they are too few to fold.
function wholeCells([start, stop], cells) {
  const inside = cells.filter((cell) => start <= cell.start && cell.stop <= stop);
  const [first, last] = [inside[0]?.start ?? 0, inside[inside.length - 1]?.stop ?? 0];
  return last - first >= FOLDED ? [first, last] : [0, 0];
}

// An answer's cells in open or folded stretches, and in these in parts that are code or not.
function blocksOf(answer, unit) {
  const folds = (answer.folds ?? []).map((fold) => wholeCells(fold, answer.cells));
  const blocks = [];
  let block = null;
  let part = null;
  for (const cell of answer.cells) {
    const fold = within(folds, cell.start);
    const code = within(answer.code ?? [], seenFirst(answer, cell));
    if (block?.fold !== fold) {
      blocks.push((block = { fold, parts: [] }));
      part = null;
    }
    if (part?.code !== code) block.parts.push((part = { code, cells: [], after: "" }));
    part.cells.push(cell);
  }
  breakLines(blocks, ROWS.includes(unit));
  return blocks;
}

// White space moves to where it does not break a line twice: blocks and rows begin on lines of their own.
function breakLines(blocks, rows) {
  let last = null;
  for (const { fold, parts } of blocks) {
    for (const part of parts) {
      part.cells.forEach((cell, n) => {
        if (last && (rows || !n)) {
          const broken = (last.after + cell.before).includes("\n"); // or it is on the same line
          const cut = broken ? cell.before.lastIndexOf("\n") + 1 : cell.before.length;
          last.after += cell.before.slice(0, cut);
          cell.before = cell.before.slice(cut);
        }
        last = cell;
      });
    }
  }
  for (const { fold, parts } of blocks) {
    for (const part of parts) {
      if (fold < 0 && part.code < 0) continue;
      const cell = part.cells[part.cells.length - 1];
      const cut = cell.after.indexOf("\n") + 1 || cell.after.length;
      part.after = cell.after.slice(cut);
      cell.after = cell.after.slice(0, cut);
    }
  }
}

function drawFold(fold, cells, entry, ...children) {
  const sum = cells.reduce((so_far, cell) => so_far + cell.value, 0);
  const tokens = cells[cells.length - 1].last - cells[0].token;
  const summary = make("summary", { lang: "en", dir: "ltr" }, `… ${tokens} tokens, ${entry.quantity} ${signed(sum, entry.decimals)} …`);
  const details = make("details", { class: "fold", "data-fold": fold }, summary, ...children);
  details.open = entry.open.has(fold);
  details.addEventListener("toggle", () => setFold(entry, fold, details.open));
  return details;
}

// What one answer shows of a stretch, the other shows too.
function setFold(entry, fold, open) {
  if (open) entry.open.add(fold);
  else entry.open.delete(fold);
  for (const { place } of entry.answers) {
    const details = place.querySelector(`[data-fold="${fold}"]`);
    if (details) details.open = open;
  }
  const count = entry.answers[0].folds.length;
  if (entry.folding) entry.folding.textContent = entry.open.size < count ? "Unfold all" : "Fold again";
}

const folded = (element) => element.closest("details.fold:not([open])");
const unfold = (element) => folded(element)?.setAttribute("open", "");

// Alignment ----------------------------------------------------------------------------------------------------------

// The chart's place of each segment, what two answers share at the same one; and what each adds to their margin.
function align(entry) {
  const [first, second] = entry.answers;
  const compared = second && entry.answers.length === 2;
  for (const answer of entry.answers) answer.at = [];
  if (!compared) {
    first.text.forEach((_, n) => first.at.push(n));
    entry.width = first.text.length;
    return;
  }
  const reward = (answer, n) => (answer.uncounted?.includes(n) ? 0 : answer.weight * answer.ratio[n]);
  first.delta = first.ratio.map((_, n) => reward(first, n));
  second.delta = second.ratio.map((_, n) => -reward(second, n));
  let place = 0;
  const share = (stop) => {
    while (first.at.length < stop) {
      const [i, j] = [first.at.push(place) - 1, second.at.push(place) - 1];
      first.delta[i] = second.delta[j] = first.delta[i] + second.delta[j];
      place++;
    }
  };
  first.edits.forEach(([start, stop], n) => {
    share(start);
    const [otherStart, otherStop] = second.edits[n];
    for (let k = start; k < stop; k++) first.at.push(place + k - start);
    for (let k = otherStart; k < otherStop; k++) second.at.push(place + k - otherStart);
    place += Math.max(stop - start, otherStop - otherStart);
  });
  share(first.text.length);
  entry.width = place;
}

// Places -------------------------------------------------------------------------------------------------------------

// The lowest and the highest cells; of what both answers share, only the more extreme one.
function endsOf(entry) {
  const cells = new Map();
  for (const answer of entry.answers) {
    for (const cell of answer.cells) {
      const shared = answer.delta && !editsOver(answer, cell.start, cell.stop).length;
      const key = shared ? `${answer.at[cell.start]} ${cell.stop - cell.start}` : `${answer.number}: ${cell.start}`;
      if (!(Math.abs(cells.get(key)?.cell.value) >= Math.abs(cell.value))) cells.set(key, { answer, cell });
    }
  }
  const ordered = [...cells.values()].sort((a, b) => a.cell.value - b.cell.value);
  const count = Math.min(PLACES, Math.floor(ordered.length / 2));
  return [ordered.slice(0, count), ordered.slice(ordered.length - count).reverse()];
}

function drawPlaces(section, entry) {
  const lists = section.querySelectorAll(".places ol");
  if (!lists.length) return;
  endsOf(entry).forEach((places, n) => {
    const items = places.map(({ answer, cell }) => {
      const before = answer.text.slice(0, cell.start).filter((_, k) => !answer.ends.includes(k)).join("");
      const after = answer.text.slice(cell.stop).filter((_, k) => !answer.ends.includes(cell.stop + k)).join("");
      const own = trimmed(cell.text);
      const context = make("bdi", {},
        (before.length > AROUND ? "…" : "") + before.slice(-AROUND) + /^\s*/.exec(cell.text)[0],
        make("b", {}, own.length > 90 ? own.slice(0, 89) + "…" : own),
        /\s*$/.exec(cell.text)[0] + after.slice(0, AROUND) + (after.length > AROUND ? "…" : ""));
      const key = answer.delta ? [make("span", { class: `key k${answer.number}`, role: "img", "aria-label": answer.label })] : [];
      const link = make("a", { href: anchorOf({ entry, answer, cell }) },
        make("span", { class: "reward" }, signed(cell.value, entry.decimals)), " ", make("span", { class: "where" }, ...key, context));
      return make("li", {}, link);
    });
    lists[n].replaceChildren(...items);
  });
}

// The chart and the strip --------------------------------------------------------------------------------------------

// The cell of an answer at a place of the chart, or the last one before it.
function cellAt(answer, place) {
  let low = 0;
  for (let high = answer.at.length; high - low > 1; ) {
    const middle = (low + high) >> 1;
    if (answer.at[middle] <= place) low = middle;
    else high = middle;
  }
  return answer.cells.findIndex((cell) => cell.start <= low && low < cell.stop);
}

function markHere(elements) {
  for (const element of document.querySelectorAll(".here")) element.classList.remove("here");
  for (const element of elements) element.classList.add("here");
}

// Scroll to a place of the chart, and mark it in each answer.
function lead(entry, place) {
  const elements = entry.answers.map((answer) => cellElement(answer, cellAt(answer, place)));
  elements.forEach(unfold);
  markHere(elements);
  elements[0].scrollIntoView({ block: "center" });
  point(entry, place);
}

function leadToEdit(entry, number) {
  const first = entry.answers[0];
  const place = first.at[first.edits[number - 1][0]] ?? entry.width;
  const marks = entry.answers.flatMap(({ place }) => [...place.querySelectorAll(`mark[data-edits~="${number}"]`)]);
  markHere(marks);
  (marks[0] ?? cellElement(first, cellAt(first, place))).scrollIntoView({ block: "center" }); // rows show no empty side
  point(entry, place);
}

// A line through the charts at a place.
function point(entry, place) {
  for (const line of entry.lines) {
    line.hidden = false;
    line.style.insetInlineStart = `${(100 * (place + 0.5)) / entry.width}%`;
  }
}

function wakeReading(section, entry) {
  entry.open = new Set();
  align(entry);
  const fields = [...section.querySelectorAll(".chart .field")];
  if (section.querySelector(".places")) fields.push(makeStrip(section, entry, fields[fields.length - 1]));
  entry.lines = fields.map((field) => {
    const line = make("span", { class: "at", hidden: "" });
    field.append(line);
    field.addEventListener("click", (event) => {
      const { left, width } = field.getBoundingClientRect();
      lead(entry, Math.min(entry.width - 1, Math.max(0, Math.floor(((event.clientX - left) / width) * entry.width))));
      event.stopPropagation(); // the card stays
    });
    return line;
  });
  entry.folding = section.querySelector(".folding button");
  entry.folding?.addEventListener("click", () => {
    const open = entry.open.size < entry.answers[0].folds.length;
    entry.answers[0].folds.forEach((_, fold) => setFold(entry, fold, open));
  });
}

// A small chart that stays in view beside the text: it shows what part of the answers one sees, and leads to others.
function makeStrip(section, entry, field) {
  const lines = field.querySelector(".lines").cloneNode(true);
  lines.removeAttribute("role");
  lines.setAttribute("aria-hidden", "true");
  const seen = make("span", { class: "seen" });
  const slider = make("div", { class: "field", role: "slider", tabindex: 0, "aria-label": "Place in the text", "aria-valuemin": 1, "aria-valuemax": entry.width }, lines, seen);
  const strip = make("div", { class: "strip" }, slider);
  section.querySelector(".reading").prepend(strip);
  slider.addEventListener("keydown", (event) => {
    const step = Math.max(1, Math.round(entry.width / 20));
    const now = Number(slider.getAttribute("aria-valuenow")) - 1;
    const to = { ArrowRight: now + step, ArrowUp: now + step, ArrowLeft: now - step, ArrowDown: now - step, Home: 0, End: entry.width - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    lead(entry, Math.max(0, Math.min(entry.width - 1, to)));
    slider.setAttribute("aria-valuenow", to + 1);
  });
  entry.strip = { strip, slider, seen };
  strips.add(entry);
  return slider;
}

// From which place to which one sees of the answers, below the strip.
function seenOf(entry, top) {
  const places = [];
  for (const answer of entry.answers) {
    const box = (n) => (folded(answer.nodes[n])?.querySelector("summary") ?? answer.nodes[n]).getBoundingClientRect();
    const search = (passes) => {
      let [low, high] = [0, answer.nodes.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if (passes(box(middle))) high = middle;
        else low = middle + 1;
      }
      return low;
    };
    const first = search(({ bottom }) => bottom > top);
    const last = search((rectangle) => rectangle.top >= innerHeight) - 1;
    if (first <= last) places.push(answer.at[answer.cells[first].start], answer.at[answer.cells[last].stop - 1]);
  }
  return places.length ? [Math.min(...places), Math.max(...places) + 1] : null;
}

let scrolled = false; // whether the strips wait for the next frame
function followReader() {
  if (scrolled) return;
  scrolled = true;
  requestAnimationFrame(() => {
    scrolled = false;
    for (const entry of strips) {
      const { strip, slider, seen } = entry.strip;
      if (strip.closest("[hidden]")) continue;
      const { top } = strip.getBoundingClientRect();
      const stuck = top <= parseFloat(getComputedStyle(strip).top) + 0.5;
      strip.classList.toggle("stuck", stuck);
      if (!stuck) continue;
      const range = seenOf(entry, top + slider.offsetHeight);
      seen.hidden = !range;
      if (!range) continue;
      const [from, to] = range;
      seen.style.insetInlineStart = `${(100 * from) / entry.width}%`;
      seen.style.width = `${(100 * (to - from)) / entry.width}%`;
      slider.setAttribute("aria-valuenow", from + 1);
      slider.setAttribute("aria-valuetext", `positions ${from + 1} to ${to} of ${entry.width} are in view`);
    }
  });
}
addEventListener("scroll", followReader, { passive: true });
addEventListener("resize", followReader);
