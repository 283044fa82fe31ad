"use strict";
/* Elements with attributes, of HTML and of SVG, and addresses, for the other scripts. Data become attributes and text, never markup. */
globalThis.Dom = (() => {
  function filled(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const element = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
  const drawn = (tag, attributes = {}, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

  /* A path below the site's folder, or an id, as part of an address. */
  const addressOf = (path) => path.split("/").map(encodeURIComponent).join("/");

  /* An id that a narrow column breaks at its marks, not within words. */
  const breakable = (id) => id.split(/(?<=[/._-])/).flatMap((part) => [part, element("wbr")]);

  return { element, drawn, addressOf, breakable };
})();
