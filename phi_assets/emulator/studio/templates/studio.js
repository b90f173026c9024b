"use strict";
// Replaces the parts of the page that have changed, as often as the page asks for it, while somebody looks.
(() => {
  const bottom = log => { log.scrollTop = log.scrollHeight; };
  const follows = log => log.scrollHeight - log.scrollTop - log.clientHeight < 48;

  // What a keyboard is at, by what it is, as new rows come before it.
  const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]";
  const called = each => [each.tagName, each.getAttribute("href") || each.value || each.name || "",
    (each.closest("details") || each).dataset.key || ""].join(" ");

  const replace = (part, next) => {
    const at = part.contains(document.activeElement) ? document.activeElement : null;
    const open = new Set([...part.querySelectorAll("details[open]")].map(each => each.dataset.key));
    const chosen = new Set([...part.querySelectorAll("input:checked")].map(each => each.value));
    const before = [...part.querySelectorAll(".log")].map(log => follows(log) ? null : log.scrollTop);
    part.replaceWith(next);
    next.querySelectorAll("details").forEach(each => { each.open = open.has(each.dataset.key); });
    next.querySelectorAll("input[type=checkbox]").forEach(each => { each.checked = chosen.has(each.value); });
    next.querySelectorAll(".log").forEach((log, index) => {
      if (before[index] == null) bottom(log); else log.scrollTop = before[index];
    });
    if (at) [...next.querySelectorAll(CONTROLS)].find(each => called(each) === called(at))?.focus({preventScroll: true});
  };

  const renew = async () => {
    const answer = await fetch(location.pathname + location.search);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-part]")) {
      const next = fresh.querySelector(`[data-part="${part.dataset.part}"]`);
      if (next && !next.isEqualNode(part)) {
        // What is open is not in the answer: compared without it, an unchanged part keeps the reader's selection.
        const bare = part.cloneNode(true);
        bare.querySelectorAll("details").forEach(each => { each.open = false; });
        if (!next.isEqualNode(bare)) replace(part, document.adoptNode(next));
      }
    }
    document.title = fresh.title;
    document.body.dataset.live = fresh.body.dataset.live;
  };

  const wait = () => {
    const seconds = Number(document.body.dataset.live);
    if (seconds) setTimeout(turn, seconds * 1000);
  };
  const turn = async () => {
    if (!document.hidden) {
      try {
        await renew();
        document.getElementById("lost").hidden = true;
      } catch {
        document.getElementById("lost").hidden = false;
      }
    }
    wait();
  };

  document.querySelectorAll(".log").forEach(bottom);
  // It does not bubble, so it is caught on its way down.
  document.addEventListener("toggle", event => event.target.querySelectorAll(".log").forEach(bottom), true);
  document.querySelectorAll("form").forEach(form => form.addEventListener("submit", () => {
    form.querySelectorAll("[data-busy]").forEach(button => {
      button.textContent = button.dataset.busy;
      button.disabled = true;
    });
  }));
  document.querySelectorAll("textarea").forEach(area => area.addEventListener("keydown", event => {
    // Enter also ends what is being composed of several keys.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    area.form.requestSubmit();
  }));
  wait();
})();
