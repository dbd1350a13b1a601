"use strict";
// Asks for news of the run, or of the list of runs, and puts parts that are new in the place of old ones.
(() => {
  const EVERY = 900, AT_REST = 5000, HIDDEN = 15000; // ms
  const body = document.body, lost = document.querySelector("#lost"), panel = document.querySelector("#one-die");
  const parts = () => [...document.querySelectorAll("[data-part]")];
  let ahead = Number(body.dataset.utc) * 1000 - Date.now(), alive = "alive" in body.dataset, heard = Date.now(), shown = "", timer;

  // times that pass, by the clock of the computer of the run
  const words = (seconds) => {
    const s = Math.max(0, Math.round(seconds)), m = Math.floor(s / 60), h = Math.floor(m / 60);
    return s < 60 ? `${s} s` : h ? `${h} h ${m % 60} min` : `${m} min ${s % 60} s`;
  };
  const pass = () => {
    if (!alive) return;
    const now = (Date.now() + ahead) / 1000;
    for (const one of document.querySelectorAll("[data-since]")) {
      const seconds = now - Number(one.dataset.since), ago = "ago" in one.dataset;
      one.textContent = ago && seconds < 2 ? "just now" : words(seconds) + (ago ? " ago" : "");
      const late = one.dataset.late && seconds > Number(one.dataset.late);
      one.classList.toggle("late", Boolean(late));
      if (late) one.textContent += ": nothing was written since";
    }
  };
  setInterval(pass, 1000);

  // what somebody has chosen stays chosen
  const put = (part, tag, html) => {
    const map = part.querySelector("input[name=map]:checked")?.value;
    const column = [...part.querySelectorAll("table.sortable th")].findIndex((head) => head.hasAttribute("aria-sort"));
    const down = column >= 0 && part.querySelectorAll("table.sortable th")[column].getAttribute("aria-sort") === "descending";
    const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const meant = part.querySelector(".meanings")?.open;
    part.innerHTML = html;
    part.dataset.tag = tag;
    if (meant) part.querySelector(".meanings")?.setAttribute("open", "");
    const again = [...part.querySelectorAll("input[name=map]")].find((input) => input.value === map);
    if (again) again.checked = true;
    wire(part);
    for (let k = 0; column >= 0 && k <= Number(down); k++) part.querySelectorAll("table.sortable th button")[column]?.click();
    if (focused) [...part.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
  };
  const wire = (part) => { pageParts.maps(part); pageParts.tables(part); };

  const say = (text) => { lost.textContent = text; lost.hidden = !text; body.classList.toggle("stale", Boolean(text)); };
  const clock = (ms) => new Date(ms).toLocaleTimeString();

  const ask = async () => {
    clearTimeout(timer);
    const tags = new URLSearchParams(parts().map((part) => [part.dataset.part, part.dataset.tag]));
    try {
      const answer = await fetch(`${body.dataset.news}?${tags}`, { signal: AbortSignal.timeout(20000) });
      if (answer.status === 401) { location.reload(); return; }
      if (answer.status === 404) throw new Error("The run is not there any more.");
      if (!answer.ok) throw new Error(`The page answers with ${answer.status}.`);
      const news = await answer.json();
      ahead = news.utc * 1000 - Date.now();
      alive = news.alive;
      heard = Date.now();
      for (const part of parts()) {
        const [tag, html] = news.parts[part.dataset.part] ?? [];
        if (tag !== undefined) put(part, tag, html);
      }
      say("");
      pass();
    } catch (error) {
      const why = error instanceof TypeError || error.name === "TimeoutError" ? "No connection." : error.message;
      say(`${why} What stands here is of ${clock(heard)}.`);
    }
    await askDie(false);
    clearTimeout(timer); // of somebody who asked meanwhile
    timer = setTimeout(ask, document.hidden ? HIDDEN : alive ? EVERY : AT_REST);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) ask(); });

  // one die, with its curves: asked for again with all news, for it goes on too, or waited for its turn to be read
  const askDie = async (chosen) => {
    if (!panel || !shown) return;
    const name = shown;
    const headers = panel.dataset.tag && !chosen ? { "If-None-Match": panel.dataset.tag } : {};
    const address = `${body.dataset.news.replace(/news$/, "dies/")}${encodeURIComponent(name)}`;
    const answer = await fetch(address, { headers, signal: AbortSignal.timeout(20000) }).catch(() => null);
    const html = await answer?.text().catch(() => null); // of 304, too: an answer that nobody reads counts as broken off
    if (shown !== name) return;
    if (answer?.ok && html != null) {
      const focused = panel.contains(document.activeElement);
      panel.innerHTML = html;
      panel.dataset.tag = answer.headers.get("ETag") ?? "";
      if (focused) panel.querySelector("h2")?.focus({ preventScroll: true });
    } else if (chosen || !panel.dataset.tag) {
      panel.textContent = answer ? `${name}: there is nothing to be shown of it.` : `${name}: no connection.`;
      panel.dataset.tag = "";
    }
    if (!chosen) return;
    panel.hidden = false;
    panel.scrollIntoView({ block: "start" });
    panel.querySelector("h2")?.focus({ preventScroll: true });
  };
  const open = (name) => { shown = name; return askDie(true); };
  const go = () => { if (location.hash.startsWith("#die-")) open(decodeURIComponent(location.hash.slice(5))); };
  addEventListener("hashchange", go);
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#die-"]');
    if (link && link.getAttribute("href") === location.hash) go(); // once more, as it is now
  });

  parts().forEach(wire);
  pass();
  go();
  timer = setTimeout(ask, EVERY);
})();
