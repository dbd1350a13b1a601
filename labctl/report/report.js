"use strict";
(() => {
  const all = (what, where = document) => [...where.querySelectorAll(what)];

  // maps: one is shown large; numbers of a die under the pointer and by keyboard, arrows go from die to die
  const choose = (key) => all(".panel").forEach((panel) => { panel.hidden = panel.dataset.map !== key; });
  all("input[name=map]").forEach((input) => {
    input.addEventListener("change", () => choose(input.value));
    if (input.checked) choose(input.value);
  });
  all(".panel").forEach((panel) => {
    const say = panel.querySelector(".say"), rest = say.textContent, dies = all(".die", panel);
    const tell = (die) => { say.textContent = die ? die.dataset.say : rest; };
    dies.forEach((die, k) => {
      die.setAttribute("tabindex", k ? -1 : 0);
      for (const name of ["pointerenter", "focus"]) die.addEventListener(name, () => tell(die));
      for (const name of ["pointerleave", "blur"]) die.addEventListener(name, () => tell(null));
      die.addEventListener("keydown", (event) => {
        const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
        if (!way) return;
        event.preventDefault();
        const [x, y] = die.dataset.at.split(",").map(Number);
        let best = null, least = Infinity;
        for (const other of dies) {
          const [u, v] = other.dataset.at.split(",").map(Number);
          const along = (u - x) * way[0] + (v - y) * way[1], aside = Math.abs((u - x) * way[1]) + Math.abs((v - y) * way[0]);
          if (along > 0 && along + 3 * aside < least) { least = along + 3 * aside; best = other; }
        }
        if (best) { die.setAttribute("tabindex", -1); best.setAttribute("tabindex", 0); best.focus(); }
      });
    });
  });

  // a link to a die opens its section
  const open = () => {
    const found = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (found && found.tagName === "DETAILS") { found.open = true; found.scrollIntoView(); }
  };
  addEventListener("hashchange", open);
  open();
  addEventListener("beforeprint", () => all("details.one").forEach((one) => { one.open = true; }));

  // tables: a click on a heading sorts; what has no value stays at the end
  all("table.sortable").forEach((table) => {
    const body = table.tBodies[0], heads = all("thead th", table);
    heads.forEach((head, k) => head.querySelector("button")?.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => row.cells[k].dataset.value ?? row.cells[k].textContent.trim();
      const order = (a, b) => {
        const x = value(a), y = value(b);
        if (x === "" || y === "") return (x === "") - (y === "");
        const d = isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, { numeric: true }) : x - y;
        return down ? -d : d;
      };
      body.append(...[...body.rows].sort(order));
    }));
  });

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
