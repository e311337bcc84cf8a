// An answer's cells: what they sum over, how they are shaded, and the frames of edits. Functions that page.js calls.

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
