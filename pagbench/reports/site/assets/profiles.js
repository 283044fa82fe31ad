"use strict";
/* Draws alignment against the sigma of the target with Observable Plot: lines with bands, for pages of all kinds. */
const Profiles = (() => {
  const { QUIET, interval } = PlotParts;
  const { element } = Dom;

  const LINE_HEIGHT = 13;

  /* A name beside the end of each line, moved apart where ends are close; `room` is a pixel in units of the axis. */
  function names(lines, room) {
    const ends = lines.map((line) => ({ line, at: line.points.at(-1)[0], end: line.points.at(-1)[1] }));
    const sorted = ends.sort((a, b) => b.end - a.end), apart = LINE_HEIGHT * room;
    sorted.forEach((label, index) => {
      label.place = index ? Math.min(label.end, sorted[index - 1].place - apart) : label.end;
    });
    const below = d3.mean(sorted, ({ end, place }) => end - place); // as much above as below
    return sorted.map((label) => ({ ...label, place: label.place + below }));
  }

  /* Lines with `name`, `colour`, `points` of [sigma, value, low, high], and maybe `dashes` and `width`. */
  function plot(lines, { sigma, width, height = 260, said, domain, named = true }) {
    const points = lines.flatMap((line) =>
      line.points.map(([at, value, low, high]) => ({ line, at, value, low: low ?? value, high: high ?? value })));
    const sigmas = [...new Set(points.map(({ at }) => at))].sort(d3.ascending);
    const room = Math.max(2, width / 70), step = Math.ceil(sigmas.length / room);
    const curve = ({ line }) => lines.indexOf(line), stroke = ({ line }) => line.colour;
    const title = ({ line, at, value, low, high }) => `${line.name}\nsigma ${at}: ${interval([value, low, high])}`;
    const within = domain ?? extent(lines), marginTop = 30, marginBottom = 42;
    const labels = named ? names(lines, (within[1] - within[0]) / (height - marginTop - marginBottom)) : [];
    const marginRight = 18 + 7 * d3.max(labels, ({ line }) => line.name.length) || 18;
    const drawn = lines.map((line) => Plot.line(points.filter((point) => point.line === line), {
      x: "at", y: "value", stroke: line.colour, strokeWidth: line.width ?? 1.8, strokeDasharray: line.dashes,
    }));
    const svg = Plot.plot({
      width, height, marginTop, marginLeft: 40, marginRight, marginBottom,
      x: {
        type: "log", domain: d3.extent(sigmas), ticks: sigmas.filter((_, index) => index % step === 0), tickFormat: "~g",
        label: "sigma of the target (pixel units) →", labelArrow: "none",
      },
      y: { domain: within, ticks: 5, grid: true, label: "↑ alignment", labelArrow: "none" },
      marks: [
        Plot.ruleX([sigma], { stroke: QUIET, strokeDasharray: "1 4", strokeWidth: 1.5 }),
        Plot.text([sigma], {
          x: Plot.identity, text: ["benchmark's sigma"], frameAnchor: "bottom", textAnchor: "start", dx: 4, dy: -5, fill: QUIET,
        }),
        Plot.areaY(points, { x: "at", y1: "low", y2: "high", z: curve, fill: stroke, fillOpacity: 0.2 }),
        ...drawn,
        Plot.dot(points, { x: "at", y: "value", r: 2.2, fill: stroke }),
        Plot.text(labels, {
          x: "at", y: "place", text: ({ line }) => line.name, textAnchor: "start", dx: 7, fill: stroke, fontWeight: 600,
        }),
        Plot.tip(points, Plot.pointer({ x: "at", y: "value", title, maxRadius: 30 })),
      ],
    });
    svg.querySelectorAll("g[aria-label]").forEach((group) => group.removeAttribute("aria-label"));
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", said);
    return svg;
  }

  /* From zero, or below it, to one. */
  function extent(lines) {
    const values = lines.flatMap(({ points }) => points.flatMap(([, ...bounds]) => bounds));
    return [Math.min(0, d3.min(values)), Math.max(1, d3.max(values))];
  }

  /* Whose line is which, where names are too long to stand beside them. */
  function key(lines) {
    return element("ul", { class: "profile-key" }, ...lines.map(({ name, colour, dashes }) => {
      const item = element("li", {}, Dom.drawn("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" },
        Dom.drawn("path", { d: "M0 4H24", stroke: colour, ...(dashes ? { "stroke-dasharray": dashes } : {}) })), name);
      return item;
    }));
  }

  /* Draws into a place, and again when its width changes. */
  function keep(container, draw) {
    let width = 0;
    new ResizeObserver(() => {
      if (container.clientWidth && container.clientWidth !== width) {
        width = container.clientWidth;
        draw(width);
      }
    }).observe(container);
  }

  /* The figures of a model's page. */
  const KINDS = { own: { colour: "var(--accent)" }, bayes: { colour: "var(--good)", dashes: "7 4", width: 1.4 } };
  for (const figure of document.querySelectorAll("figure.profile")) {
    const { sigma, lines, said } = JSON.parse(figure.querySelector("script").textContent);
    const container = figure.querySelector(".drawing");
    const styled = lines.map((line) => ({ ...line, ...KINDS[line.kind] }));
    keep(container, (width) => container.replaceChildren(plot(styled, { sigma, width, said })));
  }

  return { plot, extent, key, keep };
})();
