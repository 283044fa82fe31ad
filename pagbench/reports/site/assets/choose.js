"use strict";
/* Names the most aligned model at or above the reader's thresholds, and who may be just as aligned. */
(() => {
  const { element } = Dom;
  const { QUIET, interval, follow } = PlotParts;
  const select = document.getElementById("benchmark");
  const sections = [...document.querySelectorAll("section.choice")].map((section) => ({
    section, form: section.querySelector("form"), data: JSON.parse(section.querySelector("script").textContent),
  }));
  const BACKGROUND = "var(--ground)", FRONT = "var(--link)", BEST = "var(--accent)";

  const bounded = ([value, low, high]) => [value.toFixed(3), " ", element("small", {}, `[${low.toFixed(3)}, ${high.toFixed(3)}]`)];
  const ranks = ([rank, low, high]) => (low === high ? `${rank}` : `${rank} (${low}–${high})`);

  /* What the reader asks for, and the models that have it. */
  function wanted({ form, data }) {
    const { accuracy, robust, under } = form.elements;
    const least = { accuracy: +accuracy.value, robust: robust ? +robust.value : 0, under: under?.value };
    const enough = (model) => model.accuracy[0] >= least.accuracy && (!least.robust || model.robust[least.under]?.[0] >= least.robust);
    const able = data.models.filter(enough).sort((a, b) => b.alignment[0] - a.alignment[0]);
    const [best, ...others] = able;
    const tied = others.filter(({ model }) => best.tied.includes(model));
    return { least, able: new Set(able), best, tied };
  }

  function said(shown, { least, able, best, tied }) {
    const { data, section } = shown, { root } = section.dataset;
    const link = (model) => element("a", { href: root + model.page }, model.model);
    const robust = least.robust ? ` and a robust accuracy of at least ${least.robust.toFixed(2)} under ${data.robust[least.under]}` : "";
    const asked = `an accuracy of at least ${least.accuracy.toFixed(3)}${robust}`;
    if (!best) return [element("p", { class: "answer" }, `No ranked model has ${asked}.`)];
    const lines = [
      element("p", { class: "answer" }, element("span", { class: "label" }, `${able.size > 1 ? `Most aligned of the ${able.size} models` : "The only model"} with ${asked}`), link(best)),
      element("p", { class: "value" }, "Alignment ", ...bounded(best.alignment), ", accuracy ", ...bounded(best.accuracy),
        `, rank ${ranks(best.rank)} of ${data.models.length}${best.regime ? `, regime ${best.regime}` : ""}.`),
    ];
    if (best.on_target) lines.push(element("p", {}, element("strong", { class: "unsure" }, "It was trained on the target"), " that alignment is measured with."));
    if (best.accuracy[1] < least.accuracy) lines.push(element("p", {}, "The interval of its accuracy reaches below the threshold."));
    if (able.size === 1) return lines;
    const comparisons = element("a", { href: `${root}methods.html#intervals` }, "comparisons of all pairs");
    if (!tied.length) return [...lines, element("p", {}, "It is told apart from all the others by ", comparisons, " at 95 %.")];
    const ids = [best, ...tied].map(({ model }) => encodeURIComponent(model)).join(",");
    return [
      ...lines,
      element("p", {}, `${tied.length} of the others cannot be told apart from it by `, comparisons, " at 95 %. ",
        element("a", { href: `${root}${data.compare}#${ids}` }, "Compare them on the same images"), "."),
      element("ul", {}, ...tied.map((model) => element("li", {}, link(model), ": alignment ", ...bounded(model.alignment),
        ", accuracy ", ...bounded(model.accuracy), `, rank ${ranks(model.rank)}`))),
    ];
  }

  function drawn({ data, section }, { least, able, best, tied }) {
    const container = section.querySelector(".drawing"), width = container.clientWidth;
    if (!width) return;
    const near = new Set(tied), models = data.models;
    const at = { x: ({ accuracy }) => accuracy[0], y: ({ alignment }) => alignment[0] };
    const colour = (model) => (model === best ? BEST : model.front ? FRONT : QUIET);
    const words = (separator) => ({ model, accuracy, alignment, rank }) =>
      [model, `alignment ${interval(alignment)}`, `accuracy ${interval(accuracy)}`, `rank ${ranks(rank)}`].join(separator);
    const front = models.filter((model) => model.front).sort((a, b) => a.accuracy[0] - b.accuracy[0]);
    const chosen = best ? [best] : [], cross = { stroke: BEST, strokeWidth: 2 };
    const svg = Plot.plot({
      width, height: Math.max(300, Math.min(440, 0.66 * width)), marginLeft: 46, marginRight: 18, marginTop: 30, marginBottom: 42,
      x: { nice: true, ticks: width / 80, grid: true, label: "accuracy →", labelArrow: "none" },
      y: { nice: true, ticks: 6, grid: true, label: "↑ alignment", labelArrow: "none" },
      marks: [
        Plot.ruleX([least.accuracy], { stroke: "currentColor", strokeDasharray: "6 4" }),
        Plot.line(front, { ...at, curve: "step-before", stroke: FRONT, strokeWidth: 1.5 }),
        Plot.ruleX(chosen, { ...cross, x: at.x, y1: ({ alignment }) => alignment[1], y2: ({ alignment }) => alignment[2] }),
        Plot.ruleY(chosen, { ...cross, y: at.y, x1: ({ accuracy }) => accuracy[1], x2: ({ accuracy }) => accuracy[2] }),
        Plot.dot(models.filter((model) => near.has(model)), { ...at, r: 8, stroke: BEST, strokeWidth: 1.5 }),
        Plot.dot(models, {
          ...at, r: (model) => (model === best ? 6 : 4.5), stroke: colour, strokeWidth: 1.6,
          fill: (model) => (model.front || model === best ? colour(model) : BACKGROUND),
          opacity: (model) => (able.has(model) ? 1 : 0.35),
          href: ({ page }) => section.dataset.root + page, ariaLabel: words(", "),
        }),
        Plot.tip(models, Plot.pointer({ ...at, title: words("\n"), lineWidth: 28, maxRadius: 30 })),
      ],
    });
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", `Accuracy and alignment on ${data.label}`);
    svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label"));
    const links = [...svg.querySelectorAll("a")];
    for (const link of links) {
      const mark = link.firstElementChild, model = models[d3.select(mark).datum()];
      link.setAttribute("href", section.dataset.root + model.page);
      link.setAttribute("aria-label", mark.getAttribute("aria-label"));
      mark.removeAttribute("aria-label");
    }
    follow(svg, links, (model) => location.assign(section.dataset.root + model.page));
    container.replaceChildren(svg);
  }

  function show(shown) {
    const found = wanted(shown);
    for (const input of shown.form.querySelectorAll("input")) {
      const text = (+input.value).toFixed(input.name === "accuracy" ? 3 : 2);
      shown.form.querySelector(`label[for="${input.id}"] output`).textContent = text;
      input.setAttribute("aria-valuetext", text);
    }
    shown.section.querySelector(".chosen-model").replaceChildren(...said(shown, found));
    drawn(shown, found);
  }

  /* From the least to the largest accuracy; at first five points below the largest. */
  function prepare({ form, data }) {
    const accuracies = data.models.map(({ accuracy }) => accuracy[0]), { accuracy } = form.elements;
    accuracy.min = Math.floor(Math.min(...accuracies) * 100) / 100;
    accuracy.max = Math.ceil(Math.max(...accuracies) * 100) / 100;
    accuracy.value = Math.max(...accuracies) - 0.05;
    form.hidden = false;
    form.nextElementSibling.nextElementSibling.hidden = false;
  }

  const current = () => sections.find(({ data }) => data.label === select.value);

  /* The choice stands in the address, so that it can be sent to others. */
  function remember() {
    const { form, data } = current();
    const address = new URLSearchParams({ benchmark: data.label });
    for (const { name, value } of form.querySelectorAll("[name]")) address.set(name, value);
    history.replaceState(null, "", `#${address}`);
  }

  function restore() {
    const address = new URLSearchParams(location.hash.slice(1));
    const label = address.get("benchmark") ?? decodeURIComponent(location.hash.slice(1));
    const found = sections.find(({ data }) => data.label === label);
    if (found) {
      select.value = label;
      for (const field of found.form.querySelectorAll("[name]")) if (address.has(field.name)) field.value = address.get(field.name) || field.value;
    }
    turn();
  }

  function turn() {
    for (const one of sections) one.section.hidden = one !== current();
    show(current());
  }

  if (!sections.length) return;
  sections.forEach(prepare);
  document.getElementById("choose-benchmark").hidden = false;
  for (const one of sections) {
    one.form.addEventListener("submit", (event) => event.preventDefault());
    one.form.addEventListener("input", () => {
      show(one);
      remember();
    });
  }
  select.addEventListener("change", () => {
    turn();
    remember();
  });
  addEventListener("hashchange", restore);
  let width = 0;
  new ResizeObserver(() => {
    const main = document.querySelector("main").clientWidth;
    if (main !== width) show(current());
    width = main;
  }).observe(document.querySelector("main"));
  restore();
})();
