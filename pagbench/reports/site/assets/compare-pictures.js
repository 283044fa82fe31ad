"use strict";
/* Pictures of the compared models: their gradients on the same images, and what following them makes of the same images. */
globalThis.ComparedPictures = (() => {
  const { element, drawn, addressOf, breakable } = Dom;

  /* One row for each image that all have: the image and its target once, then every model's gradient. */
  function showPictures(models, root) {
    const [first, ...others] = models.map((model) => new Map(model.pictures.map((row) => [row.sample, row])));
    const samples = first ? [...first.keys()].filter((sample) => others.every((rows) => rows.has(sample))) : [];
    document.getElementById("gradients").parentElement.hidden = !samples.length;
    const heads = ["image", "Bayes target", ...models.map((model) => model.id)];
    const rows = samples.map((sample) => {
      const gradients = [first, ...others].map((rows) => rows.get(sample));
      const cells = [gradients[0].image, gradients[0].target, ...gradients.map((row) => row.gradient)].map((cell) => picture(cell, root));
      const notes = ["", "", ...gradients.map((row) => (row.alignment === null ? "–" : row.alignment.toFixed(2)))];
      return element("tr", {}, ...cells.map((cell, place) => element("td", {}, cell, element("small", {}, notes[place]))));
    });
    document.getElementById("pictures").replaceChildren(
      element("thead", {}, element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, ...breakable(text))))),
      element("tbody", {}, ...rows));
  }

  /* What following the gradient makes, task by task: what was there before, then every model's images of the same samples. */
  function showMade(models, tasks, modelLink, root) {
    const shown = tasks.filter((task) => models.some((model) => model.made[task.name]));
    document.getElementById("following").parentElement.hidden = !shown.length;
    document.getElementById("made").replaceChildren(...shown.map((task) => element("div", {},
      element("h3", {}, task.title),
      element("p", { class: "note" }, task.description),
      element("dl", { class: "lines" },
        ...task.around.map(([words, cell]) => line(words, picture(cell, root))),
        ...models.map((model) => line(modelLink(model.id), madeBy(model, task, root)))))));
  }

  function line(words, images) {
    return element("div", {}, element("dt", {}, words), element("dd", {}, images));
  }

  function madeBy(model, task, root) {
    if (!Object.hasOwn(model.made, task.name)) return "not measured";
    return model.made[task.name] ? picture(model.made[task.name], root) : "no result: there is no gradient to follow";
  }

  /* A cell of a model's picture, as the galleries of the models' pages draw it. */
  function picture(cell, root) {
    if (!cell) return element("span", { class: "tile absent" }, "–");
    const view = [cell.x, cell.y, cell.width, cell.height].join(" ");
    const image = drawn("image", { href: root + addressOf(cell.path), width: cell.whole[0], height: cell.whole[1] });
    return drawn("svg", { class: "tile", viewBox: view, role: "img", "aria-label": cell.alt }, image);
  }

  return { showPictures, showMade };
})();
