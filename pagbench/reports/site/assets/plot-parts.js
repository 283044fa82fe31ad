"use strict";
/* What the plots are made of: symbols, numbers in words, scales, and keys and pointers. It knows no data. */
const PlotParts = (() => {
  const CHANCE = "1 4", QUIET = "var(--quiet)";

  /* Regimes and controls: a symbol each, so that colour (the family's) never stands alone. */
  const STYLES = {
    weak: { name: "weak", short: "weak", symbol: d3.symbolCircle, hollow: true, tint: "var(--regime-weak)" },
    "bayes-aligned": { name: "Bayes-aligned", short: "Bayes", symbol: d3.symbolCircle, tint: "var(--regime-bayes-aligned)" },
    excessive: { name: "excessive", short: "exc.", symbol: d3.symbolSquare, tint: "var(--regime-excessive)" },
    boundary: { name: "boundary", short: "?", symbol: d3.symbolDiamond2, hollow: true },
    none: { name: "not judged", symbol: d3.symbolTriangle },
    control: { name: "control", symbol: d3.symbolStar },
  };
  const edge = (tint) => `color-mix(in oklab, ${tint}, var(--text) 20%)`;

  function symbol(type, fill, stroke) {
    const svg = d3.create("svg").attr("viewBox", "-8 -8 16 16").attr("aria-hidden", "true");
    svg.append("path").attr("d", d3.symbol(type, 60)()).attr("fill", fill).attr("stroke", stroke);
    return svg.node();
  }

  function number(value) {
    const text = value !== 0 && Math.abs(value) < 0.1 ? value.toPrecision(2) : value.toFixed(2);
    return text.replace("-", "−");
  }

  function interval([estimate, low, high]) {
    const bounds = low === null || high === null ? "" : ` [${number(low)}, ${number(high)}]`;
    return number(estimate) + bounds;
  }

  function chance(level, named) {
    if (level === undefined) return [];
    const text = { y: Plot.identity, text: ["chance"], frameAnchor: "left", dx: 4, dy: -7, fill: QUIET };
    return [Plot.ruleY([level], { stroke: QUIET, strokeDasharray: CHANCE }), named ? Plot.text([level], text) : null];
  }

  /* Lines of equal log off/on, the diagonal drawn through, each with its value where it leaves the frame. */
  function diagonals([left, right], [bottom, top]) {
    const ratios = d3.ticks(Math.log(bottom / right), Math.log(top / left), 6).filter(Number.isInteger);
    const lines = ratios.map((ratio) => {
      const factor = Math.exp(ratio), x1 = Math.max(left, bottom / factor), x2 = Math.min(right, top / factor);
      return { ratio, x1, x2, y1: x1 * factor, y2: x2 * factor, above: x2 < right };
    });
    const ends = { x1: "x1", y1: "y1", x2: "x2", y2: "y2", stroke: QUIET };
    const text = ({ ratio }) => (ratio === 0 ? "off = on" : `${ratio}`.replace("-", "−"));
    const label = (above, more) =>
      Plot.text(lines.filter((line) => line.above === above), { x: "x2", y: "y2", text, fill: QUIET, ...more });
    return [
      Plot.link(lines.filter(({ ratio }) => ratio === 0), { ...ends, strokeWidth: 1.5 }),
      Plot.link(lines.filter(({ ratio }) => ratio !== 0), { ...ends, strokeDasharray: CHANCE }),
      label(true, { dy: -8 }),
      label(false, { dx: 5, textAnchor: "start" }),
    ];
  }

  /* Some room around positive values, and ticks at 1, 2 and 5 of each power of ten; at the powers where there are many. */
  function logarithmic(values, room) {
    const [low, high] = d3.extent(values), domain = [low / 1.15, high * 1.15];
    const powers = d3.range(Math.floor(Math.log10(domain[0])), Math.ceil(Math.log10(domain[1])) + 1);
    const inside = (digits) => powers.flatMap((power) => digits.map((digit) => +`${digit}e${power}`))
      .filter((tick) => domain[0] <= tick && tick <= domain[1]);
    const fine = inside([1, 2, 5]);
    return { type: "log", domain, ticks: fine.length > room ? inside([1]) : fine, tickFormat: "~g" };
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
      const text = [name, short].find((said) => said.length < room) ?? "";
      return { middle: (left + right) / 2, text };
    });
  }

  /* One stop of the Tab key for each plot, and arrow keys from point to point; focus shows what pointing shows. */
  function follow(svg, links, open) {
    const tell = (type, link) => {
      const box = link?.getBoundingClientRect();
      const where = box ? { clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 } : {};
      svg.dispatchEvent(new PointerEvent(type, { pointerType: "mouse", ...where }));
    };
    const choose = (chosen) => links.forEach((link) => link.setAttribute("tabindex", link === chosen ? 0 : -1));
    choose(links[0]);
    svg.addEventListener("focusin", (event) => {
      choose(event.target);
      tell("pointermove", event.target);
    });
    svg.addEventListener("focusout", () => tell("pointerleave"));
    svg.addEventListener("keydown", (event) => {
      if (event.key === "Escape") tell("pointerleave");
      const index = links.indexOf(document.activeElement), last = links.length - 1;
      const steps = { ArrowRight: index + 1, ArrowDown: index + 1, ArrowLeft: index - 1, ArrowUp: index - 1 };
      const next = { ...steps, Home: 0, End: last }[event.key];
      if (next === undefined || index < 0) return;
      event.preventDefault();
      links[Math.max(0, Math.min(last, next))].focus();
    });
    // A click opens the page of the point that is shown; Plot's own meaning of it, a tip that stays, would be in the way.
    svg.addEventListener("pointerdown", (event) => event.stopImmediatePropagation(), true);
    let touched = null;
    svg.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (event.pointerType === "touch" && link !== touched) event.preventDefault(); // it shows; the next one opens
      else if (event.pointerType === "mouse" && !link && svg.value) open(svg.value);
      touched = link;
    });
  }

  return { QUIET, STYLES, edge, symbol, interval, chance, diagonals, logarithmic, runs, follow };
})();
