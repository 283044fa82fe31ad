"use strict";
/* Notes: what `data-note` of an element says, shown while the pointer is on it or it has the focus; Escape hides it. `data-more` is a link to more. */
(() => {
  const note = document.createElement("div");
  note.className = "note";
  note.setAttribute("role", "tooltip");
  note.hidden = true;
  const text = document.createElement("span");
  const more = document.createElement("a");
  more.textContent = "More";
  more.tabIndex = -1; // the keyboard finds the same link in the list of columns
  note.append(text, " ", more);
  document.querySelector("main").append(note);
  let shown = null;
  let leaving = 0;

  function show(owner) {
    clearTimeout(leaving);
    if (owner === shown) return;
    shown = owner;
    text.textContent = owner.dataset.note;
    more.hidden = !owner.dataset.more;
    if (owner.dataset.more) more.href = owner.dataset.more;
    note.hidden = false;
    beside(owner);
  }

  function beside(owner) {
    const place = owner.getBoundingClientRect();
    const below = place.bottom + 6 + note.offsetHeight < innerHeight;
    note.style.top = `${below ? place.bottom + 6 : Math.max(4, place.top - 6 - note.offsetHeight)}px`;
    note.style.left = `${Math.max(8, Math.min(place.left, innerWidth - note.offsetWidth - 8))}px`;
  }

  function hide() {
    clearTimeout(leaving);
    shown = null;
    note.hidden = true;
  }

  function owner(event) {
    return event.target instanceof Element ? event.target.closest("[data-note]") : null;
  }

  function linger() {
    clearTimeout(leaving);
    leaving = setTimeout(hide, 200); // time to move the pointer onto the note
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    if (note.contains(event.target)) clearTimeout(leaving);
    else if (owner(event)) show(owner(event));
    else if (shown && shown !== document.activeElement) linger();
  });
  document.addEventListener("focusin", (event) => (owner(event) ? show(owner(event)) : hide()));
  document.addEventListener("focusout", hide);
  function scrolled() {
    // the focus brings what lies outside into view
    if (shown && (shown === document.activeElement || shown.matches(":hover"))) beside(shown);
    else hide();
  }

  document.addEventListener("scroll", scrolled, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
})();
