// Keeps the status page true: asks for the page again every few seconds and changes what changed in its main part. The server
// draws, this only carries over, so that focus, scroll position and what is unfolded stay. Asks nothing while nobody looks.
"use strict";

(() => {
  const LONGEST_REST_MS = 60000;
  const PATIENCE_MS = 10000;
  const TRIES = 20; // failures in a row, with growing rests some 15 minutes; then it pauses

  const main = document.getElementById("status");
  const word = document.getElementById("live");
  const button = document.getElementById("live-switch");
  const restMs = Number(main.dataset.live) * 1000;
  let timer = 0;
  let failures = 0;
  let isPaused = false;
  let isAsking = false;

  function say(text, isLive) {
    if (word.textContent !== text) word.textContent = text;
    word.classList.toggle("on", isLive);
    button.textContent = isPaused ? "Resume" : "Pause";
  }

  function plan(ms) {
    clearTimeout(timer);
    if (!isPaused && !document.hidden) timer = setTimeout(ask, ms);
  }

  async function ask() {
    if (isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch("/", { headers: { Accept: "text/html" }, signal: AbortSignal.timeout(PATIENCE_MS) });
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("status");
      if (!fresh) throw new Error("no status");
      if (!fresh.dataset.live) return location.reload(); // signed out elsewhere
      if (isPaused) return;
      carryOver(main, fresh);
      document.title = page.title;
      failures = 0;
      say("Live", true);
    } catch {
      failures += 1;
      isPaused ||= failures >= TRIES;
      say(isPaused ? "Paused: no answer" : "No answer, trying again", false);
    } finally {
      isAsking = false;
      plan(Math.min(restMs * 2 ** Math.min(failures, 10), LONGEST_REST_MS));
    }
  }

  /** Make `old` like `fresh`, touching only what differs. */
  function carryOver(old, fresh) {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const olds = [...old.childNodes];
    const fresher = [...fresh.childNodes];
    fresher.forEach((node, index) => {
      const known = olds[index];
      if (!known) old.append(document.importNode(node, true));
      else if (known.nodeType === node.nodeType && known.nodeName === node.nodeName) carryOver(known, node);
      else known.replaceWith(document.importNode(node, true));
    });
    olds.slice(fresher.length).forEach((node) => node.remove());
  }

  button.hidden = false;
  button.addEventListener("click", () => {
    isPaused = !isPaused;
    failures = 0;
    say(isPaused ? "Paused" : "Live", !isPaused);
    plan(0);
  });
  document.addEventListener("visibilitychange", () => plan(0));
  say("Live", true);
  plan(restMs);
})();
