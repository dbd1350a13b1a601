"use strict";
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];

  pageParts.maps(document);

  // a link to a die opens its section
  const open = () => {
    const found = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (found && found.tagName === "DETAILS") { found.open = true; found.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
  addEventListener("beforeprint", () => all("details.one").forEach((one) => { one.open = true; }));

  pageParts.tables(document);

  // events: by how much they matter, and by words
  const events = all(".events li"), search = document.querySelector("#search"), count = document.querySelector("#count");
  const levels = all(".filter button[data-levels]");
  const sift = () => {
    const wanted = levels.find((b) => b.getAttribute("aria-pressed") === "true").dataset.levels.split(" ");
    const text = search.value.trim().toLowerCase();
    let shown = 0;
    for (const event of events) {
      event.hidden = !(wanted.includes(event.className) && event.textContent.toLowerCase().includes(text));
      shown += !event.hidden;
    }
    count.textContent = `${shown} of ${events.length}`;
  };
  levels.forEach((button) => button.addEventListener("click", () => {
    levels.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    sift();
  }));
  if (search) { search.addEventListener("input", sift); sift(); }

  // commands: copied, or at least selected where a page may not write to the clipboard
  all("button.copy").forEach((button) => button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    const range = document.createRange();
    range.selectNodeContents(code);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    let done = true;
    try { await navigator.clipboard.writeText(code.textContent); } catch { done = document.execCommand("copy"); }
    button.textContent = done ? "copied" : "selected";
    setTimeout(() => { button.textContent = "copy"; }, 1600);
  }));
})();
