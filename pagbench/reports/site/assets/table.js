"use strict";
/* The leaderboard's table: sorts, filters, chooses columns, gives what it shows as CSV, and keeps what was chosen in the address. */
(() => {
  const LIMIT = 100; // ranked rows that are laid out until the reader asks for all: sorting a thousand stays quick
  const { element } = Dom;
  const { row: drawRow, header, chanceCell } = globalThis.boardRows;
  const source = document.getElementById("board-data");
  const data = JSON.parse(source.textContent);
  const root = source.dataset.root;
  const table = document.getElementById("board");
  const controls = document.getElementById("board-controls");
  const count = document.getElementById("board-count");
  const compare = document.getElementById("board-compare");
  const clear = document.getElementById("board-clear");
  const csv = document.getElementById("board-csv");
  const view = document.getElementById("board-view");
  const frame = view.querySelector(".board-frame");
  const onward = document.getElementById("board-onward");

  const FIXED = ["rank", "model"].map((name) => ({ name, header: name, kind: name, arrow: "", unit: "" }));
  const meaningful = data.rows.filter((row) => row.meaningful && row.section !== "control");
  const columns = data.columns.map((column, place) => ({ ...column, place, scale: scaleOf(column, place) }));
  const known = new Map([...FIXED, ...columns].map((column) => [column.name, column]));
  const facets = [...controls.querySelectorAll(".filters select")].map((select) => select.name).filter((name) => name !== "intervals");
  const rows = data.rows.map((row) => ({
    ...row,
    words: [row.id, row.title, row.reason, ...row.networks.map((network) => network.id), ...row.badges.map((badge) => badge.word), ...Object.values(row.facets)].join(" ").toLowerCase(),
  }));
  const OWN = ["sort", "text", "intervals", "columns", ...facets]; // of the address; what else stands there is others'
  const picked = new Set();
  let state = fresh();
  let elements = new Map();

  /* Bars of a column share one scale, over all values, intervals and chance levels. */
  function scaleOf(column, place) {
    return column.kind === "number" ? d3.extent([...column.chance, ...meaningful.flatMap((row) => row.cells[place] ?? [])]) : null;
  }

  function fresh() {
    return { sort: "rank", descending: false, text: "", chosen: {}, columns: defaults(), bars: false, all: false };
  }

  function defaults() {
    return new Set(columns.filter((column) => column.default).map((column) => column.name));
  }

  /* What the address says; what it says of things that this table has not is passed over. */
  function read() {
    const said = new URLSearchParams(location.hash.slice(1));
    const found = fresh();
    const sort = said.get("sort") ?? "";
    if (known.has(sort.replace(/^-/, ""))) Object.assign(found, { sort: sort.replace(/^-/, ""), descending: sort.startsWith("-") });
    found.text = said.get("text") ?? "";
    found.bars = said.get("intervals") === "bars";
    for (const facet of facets) {
      const value = said.get(facet);
      if (value && rows.some((row) => row.facets[facet] === value)) found.chosen[facet] = value;
    }
    if (said.has("columns")) {
      const chosen = said.get("columns").split(",");
      found.columns = new Set(columns.map((column) => column.name).filter((name) => chosen.includes(name)));
    }
    return found;
  }

  function address() {
    const said = new URLSearchParams(location.hash.slice(1));
    for (const [name, value] of [...said]) if (value === "" || OWN.includes(name)) said.delete(name);
    if (state.sort !== "rank" || state.descending) said.set("sort", (state.descending ? "-" : "") + state.sort);
    if (state.text) said.set("text", state.text);
    for (const [facet, value] of Object.entries(state.chosen)) said.set(facet, value);
    if (state.bars) said.set("intervals", "bars");
    const chosen = [...state.columns].join(",");
    if (chosen !== [...defaults()].join(",")) said.set("columns", chosen);
    return `#${said}`;
  }

  /* Every choice is a step that the back button takes back; letters of one search are one step. */
  function change(changes, { step = true } = {}) {
    const rebuilt = "columns" in changes || "bars" in changes;
    state = { ...state, ...changes };
    history[step ? "pushState" : "replaceState"](null, "", address());
    show(rebuilt);
  }

  function show(rebuilt) {
    if (rebuilt) {
      elements = new Map(); // rows of other columns
      drawHead();
    }
    for (const head of table.tHead.rows[0].cells) {
      const name = head.querySelector("button").dataset.sort;
      if (name === state.sort) head.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    drawBodies();
    fit();
  }

  /* Whether the table is as wide as its frame, and whether it was scrolled to its end. */
  function fit() {
    const { scrollWidth, clientWidth, scrollLeft } = frame;
    view.classList.toggle("fits", table.offsetWidth <= clientWidth);
    const more = scrollLeft + clientWidth < scrollWidth - 1;
    view.classList.toggle("more", more);
    onward.hidden = !more;
    follow();
  }

  /* Keeps the head of a table that scrolls sideways at the top of the screen, where CSS cannot. */
  function follow() {
    const past = view.classList.contains("fits") ? 0 : -frame.getBoundingClientRect().top;
    const room = table.offsetHeight - table.tHead.offsetHeight;
    table.tHead.style.transform = past > 0 ? `translateY(${Math.min(past, room)}px)` : "";
  }

  function visibleColumns() {
    return columns.filter((column) => state.columns.has(column.name));
  }

  function drawHead() {
    const shown = [...FIXED, ...visibleColumns()];
    const [names, chance] = table.tHead.rows;
    names.replaceChildren(...shown.map((column) => header(column, root)));
    const level = element("th", { scope: "row", class: "model" }, "chance level");
    chance.replaceChildren(element("td", { class: "rank" }), level, ...visibleColumns().map(chanceCell));
    table.classList.toggle("bars", state.bars);
  }

  function matches(row) {
    const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
    return words.every((word) => row.words.includes(word)) && Object.entries(state.chosen).every(([facet, value]) => row.facets[facet] === value);
  }

  /* What a row is sorted by: null stays last whichever way. */
  function key(row) {
    if (state.sort === "rank") return row.rank?.[0] ?? null;
    if (state.sort === "model") return row.id;
    const value = row.cells[known.get(state.sort).place];
    return Array.isArray(value) ? value[0] : value;
  }

  const collator = new Intl.Collator("en", { numeric: true });

  function sorted(members) {
    const sign = state.descending ? -1 : 1;
    const keyed = members.map((row) => [key(row), row]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return sign * (typeof a === "number" ? a - b : collator.compare(a, b));
    });
    return keyed.map(([, row]) => row);
  }

  function rowElement(row) {
    if (!elements.has(row.id)) elements.set(row.id, drawRow(row, visibleColumns(), state.bars, root, picked.has(row.id)));
    return elements.get(row.id);
  }

  /* The rows that are shown, in order, by section. */
  function shownRows() {
    const visible = rows.filter(matches);
    return Object.keys(data.sections).map((section) => sorted(visible.filter((row) => row.section === section)));
  }

  function drawBodies() {
    const bySection = new Map(shownRows().map((members) => [members[0]?.section, members]));
    for (const body of table.tBodies) {
      const members = bySection.get(body.dataset.section) ?? [];
      const laid = state.all || body.dataset.section !== "ranked" ? members : members.slice(0, LIMIT);
      laid.forEach((row, place) => rule(rowElement(row), row, laid[place - 1]));
      const title = body.querySelector(".section");
      title?.firstElementChild.setAttribute("colspan", FIXED.length + state.columns.size);
      const left = laid.length < members.length ? [rest(members.length)] : [];
      body.replaceChildren(...(title ? [title] : []), ...laid.map(rowElement), ...left);
      body.hidden = laid.length === 0;
    }
    const visible = [...bySection.values()].flat().length;
    count.textContent = `${visible} of ${rows.length} rows shown`;
    csv.textContent = `Download these ${visible} rows as CSV`;
    clear.hidden = !state.text && Object.keys(state.chosen).length === 0;
  }

  function rest(total) {
    const button = element("button", { type: "button" }, `Show all ${total}`);
    button.addEventListener("click", () => {
      const next = button.closest("tr").previousElementSibling;
      state = { ...state, all: true };
      drawBodies();
      next.nextElementSibling.querySelector("a").focus();
    });
    const told = element("span", {}, `${LIMIT} of ${total} ranked models. `, button);
    return element("tr", { class: "rest" }, element("td", { colspan: FIXED.length + state.columns.size }, told));
  }

  /* The rules between tie groups; they mean something in rank order alone. */
  function rule(drawn, row, before) {
    const told = state.sort === "rank" && row.rank !== null && before;
    drawn.classList.toggle("block", Boolean(told && row.block !== before.block));
    drawn.classList.toggle("group", Boolean(told && row.block === before.block && row.group !== before.group));
  }

  /* The better direction first, then the other. */
  function sortBy(name) {
    const column = known.get(name);
    const descending = column.arrow === "↑" || (column.kind === "number" && column.arrow === "");
    change({ sort: name, descending: state.sort === name ? !state.descending : descending });
  }

  /* Numbers as they are; texts in one line, quoted, and none a formula to a spreadsheet: `in_csv` of the package. */
  function csvCell(value) {
    if (typeof value !== "string") return String(value ?? "");
    const plain = value.replace(/\s+/g, " ").trim().replace(/(^|;)(?=[=+@\uff1d\uff0b\uff0d\uff20\u2212-])/g, "$1'");
    return /[",]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
  }

  /* The rows and columns that are shown, with the bounds of intervals. A sigma* of which a bound is known has that. */
  function shownAsCsv() {
    const chosen = visibleColumns().map((column) => {
      const bounded = column.kind === "number" && rows.some((row) => (row.cells[column.place]?.[1] ?? null) !== null);
      const parts = column.kind === "regime" ? ["", "_probability"] : bounded ? ["", "_low", "_high"] : [""];
      return { ...column, parts };
    });
    const head = ["rank", "rank_low", "rank_high", "model", "status", ...chosen.flatMap(({ name, parts }) => parts.map((part) => name + part))];
    const lines = shownRows().flat().map((row) => {
      const cells = chosen.flatMap(({ place, parts }) => {
        const cell = row.cells[place], values = Array.isArray(cell) ? cell : [cell];
        return parts.map((_, index) => (index ? values[index] : values[4] ?? values[0]));
      });
      return [...(row.rank ?? ["", "", ""]), row.id, row.reason || row.section, ...cells];
    });
    return [head, ...lines].map((line) => line.map(csvCell).join(",") + "\n").join("");
  }

  function download() {
    const address = URL.createObjectURL(new Blob([shownAsCsv()], { type: "text/csv" }));
    element("a", { href: address, download: `${data.label}-shown.csv` }).click();
    URL.revokeObjectURL(address);
  }

  function fillControls() {
    controls.elements.text.value = state.text;
    controls.elements.intervals.value = state.bars ? "bars" : "";
    for (const facet of facets) controls.elements[facet].value = state.chosen[facet] ?? "";
    for (const box of controls.querySelectorAll("[name=column]")) box.checked = state.columns.has(box.value);
  }

  function restore() {
    state = read();
    fillControls();
    show(true);
  }

  function showPicked() {
    if (picked.size === 1) {
      compare.removeAttribute("href");
      compare.textContent = "Pick another one to compare";
    } else {
      compare.href = `${root}${data.compare}#${[...picked].map(encodeURIComponent).join(",")}`;
      compare.textContent = picked.size ? `Compare the ${picked.size} picked` : "Compare models";
    }
  }

  table.addEventListener("click", (event) => {
    const button = event.target.closest("button.sort");
    if (button) sortBy(button.dataset.sort);
  });
  table.addEventListener("change", (event) => {
    if (!event.target.matches(".pick")) return;
    picked[event.target.checked ? "add" : "delete"](event.target.dataset.id);
    showPicked();
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.elements.text.addEventListener("input", (event) => change({ text: event.target.value }, { step: state.text === "" }));
  controls.addEventListener("change", (event) => {
    const { name, value } = event.target;
    if (name === "intervals") change({ bars: value === "bars" });
    if (facets.includes(name)) {
      const { [name]: _, ...others } = state.chosen;
      change({ chosen: value ? { ...others, [name]: value } : others });
    }
    if (name === "column") {
      const boxes = [...controls.querySelectorAll("[name=column]:checked")].map((box) => box.value);
      change({ columns: new Set(columns.map((column) => column.name).filter((found) => boxes.includes(found))) });
    }
  });
  document.getElementById("board-reset").addEventListener("click", () => {
    change({ columns: defaults() });
    fillControls();
  });
  clear.addEventListener("click", () => {
    change({ text: "", chosen: {} });
    fillControls();
    controls.elements.text.focus();
  });
  addEventListener("popstate", () => {
    if (location.hash.length < 2 || location.hash.includes("=")) restore(); // others are places of the page
  });

  csv.addEventListener("click", download);
  frame.addEventListener("scroll", fit, { passive: true });
  addEventListener("scroll", follow, { passive: true });
  new ResizeObserver(fit).observe(frame);

  onward.textContent = "The table goes on to the right: scroll it sideways, or choose fewer columns.";
  controls.hidden = csv.hidden = false;
  compare.hidden = data.compare === null;
  showPicked();
  restore();
})();
