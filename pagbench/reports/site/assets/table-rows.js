"use strict";
/* The leaderboard's cells and rows, drawn from its data as the page's own HTML draws them. */
globalThis.boardRows = (() => {
  const { element, drawn } = Dom;

  function fixed(value, decimals) {
    return (decimals === null ? String(value) : value.toFixed(decimals)).replace("-", "−");
  }

  /* A value with its interval on the scale that all models of the column share; the tick is the chance level. */
  function bar(column, [value, low, high], chance) {
    const [from, to] = column.scale;
    const at = (place) => `${to > from ? 3 + 94 * Math.min(1, Math.max(0, (place - from) / (to - from))) : 50}%`;
    const beyond = value < from || value > to;
    const figure = drawn("svg", { class: beyond ? "bar beyond" : "bar", "aria-hidden": "true" });
    figure.append(drawn("line", { class: "track", x1: 0, x2: "100%", y1: 7, y2: 7 }));
    if (chance !== null) figure.append(drawn("line", { class: "chance", x1: at(chance), x2: at(chance), y1: 1, y2: 13 }));
    figure.append(drawn("line", { class: "span", x1: at(low), x2: at(high), y1: 7, y2: 7 }));
    figure.append(drawn("line", { class: "value", x1: at(value), x2: at(value), y1: 2, y2: 12 }));
    return figure;
  }

  function numberCell(column, cell, bars) {
    const [value, low, high, own, bound] = cell;
    const made = element("td", { class: "number" }, bound ?? fixed(value, column.decimals));
    if (low === undefined || low === null) return made;
    if (bars) {
      made.append(" ", bar(column, [value, low, high], own ?? (column.chance.length === 1 ? column.chance[0] : null)));
      made.append(element("span", { class: "unseen" }, ` ±${fixed((high - low) / 2, column.decimals)}`));
    } else {
      made.append(" ", element("small", {}, `±${fixed((high - low) / 2, column.decimals)}`));
    }
    return made;
  }

  function cell(column, value, bars) {
    if (value === null) return element("td", { class: `${column.kind} none` }, "–");
    if (column.kind === "text") return element("td", { class: "text" }, value);
    if (column.kind === "number") return numberCell(column, value, bars);
    const [regime, probability] = value;
    const name = element("span", { class: `regime-${regime}` }, regime);
    return element("td", { class: "regime" }, name, " ", element("small", {}, fixed(probability, 2)));
  }

  function rankCell(rank) {
    const made = element("td", { class: "rank" }, rank === null ? "–" : String(rank[0]));
    if (rank !== null && rank[1] !== rank[2]) made.append(" ", element("small", {}, `(${rank[1]}–${rank[2]})`));
    return made;
  }

  function modelCell(row, root, picked) {
    const made = element("th", { scope: "row", class: "model" });
    const box = element("input", { type: "checkbox", class: "pick", "aria-label": `Compare ${row.id}` });
    box.dataset.id = row.id;
    box.checked = picked;
    const link = element("a", { href: root + row.page, title: `${row.id}: ${row.title}` });
    link.append(element("span", { class: "unseen" }, row.collection), row.id.slice(row.collection.length));
    made.append(box, link);
    for (const badge of row.badges) {
      const mark = element("a", { class: `badge ${badge.kind}`, href: root + row.page }, badge.word);
      mark.append(element("span", { class: "unseen" }, `: ${badge.note}`));
      mark.dataset.note = badge.note;
      made.append(" ", mark);
    }
    if (row.networks.length) {
      const list = element("ul", {}, ...row.networks.map((network) => {
        const name = element("a", { href: root + network.page }, network.id.slice(row.collection.length));
        return element("li", {}, name, " ", element("small", {}, network.values));
      }));
      made.append(" ", element("details", { class: "networks" }, element("summary", {}, `${row.networks.length} networks`), list));
    }
    if (row.reason) made.append(element("span", { class: "reason" }, row.reason));
    return made;
  }

  function row(data, columns, bars, root, picked) {
    const made = element("tr", data.meaningful ? {} : { class: "meaningless" }, rankCell(data.rank), modelCell(data, root, picked));
    made.append(...columns.map((column) => cell(column, data.cells[column.place], bars)));
    return made;
  }

  function header(column, root) {
    const button = element("button", { type: "button", class: "sort" }, column.header);
    if (column.arrow) button.append("\u00a0", element("span", { class: "arrow", "aria-hidden": "true" }, column.arrow));
    button.dataset.sort = column.name;
    const definition = document.getElementById(`definition-${column.name}`);
    if (definition) {
      button.setAttribute("aria-describedby", definition.id);
      button.dataset.note = definition.textContent;
      if (column.anchor) button.dataset.more = `${root}measures.html#${encodeURIComponent(column.anchor)}`;
    }
    const made = element("th", { scope: "col", class: column.kind }, button);
    if (column.unit && !column.header.includes(column.unit)) made.append(" ", element("small", {}, column.unit));
    return made;
  }

  function chanceCell(column) {
    return element("td", { class: column.kind }, column.chance.map((level) => fixed(level, column.decimals)).join(" to "));
  }

  return { row, header, chanceCell };
})();
