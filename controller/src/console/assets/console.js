"use strict";
// Fetches this very page again and puts its <main> in place of the old one. Waits while somebody selects text (a command
// to copy) or has evidence open. When the controller does not answer, the page says so instead of looking calm.
const every = 2000;

async function refresh() {
  const reading = !document.getSelection().isCollapsed || document.querySelector("details[open]");
  if (!reading && !document.hidden) {
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // A proxy's own page is no answer of the controller.
      if (!page.querySelector("main")) throw new Error("no answer");
      for (const part of ["main", "header"]) {
        const fresh = page.querySelector(part);
        if (fresh) document.querySelector(part).replaceWith(fresh);
      }
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale");
    }
  }
  setTimeout(refresh, every);
}

setTimeout(refresh, every);
