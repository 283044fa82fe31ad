"use strict";
/* Compares the models that the address names after its #: differences of bootstrap replicates, paired over models. */

const { element, addressOf, breakable } = Dom;
const setting = JSON.parse(document.getElementById("comparison").textContent);
const { showPictures, showMade } = ComparedPictures;
const root = document.querySelector("a.brand").getAttribute("href").replace(/index\.html$/, "");
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const NONE = 4095;

/* Models: each in a script of its own, loaded when it is asked for, for a page on disk may not fetch. */
const loaded = new Map();
const waiting = new Map();
globalThis.pagbench = { compare: (model) => waiting.get(model.id)?.(decoded(model)) };

function load(id) {
  if (!loaded.has(id)) {
    loaded.set(id, new Promise((resolve, reject) => {
      waiting.set(id, resolve);
      const script = document.createElement("script");
      script.src = `${root}data/replicates/${encodeURIComponent(setting.label)}/${addressOf(id)}.js`;
      script.addEventListener("error", () => reject(new Error(`The data of ${id} are missing; build the site again.`)));
      document.head.append(script);
    }));
  }
  return loaded.get(id);
}

function decoded(model) {
  const replicates = {};
  for (const [name, coded] of Object.entries(model.replicates)) {
    replicates[name] = coded && { step: coded[1], values: values(...coded) };
  }
  return { ...model, replicates };
}

function values(low, step, codes) {
  return Float64Array.from({ length: codes.length / 2 }, (_, index) => {
    const code = 64 * ALPHABET.indexOf(codes[2 * index]) + ALPHABET.indexOf(codes[2 * index + 1]);
    return code === NONE ? NaN : low + code * step;
  });
}

/* The difference of a statistic, its 95 % interval, and the probability that it is above zero; null without replicates. */
function difference(model, baseline, name) {
  const [ours, theirs] = [model.replicates[name], baseline.replicates[name]];
  if (!ours || !theirs || model.values[name][0] === null || baseline.values[name][0] === null) return null;
  const drawn = ours.values.map((value, index) => value - theirs.values[index]).filter(Number.isFinite).sort();
  if (!drawn.length) return null;
  const resolved = (ours.step + theirs.step) / 2;
  const above = drawn.reduce((sum, value) => sum + (value > resolved ? 1 : value >= -resolved ? 0.5 : 0), 0);
  return {
    value: model.values[name][0] - baseline.values[name][0],
    low: quantile(drawn, 0.025),
    high: quantile(drawn, 0.975),
    probability: above / drawn.length,
  };
}

function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

/* Text, by the rule of the leaderboard's table: two digits of half an interval count below 35, one from there on. */
function decimals(low, high) {
  const half = (high - low) / 2;
  if (!(half > 0)) return 3;
  const exponent = Math.floor(Math.log10(half));
  const leading = Math.round(half / 10 ** (exponent - 2));
  const carries = leading >= 950 ? 1 : 0;
  return Math.min(6, Math.max(0, (leading < 355 || carries ? 1 : 0) - exponent - carries));
}

const bounds = (low, high) => `[${low.toFixed(decimals(low, high))}, ${high.toFixed(decimals(low, high))}]`;
const signed = (value, digits) => (value > 0 ? "+" : "") + value.toFixed(digits);

function certainty(probability) {
  if (probability > 0.999) return ">\u00a00.999";
  return probability < 0.001 ? "<\u00a00.001" : probability.toFixed(3);
}

/* What is compared stands in the address: one comma-separated list, so that it can be sent to others. */
function named() {
  const ids = location.hash.slice(1).split(",").filter(Boolean).map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return ids.length ? [...new Set(ids)] : setting.chosen;
}

function choose(ids) {
  location.hash = ids.map(encodeURIComponent).join(",");
}

const known = (id) => Object.hasOwn(setting.networks, id);

function refused(id) {
  if (!known(id)) return `No model ${id} was measured on ${setting.label}.`;
  return setting.networks[id] && `${id} cannot be compared: ${setting.networks[id]}, and only models on the same images with the same noise are.`;
}

async function show() {
  const ids = named();
  const able = ids.filter((id) => !refused(id));
  const problems = ids.filter(refused).map(refused);
  const found = await Promise.all(able.map((id) => load(id).catch((error) => void problems.push(error.message))));
  if (String(named()) !== String(ids)) return; // the address has changed meanwhile
  const models = found.filter(Boolean);
  showChosen(models);
  showSentences(models, problems);
  showTable(models);
  showProfiles(models);
  showPictures(models, root);
  showMade(models, setting.tasks, modelLink, root);
}

function showChosen(models) {
  const ids = models.map((model) => model.id);
  document.getElementById("chosen").replaceChildren(...models.map((model, place) => {
    const others = ids.filter((id) => id !== model.id);
    const item = element("li", {}, modelLink(model.id), " ");
    item.append(place ? button("make it the baseline", () => choose([model.id, ...others])) : "baseline");
    if (ids.length > 1) item.append(" ", button("remove", () => choose(others)));
    item.append(element("p", {}, model.summary));
    return item;
  }));
}

function modelLink(id) {
  return element("a", { href: `${root}models/${addressOf(id)}.html` }, id);
}

function button(text, act) {
  const made = element("button", { type: "button" }, text);
  made.addEventListener("click", () => {
    act();
    document.getElementById("chosen").focus(); // the button itself goes with the list that is drawn anew
  });
  return made;
}

function showSentences(models, problems) {
  const [baseline, ...others] = models;
  const sentences = others.map((model) => sentence(model, baseline));
  if (!others.length) sentences.push("Add a second model to see how the two differ.");
  document.getElementById("said").replaceChildren(
    ...problems.map((text) => element("p", { class: "bad" }, text)),
    ...sentences.map((text) => element("p", { class: "sentence" }, text)),
  );
}

function sentence(model, baseline) {
  const found = difference(model, baseline, "alignment");
  if (!found) {
    const lacking = [model, baseline].filter((each) => each.values.alignment[0] === null).map((each) => each.id);
    return `${model.id} and ${baseline.id} cannot be compared by alignment: ${lacking.join(" and ")} has none.`;
  }
  const digits = decimals(found.low, found.high);
  const where = `on the same ${setting.images.toLocaleString("en")} images${doubts(model)}${doubts(baseline)}.`;
  if (found.low <= 0 && found.high >= 0) {
    return `Whether ${model.id} or ${baseline.id} is more aligned is not settled: their difference, the first less the second, is ${signed(found.value, digits)} ${bounds(found.low, found.high)}, ${where}`;
  }
  const [more, less, low, high] = found.value > 0
    ? [model, baseline, found.low, found.high] : [baseline, model, -found.high, -found.low];
  return `${more.id} is more aligned than ${less.id} by ${Math.abs(found.value).toFixed(digits)} ${bounds(low, high)}, ${where}`;
}

/* What takes meaning from a comparison with this model. */
function doubts(model) {
  if (!model.meaningful) return ` (but the numbers of ${model.id} mean little: it has no result)`;
  const left = setting.images - model.scored;
  return left ? ` (but ${left} on which the gradient of ${model.id} could not be scored)` : "";
}

function showTable(models) {
  const [baseline, ...others] = models;
  const heads = [element("th", { scope: "col" }, "measure")];
  if (baseline) heads.push(element("th", { scope: "col" }, ...breakable(baseline.id)));
  for (const model of others) {
    heads.push(element("th", { scope: "col" }, ...breakable(model.id)));
    heads.push(element("th", { scope: "col", class: "difference" }, "difference"));
  }
  const rows = setting.statistics.map((statistic) => {
    const arrow = statistic.better === null ? "" : statistic.better ? "\u00a0↑" : "\u00a0↓";
    const cells = models.flatMap((model, place) => {
      const value = element("td", {}, ...valueCell(model.values[statistic.name]));
      return place ? [value, differenceCell(model, baseline, statistic.name)] : [value];
    });
    const name = element("th", { scope: "row", title: statistic.summary }, (statistic.header || statistic.name) + arrow);
    if (statistic.unit) name.append(element("small", {}, statistic.unit));
    return element("tr", {}, name, ...cells);
  });
  document.getElementById("table").replaceChildren(
    element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows));
}

/* Alignment against the sigma of the target, a line for each model; again where the page gets another width. */
function showProfiles(models) {
  const section = document.getElementById("profiles");
  if (!section) return;
  const { sigma, colours } = setting.profile;
  colours.forEach(([light, dark], index) => section.style.setProperty(`--line-${index}`, `light-dark(${light}, ${dark})`));
  const lines = models.map(({ id, profile, highest }, index) => ({
    name: id, points: profile, highest, colour: index ? `var(--line-${(index - 1) % colours.length})` : "var(--text)",
    dashes: [undefined, "7 4", "2 3"][index % 3],
  })).filter(({ points }) => points.length);
  if (!lines.length) return section.replaceChildren("None of them has a profile.");
  const place = element("div");
  const places = lines.map(({ name, highest }) => `${name} is highest, ${highest}`);
  const said = `Alignment against the sigma of the target: ${places.join("; ")}.`;
  section.replaceChildren(Profiles.key(lines), place, element("p", { class: "note" }, said));
  Profiles.keep(place, (width) =>
    place.replaceChildren(Profiles.plot(lines, { sigma, width, height: 300, said, named: false })));
}

function valueCell([value, low, high]) {
  if (value === null) return ["–"];
  return [value.toFixed(decimals(low, high)), element("small", {}, bounds(low, high))];
}

function differenceCell(model, baseline, name) {
  const found = difference(model, baseline, name);
  if (!found) return element("td", { class: "difference" }, "–");
  const sure = found.low > 0 || found.high < 0;
  return element("td", { class: sure ? "difference sure" : "difference" },
    signed(found.value, decimals(found.low, found.high)),
    element("small", {}, bounds(found.low, found.high)),
    element("small", {}, `above 0: ${certainty(found.probability)}`));
}

/* Adding one: its whole name, or a part that only one name has. */
function add(text) {
  const ids = Object.keys(setting.networks);
  const matching = known(text) ? [text] : ids.filter((id) => id.toLowerCase().includes(text.toLowerCase()));
  if (matching.length === 1) {
    document.getElementById("network").value = "";
    choose([...new Set([...named(), matching[0]])]);
    return;
  }
  const told = matching.length ? `${matching.length} models have “${text}” in their name; write more of it.` : `No model has “${text}” in its name.`;
  document.getElementById("said").prepend(element("p", { class: "bad" }, told));
}

document.getElementById("networks").replaceChildren(
  ...Object.keys(setting.networks).map((id) => element("option", { value: id })));
document.getElementById("network").addEventListener("input", (event) => {
  if (known(event.target.value)) add(event.target.value);
});
document.getElementById("adding").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("network").value.trim();
  if (text) add(text);
});
globalThis.addEventListener("hashchange", show);
show();
