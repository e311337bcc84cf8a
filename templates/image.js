// Walks through the timesteps of a picture's credit, and reads the map's cells: by pointer, by touch or with the arrows.
"use strict";

const THEMES = ["light", "dark"];
const data = JSON.parse(document.getElementById("maps").textContent);
const slider = document.getElementById("at");
let at = 0; // 0: all timesteps, n: the n-th
let here = null; // the row and column that are read
document.documentElement.classList.add("js");

function signed(value, decimals) {
  const text = value.toFixed(decimals);
  if (!/[1-9]/.test(text)) return text.replace("-", "");
  return (value > 0 ? "+" + text : text).replace("-", "−");
}
const spoken = (text) => text.replace("−", "minus ").replace("+", "plus ");
const kind = () => Math.min(at, 1); // which scale: that of the means, or that of the single timesteps

const panels = [...document.querySelectorAll("[data-picture]")].map((panel, n) => {
  const { rows, columns, width, height } = Object.fromEntries(Object.entries(panel.dataset).map(([k, v]) => [k, Number(v)]));
  const bytes = Uint8Array.from(atob(data.pictures[n].rewards), (char) => char.charCodeAt(0));
  const map = panel.querySelector(".map");
  const canvases = THEMES.map((theme) => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: columns, height: rows, className: `for-${theme}` });
    return canvas;
  });
  map.replaceChildren(...canvases);
  const name = panel.querySelector("h2").firstChild.data.trim();
  map.tabIndex = 0;
  map.setAttribute("role", "application"); // so that the arrow keys come through
  map.setAttribute("aria-label", `Map of the ${name}, ${columns} by ${rows} cells. The arrow keys read them.`);
  const marks = [panel.querySelector(".plate"), map].map((plate) => {
    const mark = document.createElement("i");
    mark.className = "here";
    mark.hidden = true;
    plate.append(mark);
    return mark;
  });
  return { panel, name, rows, columns, width, height, map, canvases, marks, values: new Int16Array(bytes.buffer), ...data.pictures[n] };
});

const rewardOf = (picture, row, column) =>
  picture.step * picture.values[(at * picture.rows + row) * picture.columns + column];
const positionOf = (reward) => Math.max(-1, Math.min(1, reward / (data.limits[kind()] || 1)));

// The end's colour with the position as its opacity: over the neutral colour that is the scale's shade.
function paint(picture) {
  picture.canvases.forEach((canvas, n) => {
    const image = new ImageData(picture.columns, picture.rows);
    const [low, high] = data.ends[THEMES[n]];
    for (let row = 0, i = 0; row < picture.rows; row++) {
      for (let column = 0; column < picture.columns; column++, i += 4) {
        const position = positionOf(rewardOf(picture, row, column));
        image.data.set([...(position < 0 ? low : high), Math.round(255 * Math.abs(position))], i);
      }
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  });
  const paths = picture.panel.querySelectorAll("path");
  const [low, high] = picture.outlines[at];
  [low + high, low, high].forEach((path, n) => paths[n].setAttribute("d", path));
}

// The pixels of the picture under a cell, as "3" or "24 to 31".
function pixels(index, cells, size) {
  const first = Math.floor((index * size) / cells);
  const last = Math.ceil(((index + 1) * size) / cells) - 1;
  return last > first ? `${first} to ${last}` : String(first);
}

// Read the cell: in every picture that has it.
function read() {
  for (const picture of panels) {
    const inside = here && here.row < picture.rows && here.column < picture.columns;
    const line = picture.panel.querySelector(".cell");
    for (const mark of picture.marks) mark.hidden = !inside;
    picture.said = "";
    if (here) line.textContent = "";
    if (!inside) continue;
    line.classList.remove("hint");
    const { row, column } = here;
    const reward = rewardOf(picture, row, column);
    const text = signed(reward, data.decimals[kind()]);
    const place = `x ${pixels(column, picture.columns, picture.width)}, y ${pixels(row, picture.rows, picture.height)}`;
    const swatch = document.createElement("i");
    swatch.className = "swatch";
    const position = positionOf(reward);
    const end = position < 0 ? "low" : "high";
    swatch.style.background = `color-mix(in srgb, var(--${end}) ${100 * Math.abs(position)}%, var(--neutral))`;
    const value = document.createElement("b");
    value.textContent = text;
    line.append(swatch, value, ` at ${place}`);
    picture.said = `${picture.name} ${spoken(text)}`;
    for (const mark of picture.marks) {
      mark.style.inset = `${(100 * row) / picture.rows}% auto auto ${(100 * column) / picture.columns}%`;
      mark.style.width = `${100 / picture.columns}%`;
      mark.style.height = `${100 / picture.rows}%`;
    }
  }
}

function say() {
  const heard = panels.map((picture) => picture.said).filter(Boolean).join(", ");
  document.getElementById("said").textContent = here ? `row ${here.row + 1}, column ${here.column + 1}: ${heard}` : "";
}

function moveTo(row, column) {
  here = { row, column };
  read();
}

function show(n) {
  at = n;
  panels.forEach(paint);
  for (const element of document.querySelectorAll("[data-limit]")) element.hidden = Number(element.dataset.limit) !== kind();
  for (const element of document.querySelectorAll("[data-at]")) element.hidden = Number(element.dataset.at) !== at;
  read();
  if (!slider) return;
  const { timesteps } = data;
  const text = at ? `t = ${timesteps[at - 1]}` : `all ${timesteps.length}`;
  document.querySelector("output").textContent = text;
  slider.setAttribute("aria-valuetext", text);
  document.querySelectorAll(".figures tbody tr").forEach((row, k) => row.classList.toggle("on", k === at - 1));
  const now = document.querySelector(".now");
  now.setAttribute("visibility", at ? "visible" : "hidden");
  for (const end of ["x1", "x2"]) now.setAttribute(end, `${at ? data.across[at - 1] : 0}%`);
}

// Pointer and keyboard -----------------------------------------------------------------------------------------------

for (const picture of panels) {
  const { map, rows, columns } = picture;
  for (const plate of [picture.panel.querySelector(".plate"), map]) {
    const follow = (event) => {
      const box = plate.getBoundingClientRect();
      const row = Math.floor((rows * (event.clientY - box.top)) / box.height);
      const column = Math.floor((columns * (event.clientX - box.left)) / box.width);
      if (row >= 0 && row < rows && column >= 0 && column < columns) moveTo(row, column);
    };
    plate.addEventListener("pointermove", follow);
    plate.addEventListener("pointerdown", follow);
  }
  map.addEventListener("focus", () => {
    if (!here) moveTo(0, 0);
    say();
  });
  map.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") {
      here = null;
      read();
      return;
    }
    const { row, column } = here ?? { row: 0, column: 0 };
    const to = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [row, 0],
      End: [row, columns - 1],
      PageUp: [0, column],
      PageDown: [rows - 1, column],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    moveTo(Math.max(0, Math.min(rows - 1, to[0])), Math.max(0, Math.min(columns - 1, to[1])));
    say();
  });
  for (const button of picture.panel.querySelectorAll("[data-end]")) {
    button.addEventListener("click", () => {
      const size = rows * columns;
      const values = picture.values.subarray(at * size, (at + 1) * size);
      const side = Number(button.dataset.end);
      const best = values.reduce((found, value, n) => (side * value > side * values[found] ? n : found), 0);
      moveTo(Math.floor(best / columns), best % columns);
      say();
    });
  }
}

slider?.addEventListener("input", () => show(Number(slider.value)));
show(0);
