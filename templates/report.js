
// A report's table of rows: searched, filtered and sorted; a row opens to its prompt and its answers, shaded ------------

(() => {
  const more = document.querySelector("button.more");
  if (!more) return;
  // The table lies in a <noscript>, as text: of its rows, those alone are laid out that are shown.
  const sleeping = more.parentElement.previousElementSibling;
  const parsed = new DOMParser().parseFromString(sleeping.textContent, "text/html");
  const table = document.adoptNode(parsed.querySelector("table"));
  const AT_ONCE = 100; // rows in the page; the others wait for "more"
  const TEXT_MS = 150; // of silence before a search begins
  const form = document.querySelector(".filters");
  const body = table.tBodies[0];
  const partHead = table.querySelector("thead .part");
  const number = (cell) => parseFloat(cell.textContent.replace("−", "-"));
  const rows = [...body.rows].map((row, at) => ({
    at,
    row,
    value: number(row.cells[1]),
    tokens: [...row.cells].slice(3).map(number),
    parts: JSON.parse(row.dataset.parts),
  }));
  let texts = null; // of each row: its prompt, then each answer's label, pieces and rewards
  let sought = null; // the same in one string of small letters
  let sorted = { by: "value", sign: 1 };
  let count = AT_ONCE;

  const textOf = (at) => (texts ??= JSON.parse(document.getElementById("texts").textContent))[at];

  function holds(at, words) {
    sought ??= rows.map((_, n) => textOf(n).map((part, k) => (k ? part[1].join("") : part)).join("\n").toLowerCase());
    return sought[at].includes(words);
  }

  // Rows --------------------------------------------------------------------------------------------------------------

  const chosenClass = () => form.elements.class.value;
  const partOf = (item) => item.parts[Number(chosenClass())];
  const keys = { value: (item) => item.value, part: partOf, 0: (item) => item.tokens[0], 1: (item) => item.tokens[1] };

  function within(value, name) {
    const [from, to] = ["from", "to"].map((end) => form.elements[`${name}-${end}`].valueAsNumber);
    return value !== null && !(value < from) && !(value > to); // an empty field is NaN, which nothing is below or above
  }

  function wanted(item, words, byClass) {
    return (
      within(item.value, "value") &&
      within(Math.max(...item.tokens), "tokens") &&
      (!byClass || within(partOf(item), "part")) &&
      (!words || holds(item.at, words))
    );
  }

  function show() {
    const words = form.elements.text.value.trim().toLowerCase();
    const byClass = chosenClass() !== "";
    const found = rows.filter((item) => wanted(item, words, byClass));
    const key = keys[sorted.by];
    found.sort((a, b) => sorted.sign * (key(a) - key(b)) || a.at - b.at);
    const shown = found.slice(0, count);
    for (const item of shown) {
      if (!item.awake) wakeRow(item);
      const cell = item.row.cells[2];
      cell.hidden = !byClass;
      if (item.opened) item.opened.cells[0].colSpan = columns(item);
      if (!byClass) continue;
      cell.textContent = signed(partOf(item), 3);
      cell.dataset.name = form.elements.class.selectedOptions[0].textContent;
    }
    body.replaceChildren(...shown.flatMap(({ row, opened }) => (opened ? [row, opened] : [row])));
    const all = rows.length.toLocaleString("en");
    const some = found.length === rows.length ? all : `${found.length.toLocaleString("en")} of ${all}`;
    document.querySelector(".found").firstChild.data = `${some} rows`;
    const left = found.length - count;
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(left, 5 * AT_ONCE)} more`;
  }

  function change() {
    count = AT_ONCE;
    show();
  }

  // Sorting and filters -----------------------------------------------------------------------------------------------

  function sortBy(head, sign) {
    sorted = { by: head.dataset.by, sign };
    for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  }

  for (const head of table.querySelectorAll("[data-by]")) {
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      sortBy(head, sorted.by === head.dataset.by ? -sorted.sign : 1);
      change();
    });
  }

  function chooseClass() {
    const name = form.elements.class.selectedOptions[0].textContent;
    const some = chosenClass() !== "";
    for (const end of ["from", "to"]) form.elements[`part-${end}`].disabled = !some;
    partHead.hidden = !some;
    if (some) {
      partHead.querySelector("button").textContent = `by ${name}`;
      sortBy(partHead, 1);
    } else if (sorted.by === "part") {
      sortBy(table.querySelector("[data-by='value']"), 1);
    }
  }

  let waiting = 0;
  form.addEventListener("input", ({ target }) => {
    if (target.name === "class") chooseClass();
    clearTimeout(waiting);
    waiting = setTimeout(change, target.name === "text" ? TEXT_MS : 0);
  });
  form.addEventListener("reset", () =>
    setTimeout(() => {
      chooseClass();
      change();
    }),
  );
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    count += 5 * AT_ONCE;
    show();
  });

  // A row opened ------------------------------------------------------------------------------------------------------

  function answer([label, pieces, rewards, joined], limit) {
    const cells = pieces.map((piece, n) =>
      make("span", { class: shade(rewards[n], limit, 0), title: signed(rewards[n], 3) }, piece),
    );
    const total = rewards.reduce((sum, reward) => sum + reward, 0);
    return make("div", {},
      make("h3", {}, label || "answer", " ", make("span", { class: "hint" }, signed(total, 3))),
      make("p", { class: joined ? "text joined" : "text", lang: "", dir: "auto" }, ...cells),
    );
  }

  const columns = (item) => [...item.row.cells].filter((cell) => !cell.hidden).length;

  function open(item) {
    const [prompt, ...answers] = textOf(item.at);
    const sizes = answers.flatMap(([, , rewards]) => rewards.map(Math.abs)).sort((a, b) => b - a);
    const limit = Math.max(sizes[1] ?? 0, (sizes[0] ?? 0) / 4); // as every scale here ends
    const whole = item.drawn ? [make("a", { href: item.drawn }, "Drawn in full above")] : [];
    const scrolls = { class: "text prompt-text", lang: "", dir: "auto", tabindex: 0, role: "group", "aria-label": "Prompt" };
    const cell = make("td", { colspan: columns(item) },
      ...(prompt ? [make("div", scrolls, prompt)] : []),
      make("div", { class: "side-by-side" }, ...answers.map((each) => answer(each, limit))),
      make("p", { class: "hint" }, `Shaded by reward; the colours end at ±${limit.toPrecision(2)}. `, ...whole),
    );
    item.opened = make("tr", { class: "opened" }, cell);
    item.row.after(item.opened);
  }

  function toggle(item) {
    if (item.opened) {
      item.opened.remove();
      item.opened = null;
    } else open(item);
    item.row.querySelector("th button").setAttribute("aria-expanded", Boolean(item.opened));
  }

  // Its name becomes a button, once the row is shown.
  function wakeRow(item) {
    item.awake = true;
    const name = item.row.cells[0].firstElementChild;
    const words = name.tagName === "A" ? name.childNodes : [name.cloneNode(true)];
    item.drawn = name.getAttribute("href");
    name.replaceWith(make("button", { type: "button", class: "name", "aria-expanded": "false" }, ...words));
    item.row.addEventListener("click", () => getSelection().toString() || toggle(item));
  }

  show();
  sleeping.replaceWith(table);
})();
