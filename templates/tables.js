// An answer's tokens as a table and as CSV, and tables that sort. Functions that page.js calls.

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
