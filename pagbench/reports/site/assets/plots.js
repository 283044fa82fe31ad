"use strict";
/* Draws the plots of a benchmark's page with Observable Plot, from the JSON that stands in the page. */
(() => {
  const section = document.getElementById("plots");
  if (!section) return;
  const { element } = Dom;
  const { QUIET, STYLES, edge, symbol, interval, follow } = PlotParts;
  const { chance, diagonals, logarithmic, runs } = PlotParts;
  const BAYES = "7 4", OTHER = "4 3";
  const data = JSON.parse(document.getElementById("plots-data").textContent);
  const models = new Map(data.models.map((model) => [model.model, model]));
  const shown = new Set(data.groups.flatMap((group, index) => (group.shown ? [index] : [])));
  data.groups.forEach(({ light, dark }, index) => {
    section.style.setProperty(`--group-${index}`, `light-dark(${light}, ${dark})`);
  });

  const colour = (group) => `var(--group-${group})`;
  const style = (model) => STYLES[model.control ? "control" : model.regime ?? "none"];
  const value = (point, name) => point.values[name]?.[0];
  /* An end of an interval; where it is open, the point itself. */
  const end = (point, name, side) => point.values[name]?.[side] ?? value(point, name);
  const visible = (point) => shown.has(point.group);
  const page = (model) => section.dataset.root + model.page;
  const drawing = (id) => document.querySelector(`#${id} .drawing`);

  function described(model, names, separator) {
    const values = names.filter((name) => model.values[name]);
    const parts = values.map((name) => `${data.quantities[name]} ${model.bounds[name] ?? interval(model.values[name])}`);
    return [...parts, style(model).name].join(separator);
  }

  /* The values of the Bayes control, while it is shown. */
  function bayes(name) {
    const control = models.get(data.bayes);
    return control && visible(control) ? control.values[name] ?? [] : [];
  }

  /* Marks for models: a link each, and for the one that is pointed at its intervals, a ring, and what it is. */
  function marks(points, { x, y, xName, yName }) {
    const names = [...new Set([yName, xName, "alignment", "accuracy"].filter(Boolean))];
    const side = (name, place) => (point) => end(point, name, place);
    const pointed = (options) => Plot.pointer({ ...options, maxRadius: 30 });
    const line = { stroke: "currentColor", strokeWidth: 1.5 }, at = { px: x, py: y };
    const title = (point) => `${point.model}\n${described(point, names, "\n")}`;
    return [
      Plot.dot(points, {
        x, y, r: section.clientWidth < 600 ? 3.5 : 4.5, strokeWidth: 1.6,
        symbol: (point) => style(point).symbol,
        stroke: (point) => colour(point.group),
        fill: (point) => (style(point).hollow ? "var(--ground)" : colour(point.group)),
        href: page,
        ariaLabel: (point) => `${point.model}: ${described(point, names, ", ")}`,
      }),
      xName ? Plot.ruleY(points, pointed({ ...line, ...at, y, x1: side(xName, 1), x2: side(xName, 2) })) : null,
      Plot.ruleX(points, pointed({ ...line, ...at, x, y1: side(yName, 1), y2: side(yName, 2) })),
      Plot.dot(points, pointed({ ...line, x, y, r: 8 })),
      Plot.tip(points, pointed({ x, y, title, lineWidth: 28 })),
    ];
  }

  /* All models by two quantities, with the paths of their families. */
  function scatter(container, { xName, yName, needed = [xName, yName], log = false, xLabel, yLabel }) {
    const has = (point) => needed.every((name) => value(point, name) !== undefined);
    const points = data.models.filter((model) => visible(model) && has(model));
    if (!points.length) return container.replaceChildren("No model is shown.");
    const at = { x: (point) => value(point, xName), y: (point) => value(point, yName) };
    const judged = points.filter((point) => !point.control && style(point).tint);
    const tint = (point) => style(point).tint;
    const steps = data.paths.filter(visible).flatMap(({ points: all, group, usual }, path) =>
      all.filter(has).map((step) => ({ ...step, group, usual, path })));
    const lines = (usual, dashes) => Plot.line(steps.filter((step) => step.usual === usual), {
      ...at, z: "path", stroke: (step) => colour(step.group), strokeWidth: 1.6, strokeOpacity: 0.75, strokeDasharray: dashes,
    });
    const width = container.clientWidth;
    const scale = (channel, ticks) => (log ? logarithmic(points.map(channel), ticks) : { nice: true, ticks });
    const x = scale(at.x, width / 80), y = scale(at.y, 6);
    draw(container, points, {
      width,
      height: Math.max(320, Math.min(500, 0.66 * width)),
      marginTop: 30,
      ...(log ? { marginLeft: 56, marginRight: 56 } : {}),
      x: { ...x, grid: true, label: xLabel, labelArrow: "none" },
      y: { ...y, grid: true, label: yLabel, labelArrow: "none" },
      marks: [
        Plot.hull(judged, { ...at, z: "regime", fill: tint, fillOpacity: 0.7, stroke: (point) => edge(tint(point)) }),
        ...(log ? diagonals(x.domain, y.domain) : chance(data.chance[yName], true)),
        lines(true),
        lines(false, OTHER),
        ...marks(points, { ...at, xName, yName }),
      ],
    });
  }

  /* One path against strength. */
  function panel(container, path, { name, domain, width }) {
    const has = (point) => point.values[name] !== undefined;
    const steps = path.points.filter(has);
    const places = new Map(path.points.flatMap(({ models, place }) => models.map((model) => [model, place])));
    const members = [...places.keys()].map((model) => models.get(model));
    const points = members.filter((model) => visible(model) && has(model));
    const at = { x: (point) => places.get(point.model), y: (point) => value(point, name) };
    const labels = new Map(path.points.map(({ place, strength }) => [place, `${strength}`]));
    const [left, right] = [path.edges.slice(0, -1), path.edges.slice(1)];
    const cells = path.points.map(({ regime }, index) => ({ regime, left: left[index], right: right[index] }));
    const start = steps[0]?.strength === 0 ? 1 : 0;
    const band = { x: "place", y1: (step) => end(step, name, 1), y2: (step) => end(step, name, 2) };
    const line = { x: "place", y: (step) => value(step, name), stroke: colour(path.group), strokeWidth: 1.6 };
    draw(container, points, {
      width,
      height: 210,
      marginTop: 22,
      marginBottom: 52,
      x: {
        domain: d3.extent(path.edges), ticks: [...labels.keys()], tickFormat: (place) => labels.get(place), tickRotate: -40,
        label: path.unit, labelAnchor: "center", labelArrow: "none",
      },
      y: { domain, ticks: 4, grid: true, label: null },
      marks: [
        Plot.rect(cells.filter(({ regime }) => STYLES[regime]?.tint), {
          x1: "left", x2: "right", fill: ({ regime }) => STYLES[regime].tint,
        }),
        Plot.text(runs(cells), { x: "middle", text: "text", frameAnchor: "top", dy: -14, fill: QUIET }),
        ...chance(data.chance[name], false),
        Plot.ruleY(bayes(name).slice(0, 1), { stroke: QUIET, strokeDasharray: BAYES }),
        Plot.areaY(steps, { ...band, fill: colour(path.group), fillOpacity: 0.25 }),
        Plot.line(steps.slice(0, start + 1), { ...line, strokeDasharray: "2 3" }),
        Plot.line(steps.slice(start), line),
        ...marks(points, { ...at, yName: name }),
      ],
    });
  }

  /* Alignment against the sigma of the target along one path: its family's colour, stronger lines are wider. */
  function profile(container, { group, lines }, { domain, width }) {
    const places = lines.length - 1 || 1;
    const styled = lines.map(({ strength, points }, index) => ({
      name: `${strength}`, points, colour: strength === 0 ? "var(--quiet)" : colour(group),
      dashes: strength === 0 ? "2 3" : undefined, width: 1 + (2 * index) / places,
    }));
    const control = models.get(data.bayes);
    if (control && visible(control) && data.bayes_profile.length) {
      styled.unshift({ name: "Bayes", points: data.bayes_profile, colour: QUIET, dashes: BAYES, width: 1.2 });
    }
    const said = `${data.groups[group].name}: alignment against the sigma of the target, a line for each strength: ${
      lines.map(({ strength }) => strength).join(", ")}`;
    container.replaceChildren(Profiles.plot(styled, { sigma: data.sigma, width, height: 250, said, domain }));
  }

  function drawProfiles() {
    const container = drawing("plot-profiles");
    if (!container) return;
    const shownPaths = data.profiles.filter(visible);
    const domain = Profiles.extent([...data.profiles.flatMap(({ lines }) => lines), { points: data.bayes_profile }]);
    const places = shownPaths.map(() => element("div"));
    container.replaceChildren(...shownPaths.map(({ group, usual, make }, index) => {
      const title = data.groups[group].name + (usual ? "" : ` · ${make}`);
      return element("div", { class: "panel" }, element("h4", {}, title), places[index]);
    }));
    const options = { domain, width: places[0]?.clientWidth };
    timed("plot-profiles", () => shownPaths.forEach((path, index) => profile(places[index], path, options)));
  }

  /* sigma* against the training noise; on the diagonal both are equal. */
  function noise(container) {
    const name = "alignment_peak_sigma", families = new Set(data.noise);
    const has = (point) => families.has(point.group) && visible(point) && point.strength > 0 && point.values[name];
    const points = data.models.filter(has);
    if (!points.length) return container.replaceChildren("No model is shown.");
    const steps = data.paths.filter((path) => families.has(path.group) && visible(path)).flatMap((path, index) =>
      path.points.filter(({ strength, values }) => strength > 0 && values[name]).map((step) => ({ ...step, ...path, index, step })));
    const at = { x: "strength", y: (point) => value(point, name) };
    const of = { x: ({ step }) => step.strength, y: ({ step }) => value(step, name), z: "index" };
    const width = container.clientWidth;
    const x = logarithmic([...points.map(({ strength }) => strength), data.sigma], width / 60);
    const y = logarithmic([...points.flatMap((point) => point.values[name]), data.sigma], 8);
    const [low, high] = [Math.max(x.domain[0], y.domain[0]), Math.min(x.domain[1], y.domain[1])];
    draw(container, points, {
      width,
      height: Math.max(320, Math.min(420, 0.66 * width)),
      marginTop: 30,
      marginLeft: 56,
      x: { ...x, grid: true, label: "std of the training noise (pixel units) →", labelArrow: "none" },
      y: { ...y, grid: true, label: "↑ sigma*", labelArrow: "none" },
      marks: [
        Plot.line([low, high], { x: Plot.identity, y: Plot.identity, stroke: QUIET, strokeWidth: 1.5 }),
        Plot.text([high], { x: Plot.identity, y: Plot.identity, text: ["sigma* = noise"], dx: -44, dy: -8, fill: QUIET }),
        Plot.ruleY([data.sigma], { stroke: QUIET, strokeDasharray: "1 4" }),
        Plot.text([data.sigma], { y: Plot.identity, text: ["benchmark's sigma"], frameAnchor: "left", dx: 4, dy: -7, fill: QUIET }),
        Plot.line(steps, { ...of, stroke: ({ group }) => colour(group), strokeWidth: 1.6, strokeOpacity: 0.75 }),
        Plot.ruleX(steps, {
          x: of.x, y1: ({ step }) => end(step, name, 1), y2: ({ step }) => end(step, name, 2),
          stroke: ({ group }) => colour(group), strokeWidth: 1.6,
        }),
        ...marks(points, { ...at, yName: name }),
      ],
    });
  }

  function drawNoise() {
    const container = drawing("plot-noise");
    if (container) timed("plot-noise", () => noise(container));
  }

  /* Models by the day on which they were published or submitted, and the best ranked one so far. */
  function progress(container, name) {
    const has = (model) => visible(model) && !model.control && model.date && value(model, name) !== undefined;
    const points = data.models.filter(has).map((model) => ({ ...model, day: new Date(model.date) }));
    if (!points.length) return container.replaceChildren("No model is shown.");
    const best = data.progress[name].map((step) => ({ ...step, day: new Date(step.date) }));
    const days = d3.extent([...points, ...best], ({ day }) => day);
    if (best.length) best.push({ ...best.at(-1), day: days[1] });
    const room = Math.max(1, (days[1] - days[0]) / 864e5 / 20) * 864e5;
    draw(container, points, {
      width: container.clientWidth,
      height: 300,
      x: {
        type: "utc", domain: [days[0] - room, +days[1] + room], ticks: Math.max(2, container.clientWidth / 120),
        tickFormat: d3.utcFormat("%Y-%m-%d"), label: "published or submitted →", labelArrow: "none",
      },
      y: { nice: true, ticks: 6, grid: true, label: `↑ ${data.quantities[name]}`, labelArrow: "none" },
      marks: [
        Plot.line(best, { x: "day", y: "value", curve: "step-after", stroke: QUIET, strokeWidth: 1.6 }),
        ...marks(points, { x: "day", y: (point) => value(point, name), yName: name }),
      ],
    });
  }

  /* Puts a plot into its place, and makes links with a name of its points. */
  function draw(container, points, options) {
    const svg = Plot.plot({ marginLeft: 46, marginRight: 18, marginBottom: 42, ...options });
    svg.setAttribute("role", "group");
    svg.setAttribute("aria-label", container.closest("figure").querySelector("h3").textContent);
    svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label"));
    const links = [...svg.querySelectorAll("a")];
    for (const link of links) {
      const mark = link.firstElementChild, point = points[d3.select(mark).datum()];
      link.setAttribute("href", page(point));
      link.setAttribute("aria-label", mark.getAttribute("aria-label"));
      link.dataset.model = point.model;
      mark.removeAttribute("aria-label");
    }
    follow(svg, links, (point) => location.assign(page(point)));
    container.replaceChildren(svg);
  }

  const SCATTERS = {
    "plot-ratio": {
      xName: "log_ratio", yName: "alignment",
      xLabel: "← more robust off the manifold · log(off/on response)", yLabel: "↑ alignment",
    },
    "plot-accuracy": { xName: "accuracy", yName: "alignment", xLabel: "accuracy →", yLabel: "↑ alignment" },
    "plot-responses": {
      xName: "on_response", yName: "off_response", needed: ["on_response", "off_response", "log_ratio"], log: true,
      xLabel: "on-manifold response →", yLabel: "↑ off-manifold response",
    },
    "plot-peak": {
      xName: "accuracy", yName: "alignment_peak", xLabel: "accuracy →", yLabel: "↑ alignment at sigma*",
    },
  };

  function drawScatters() {
    for (const [id, options] of Object.entries(SCATTERS)) {
      const container = drawing(id);
      if (container) timed(id, () => scatter(container, options));
    }
  }

  function drawProgress() {
    for (const name of Object.keys(data.progress)) {
      const id = `plot-progress-${name}`;
      timed(id, () => progress(drawing(id), name));
    }
  }

  function drawPanels() {
    const container = drawing("plot-paths");
    if (!container) return;
    const name = document.getElementById("plots-quantity").value;
    const paths = data.paths.filter(visible);
    const values = paths.flatMap((path) => path.points.flatMap((point) => point.values[name] ?? []));
    const extent = d3.extent([...values, ...bayes(name).slice(0, 1), data.chance[name] ?? 0]); // which leaves out null
    const places = paths.map(() => element("div"));
    container.replaceChildren(...paths.map(({ group, usual, make }, index) => {
      const title = data.groups[group].name + (usual ? "" : ` · ${make}`);
      return element("div", { class: "panel" }, element("h4", {}, title), places[index]);
    }));
    const options = { name, domain: d3.nice(...extent, 4), width: places[0]?.clientWidth };
    timed("plot-paths", () => paths.forEach((path, index) => panel(places[index], path, options)));
  }

  function timed(id, work) {
    const start = performance.now();
    work();
    performance.measure(`draw ${id}`, { start });
  }

  function redraw() {
    drawScatters();
    drawPanels();
    drawProgress();
    drawProfiles();
    drawNoise();
  }

  /* Key and switches in one: a button for each family, and the symbols of the regimes beside them. */
  function legend() {
    const controls = new Set(data.models.flatMap(({ control, group }) => (control ? [group] : [])));
    const buttons = data.groups.map(({ name }, index) => {
      const drawn = symbol(controls.has(index) ? d3.symbolStar : d3.symbolCircle, colour(index), colour(index));
      const button = element("button", { type: "button", "aria-pressed": shown.has(index) }, drawn, name);
      button.addEventListener("click", () => {
        if (!shown.delete(index)) shown.add(index);
        button.ariaPressed = shown.has(index);
        redraw();
      });
      return button;
    });
    const regimes = new Set(data.models.filter(({ control }) => !control).map(({ regime }) => regime ?? "none"));
    const items = Object.keys(STYLES).filter((key) => regimes.has(key)).map((key) => {
      const { symbol: type, hollow, tint, name } = STYLES[key];
      const item = element("li", {}, symbol(type, hollow ? "var(--ground)" : "currentColor", "currentColor"), name);
      if (tint) Object.assign(item.style, { background: tint, borderColor: edge(tint) });
      return item;
    });
    document.getElementById("plots-legend").append(
      element("div", { class: "families", role: "group", "aria-label": "Families shown" }, ...buttons),
      element("ul", { class: "regimes", "aria-label": "Symbols of regimes" }, ...items),
    );
  }

  function selector() {
    const container = drawing("plot-paths");
    if (!container) return;
    const options = Object.entries(data.quantities).map(([name, said]) => element("option", { value: name }, said));
    const select = element("select", { id: "plots-quantity" }, ...options);
    select.addEventListener("change", drawPanels);
    container.before(element("label", { class: "quantity" }, "Quantity ", select));
  }

  legend();
  selector();
  let width = 0;
  new ResizeObserver(() => {
    if (section.clientWidth && section.clientWidth !== width) redraw(); // no width: the page is not laid out
    width = section.clientWidth;
  }).observe(section);
})();
