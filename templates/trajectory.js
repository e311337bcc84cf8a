// Walks a run's answers through training: the slider, or the arrow keys on it, choose the checkpoint.
"use strict";

for (const run of document.querySelectorAll(".run")) {
  const slider = run.querySelector(".walk input");
  const said = run.querySelector(".walk output");
  const steps = JSON.parse(run.dataset.steps);
  const decimals = Number(run.dataset.decimals);
  const cells = [...run.querySelectorAll("[data-over]")].map((cell) => [cell, cell.dataset.over.split(" ")]);
  const totals = [...run.querySelectorAll("[data-totals]")].map((cell) => [cell, JSON.parse(cell.dataset.totals)]);
  const rows = run.querySelectorAll(".figures tbody tr");
  const lines = run.querySelectorAll("line.now");
  const span = Math.max(1, steps.at(-1) - steps[0]);

  function signed(value) {
    const text = value.toFixed(decimals);
    if (!/[1-9]/.test(text)) return text.replace("-", "");
    return (value > 0 ? "+" + text : text).replace("-", "−");
  }

  function show(n) {
    said.textContent = n ? `step ${steps[n]}` : `step ${steps[n]}, the start`;
    for (const [cell, classes] of cells) cell.className = classes[n] + (cell.dataset.end ? " end" : "");
    for (const [cell, values] of totals) cell.textContent = signed(values[n]);
    rows.forEach((row, m) => row.classList.toggle("on", m === n));
    for (const line of lines) {
      const x = (1000 * (steps[n] - steps[0])) / span;
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
    }
  }

  slider.max = steps.length - 1;
  slider.value = steps.length - 1;
  run.querySelector(".walk").hidden = false;
  slider.addEventListener("input", () => show(Number(slider.value)));
  show(steps.length - 1);
}
