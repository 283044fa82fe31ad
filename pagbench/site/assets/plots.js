"use strict";
/* Draws the plots of a benchmark's page with Observable Plot, from the JSON that stands in the page. */
(() => {
  const section = document.getElementById("plots");
  if (!section) return;
  const data = JSON.parse(document.getElementById("plots-data").textContent);
  const entrants = new Map(data.entrants.map((entrant) => [entrant.model, entrant]));
  const shown = new Set(data.groups.keys().filter((index) => data.groups[index].shown));
  const CHANCE = "1 4", BAYES = "7 4", OTHER = "4 3";
  const STYLES = {
    weak: { name: "weak", short: "weak", symbol: d3.symbolCircle, hollow: true, tint: "var(--weak)" },
    "bayes-aligned": { name: "Bayes-aligned", short: "Bayes", symbol: d3.symbolCircle, tint: "var(--bayes)" },
    excessive: { name: "excessive", short: "exc.", symbol: d3.symbolSquare, tint: "var(--excessive)" },
    boundary: { name: "boundary", short: "?", symbol: d3.symbolDiamond2, hollow: true },
    none: { name: "not judged", symbol: d3.symbolTriangle },
    control: { name: "control", symbol: d3.symbolStar },
  };
  data.groups.forEach(({ light, dark }, index) => {
    section.style.setProperty(`--group-${index}`, `light-dark(${light}, ${dark})`);
  });

  const colour = (group) => `var(--group-${group})`;
  const style = (entrant) => STYLES[entrant.control ? "control" : entrant.regime ?? "none"];
  const value = (point, name) => point.values[name]?.[0];
  const edge = (tint) => `color-mix(in oklab, ${tint}, var(--text) 20%)`;
  const visible = (point) => shown.has(point.group);
  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };

  function number(value) {
    const text = value !== 0 && Math.abs(value) < 0.1 ? value.toPrecision(2) : value.toFixed(2);
    return text.replace("-", "−");
  }

  function interval([estimate, low, high]) {
    return low === null || high === null ? number(estimate) : `${number(estimate)} [${number(low)}, ${number(high)}]`;
  }

  function described(entrant, names, separator) {
    const values = names.filter((name) => entrant.values[name]);
    const parts = values.map((name) => `${data.quantities[name]} ${interval(entrant.values[name])}`);
    return [...parts, style(entrant).name].join(separator);
  }

  /* Marks for the point that is pointed at: its intervals, a ring, and what it is. */
  function pointed(points, x, y, { place = (point) => value(point, x), names }) {
    const at = { x: place, y: (point) => value(point, y) };
    const bound = (name, side) => (point) => point.values[name]?.[side] ?? undefined;
    const pointer = (options) => Plot.pointer({ ...options, maxRadius: 30 });
    const line = { stroke: "currentColor", strokeWidth: 1.5 };
    const across = x === null ? [] : [Plot.ruleY(points, pointer({ ...line, px: at.x, py: at.y, y: at.y, x1: bound(x, 1), x2: bound(x, 2) }))];
    return [
      ...across,
      Plot.ruleX(points, pointer({ ...line, px: at.x, py: at.y, x: at.x, y1: bound(y, 1), y2: bound(y, 2) })),
      Plot.dot(points, pointer({ ...at, ...line, r: 8 })),
      Plot.tip(points, pointer({ ...at, lineWidth: 24, textPadding: 8, title: (point) => `${point.model}\n${described(point, names, "\n")}` })),
    ];
  }

  function dots(points, at, names) {
    return Plot.dot(points, {
      ...at,
      r: 4.5,
      strokeWidth: 1.6,
      stroke: (point) => colour(point.group),
      fill: (point) => (style(point).hollow ? "var(--ground)" : colour(point.group)),
      symbol: (point) => style(point).symbol,
      href: (point) => section.dataset.root + point.page,
      ariaLabel: (point) => `${point.model}: ${described(point, names, ", ")}`,
    });
  }

  /* All models by two quantities, with the paths of their families. */
  function scatter(container, { x, y, needed = [x, y], log = false, xLabel, yLabel, back = () => [] }) {
    const has = (point) => needed.every((name) => value(point, name) !== undefined);
    const points = data.entrants.filter((entrant) => visible(entrant) && has(entrant));
    const judged = points.filter((point) => !point.control && style(point).tint);
    const steps = data.paths.flatMap((path, index) =>
      path.points.filter(has).map((point) => ({ ...point, group: path.group, usual: path.usual, path: index })));
    const line = (usual, more) => Plot.line(steps.filter((step) => visible(step) && step.usual === usual), {
      x: (step) => value(step, x), y: (step) => value(step, y), z: "path", stroke: (step) => colour(step.group), strokeOpacity: 0.75, ...more,
    });
    const at = { x: (point) => value(point, x), y: (point) => value(point, y) };
    if (!points.length) return container.replaceChildren("No model is shown.");
    const names = [...new Set([y, x, "alignment", "accuracy"])];
    const width = container.clientWidth;
    const scale = (name, ticks) => (log ? logarithmic(points.map((point) => value(point, name)), ticks) : { nice: true, ticks });
    const [xScale, yScale] = [scale(x, width / 80), scale(y, 6)];
    draw(container, points, {
      height: Math.max(320, Math.min(500, 0.66 * width)),
      marginTop: 30,
      ...(log ? { marginLeft: 56, marginRight: 56 } : {}),
      x: { ...xScale, grid: true, label: xLabel, labelArrow: "none" },
      y: { ...yScale, grid: true, label: yLabel, labelArrow: "none" },
      marks: [
        Plot.hull(judged, { ...at, z: "regime", fill: (point) => style(point).tint, fillOpacity: 0.7, stroke: (point) => edge(style(point).tint) }),
        ...back(points, xScale.domain, yScale.domain),
        line(true, { strokeWidth: 1.6 }),
        line(false, { strokeWidth: 1.4, strokeDasharray: OTHER }),
        dots(points, at, names),
        ...pointed(points, x, y, { names }),
      ],
    });
  }

  function chance(name, width) {
    const level = data.chance[name];
    if (level === undefined) return [];
    const text = Plot.text([level], { y: Plot.identity, text: ["chance"], frameAnchor: "right", dy: -7, textAnchor: "end", fill: "var(--quiet)" });
    return [Plot.ruleY([level], { stroke: "var(--quiet)", strokeDasharray: CHANCE }), ...(width ? [text] : [])];
  }

  /* Lines of equal log off/on, the diagonal drawn through, each with its value where it leaves the frame. */
  function diagonals(points, [left, right], [bottom, top]) {
    const ratios = d3.ticks(Math.log(bottom / right), Math.log(top / left), 6).filter(Number.isInteger);
    const lines = ratios.map((ratio) => {
      const factor = Math.exp(ratio), x1 = Math.max(left, bottom / factor), x2 = Math.min(right, top / factor);
      return { ratio, x1, x2, y1: x1 * factor, y2: x2 * factor, above: x2 < right };
    });
    const ends = { x1: "x1", y1: "y1", x2: "x2", y2: "y2", stroke: "var(--quiet)" };
    const name = ({ ratio }) => (ratio === 0 ? "off = on" : `${ratio}`.replace("-", "−"));
    const label = (above, more) => Plot.text(lines.filter((line) => line.above === above), { x: "x2", y: "y2", text: name, fill: "var(--quiet)", ...more });
    return [
      Plot.link(lines.filter(({ ratio }) => ratio === 0), { ...ends, strokeWidth: 1.5 }),
      Plot.link(lines.filter(({ ratio }) => ratio !== 0), { ...ends, strokeDasharray: CHANCE }),
      label(true, { dy: -8 }),
      label(false, { dx: 5, textAnchor: "start" }),
    ];
  }

  /* Some room around positive values, and ticks at 1, 2 and 5 of each power of ten. */
  function logarithmic(values, room) {
    const [low, high] = d3.extent(values), domain = [low / 1.15, high * 1.15];
    const ticks = d3.range(Math.floor(Math.log10(low)) - 1, Math.ceil(Math.log10(high)) + 1)
      .flatMap((power) => [1, 2, 5].map((digit) => +`${digit}e${power}`));
    const inside = ticks.filter((tick) => domain[0] <= tick && tick <= domain[1]);
    return { type: "log", domain, ticks: inside.length > room ? inside.filter((tick) => /^0?\.?0*1/.test(`${tick}`)) : inside, tickFormat: "~g" };
  }

  /* One path against strength. */
  function panel(container, path, name, domain) {
    const has = (point) => point.values[name] !== undefined;
    const steps = path.points.filter(has);
    const place = new Map(path.points.flatMap((point) => point.models.map((model) => [model, point.place])));
    const points = [...place.keys()].map((model) => entrants.get(model)).filter(has);
    const cells = path.points.map(({ regime }, index) => ({ regime, left: path.edges[index], right: path.edges[index + 1] }));
    const start = steps[0]?.strength === 0 ? 1 : 0;
    const at = { x: (point) => place.get(point.model), y: (point) => value(point, name) };
    const line = { x: "place", y: (step) => value(step, name), stroke: colour(path.group), strokeWidth: 1.6 };
    const label = new Map(path.points.map((point) => [point.place, `${point.strength}`]));
    const names = [...new Set([name, "alignment", "accuracy"])];
    const bayes = shown.has(data.groups.findIndex((group) => group.name === "Bayes control")) ? data.bayes[name] : undefined;
    draw(container, points, {
      height: 210,
      marginBottom: 52,
      marginTop: 22,
      x: { domain: [path.edges[0], path.edges.at(-1)], ticks: [...label.keys()], tickFormat: (tick) => label.get(tick), tickRotate: -40, label: path.unit, labelAnchor: "center", labelArrow: "none" },
      y: { domain, ticks: 4, grid: true, label: null },
      marks: [
        Plot.rect(cells.filter(({ regime }) => STYLES[regime]?.tint), { x1: "left", x2: "right", fill: ({ regime }) => STYLES[regime].tint }),
        Plot.text(runs(cells), { x: "middle", text: "name", frameAnchor: "top", dy: -14, fill: "var(--quiet)" }),
        ...chance(name, false),
        ...(bayes ? [Plot.ruleY([bayes[0]], { stroke: "var(--quiet)", strokeDasharray: BAYES })] : []),
        Plot.areaY(steps, { x: "place", y1: (step) => step.values[name][1], y2: (step) => step.values[name][2], fill: colour(path.group), fillOpacity: 0.25 }),
        Plot.line(steps.slice(0, start + 1), { ...line, strokeDasharray: "2 3" }),
        Plot.line(steps.slice(start), line),
        dots(points, at, names),
        ...pointed(points, null, name, { place: at.x, names }),
      ],
    });
  }

  /* Neighbouring strengths of one regime, with a name that fits. */
  function runs(cells) {
    const span = cells.at(-1).right - cells[0].left, found = [];
    for (const { regime, left, right } of cells) {
      if (found.at(-1)?.regime === regime) found.at(-1).right = right;
      else found.push({ regime, left, right });
    }
    return found.filter(({ regime }) => regime).map(({ regime, left, right }) => {
      const { name, short } = STYLES[regime], room = (30 * (right - left)) / span;
      return { middle: (left + right) / 2, name: room > name.length ? name : room > short.length ? short : "" };
    });
  }

  /* Puts a plot into its place, its points reachable by pointer, touch and keyboard. */
  function draw(container, points, options) {
    const narrow = container.clientWidth < 480;
    const svg = Plot.plot({ width: container.clientWidth, marginLeft: 46, marginRight: narrow ? 14 : 24, marginBottom: 42, ...options });
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", container.closest("figure").querySelector("h3").textContent);
    svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label"));
    const links = [...svg.querySelectorAll("a")];
    links.forEach((link, index) => {
      const symbol = link.firstElementChild;
      const point = points[d3.select(symbol).datum()];
      link.setAttribute("href", link.getAttributeNS("http://www.w3.org/1999/xlink", "href"));
      link.setAttribute("aria-label", symbol.getAttribute("aria-label"));
      link.setAttribute("tabindex", index === 0 ? 0 : -1);
      link.dataset.model = point.model;
      symbol.removeAttribute("aria-label");
    });
    follow(svg, links);
    container.replaceChildren(svg);
    return svg;
  }

  /* One stop of the Tab key for each plot; arrow keys go from point to point. Focus shows what pointing shows. */
  function follow(svg, links) {
    const tell = (type, link) => {
      const box = link?.getBoundingClientRect();
      const where = box ? { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 } : {};
      svg.dispatchEvent(new PointerEvent(type, { pointerType: "mouse", ...where }));
    };
    svg.addEventListener("pointerdown", (event) => event.stopImmediatePropagation(), true); // no tip that sticks: a click opens the page
    svg.addEventListener("focusin", (event) => {
      links.forEach((link) => link.setAttribute("tabindex", link === event.target ? 0 : -1));
      tell("pointermove", event.target);
    });
    svg.addEventListener("focusout", () => tell("pointerleave"));
    svg.addEventListener("keydown", (event) => {
      const index = links.indexOf(document.activeElement);
      const next = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1, Home: 0, End: links.length - 1 }[event.key];
      if (event.key === "Escape") tell("pointerleave");
      if (next === undefined || index < 0) return;
      event.preventDefault();
      links[Math.max(0, Math.min(links.length - 1, next))].focus({ preventScroll: false });
    });
    svg.addEventListener("click", (event) => {
      if (event.target.closest("a") || !svg.value || event.pointerType === "touch") return;
      location.href = section.dataset.root + svg.value.page;
    });
  }

  const SCATTERS = {
    "plot-ratio": { x: "log_ratio", y: "alignment", xLabel: "← more robust off the manifold · log(off/on response)", yLabel: "↑ alignment", back: () => chance("alignment", true) },
    "plot-accuracy": { x: "accuracy", y: "alignment", xLabel: "accuracy →", yLabel: "↑ alignment", back: () => chance("alignment", true) },
    "plot-responses": { x: "on_response", y: "off_response", needed: ["on_response", "off_response", "log_ratio"], log: true, xLabel: "on-manifold response →", yLabel: "↑ off-manifold response", back: diagonals },
  };

  function drawing(id) {
    return document.querySelector(`#${id} .drawing`);
  }

  function drawScatters() {
    for (const [id, options] of Object.entries(SCATTERS)) {
      const container = drawing(id);
      if (container) timed(id, () => scatter(container, options));
    }
  }

  function drawPanels() {
    const container = drawing("plot-paths");
    if (!container) return;
    const name = document.getElementById("plots-quantity").value;
    const paths = data.paths.filter(visible);
    const values = paths.flatMap((path) => path.points.flatMap((point) => point.values[name] ?? []));
    const domain = d3.nice(...d3.extent([...values, ...(data.bayes[name] ?? []), data.chance[name] ?? 0].filter((part) => part !== null)), 4);
    timed("plot-paths", () => {
      const places = paths.map(() => element("div"));
      container.replaceChildren(...paths.map((path, index) =>
        element("div", { className: "panel" }, element("h4", { textContent: [data.groups[path.group].name, ...(path.usual ? [] : [path.make])].join(" · ") }), places[index])));
      paths.forEach((path, index) => panel(places[index], path, name, domain));
    });
  }

  function timed(id, work) {
    const start = performance.now();
    work();
    performance.measure(`draw ${id}`, { start });
  }

  /* Key and switches in one: a button for each family, the symbols of the regimes beside them. */
  function legend() {
    const symbol = (type, fill, stroke) => {
      const svg = d3.create("svg").attr("viewBox", "-8 -8 16 16").attr("width", 16).attr("height", 16).attr("aria-hidden", "true");
      svg.append("path").attr("d", d3.symbol(type, 60)()).attr("fill", fill).attr("stroke", stroke).attr("stroke-width", 1.8);
      return svg.node();
    };
    const buttons = data.groups.map(({ name }, index) => {
      const control = data.entrants.some((entrant) => entrant.group === index && entrant.control);
      const button = element("button", { type: "button" }, symbol(control ? d3.symbolStar : d3.symbolCircle, colour(index), colour(index)), name);
      button.setAttribute("aria-pressed", shown.has(index));
      button.addEventListener("click", () => {
        if (!shown.delete(index)) shown.add(index);
        button.setAttribute("aria-pressed", shown.has(index));
        redraw();
      });
      return button;
    });
    const families = element("div", { className: "families", role: "group", ariaLabel: "Families shown" }, ...buttons);
    const present = Object.keys(STYLES).filter((key) => data.entrants.some((entrant) => !entrant.control && (entrant.regime ?? "none") === key));
    const key = element("ul", { className: "regimes", ariaLabel: "Symbols of regimes" }, ...present.map((name) => {
      const { symbol: type, hollow, tint, name: said } = STYLES[name];
      const item = element("li", {}, symbol(type, hollow ? "var(--ground)" : "currentColor", "currentColor"), said);
      if (tint) Object.assign(item.style, { background: tint, borderColor: edge(tint) });
      return item;
    }));
    document.getElementById("plots-legend").append(families, key);
  }

  function selector() {
    const container = drawing("plot-paths");
    if (!container) return;
    const options = Object.entries(data.quantities).map(([value, textContent]) => element("option", { value, textContent }));
    const select = element("select", { id: "plots-quantity" }, ...options);
    select.addEventListener("change", drawPanels);
    container.before(element("label", { className: "quantity" }, "Quantity ", select));
  }

  function redraw() {
    drawScatters();
    drawPanels();
  }

  let width = 0;
  legend();
  selector();
  new ResizeObserver(() => {
    if (section.clientWidth && section.clientWidth !== width) redraw(); // no width: the page is not laid out
    width = section.clientWidth;
  }).observe(section);
})();
