"use strict";
// Maps and tables: the same in the report and on the page from elsewhere, which puts new ones in the place of old ones.
const pageParts = (() => {
  const all = (what, where) => [...where.querySelectorAll(what)];

  // one map is shown large; numbers of a die under the pointer and by keyboard, arrows go from die to die
  const maps = (root) => {
    const choose = (key) => all(".panel", root).forEach((panel) => { panel.hidden = panel.dataset.map !== key; });
    all("input[name=map]", root).forEach((input) => {
      input.addEventListener("change", () => choose(input.value));
      if (input.checked) choose(input.value);
    });
    all(".panel", root).forEach((panel) => {
      const say = panel.querySelector(".say");
      if (matchMedia("(hover: none)").matches) say.textContent = "Tap a die to go to its numbers.";
      const rest = say.textContent, dies = all(".die", panel);
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
  };

  // a click on a heading sorts; what has no value stays at the end
  const tables = (root) => {
    all("table.sortable", root).forEach((table) => {
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
  };

  return { maps, tables };
})();
