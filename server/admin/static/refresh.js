// Keeps a page as the server would render it now: asks for the same address again, and takes over
// what differs. The body's data-refresh says after how many seconds at least, 0: never; data-upon
// which events make that worth while, none: time alone does.

import { morph } from "./morph.js";
import { followEvents, isFollowing } from "./stream.js";

const LOST_SECONDS = 2;
const PARTS = ["main", "pulse"];
let timer = 0;
let running = Promise.resolve();
let isDirty = true;
let isPaused = false;

function say(text) {
  const place = document.getElementById("lost");
  if (place.textContent !== text) {
    place.textContent = text;
  }
}

function beat() {
  const place = document.getElementById("beat");
  place.hidden = false;
  place.textContent = `as of ${new Date().toISOString().slice(11, 19)} UTC`;
}

function isBusy() {
  // Somebody selects text or has a menu open: what they point at must not change.
  const selection = document.getSelection();
  const isSelecting = selection && !selection.isCollapsed;
  return isSelecting || document.querySelector("dialog[open]") !== null;
}

/** Render the page anew; true if the admin process answered. What is shown was asked for after this
 * call: who changed something sees it, also if an answer from before was on its way. */
export function refresh() {
  running = running.then(render);
  return running;
}

async function render() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!page.getElementById("main")) {
      throw new Error("no page");
    }
    document.title = page.title;
    document.body.dataset.refresh = page.body.dataset.refresh;
    document.body.dataset.upon = page.body.dataset.upon;
    const focused = document.activeElement;
    for (const id of PARTS) {
      morph(document.getElementById(id), page.getElementById(id));
    }
    // Where the focus was is no more: the keyboard goes on at the content, not at the top.
    if (focused && !document.contains(focused)) {
      document.getElementById("main").focus({ preventScroll: true });
    }
    morph(document.querySelector("footer p") || document.createElement("p"),
      page.querySelector("footer p") || document.createElement("p"));
    say("");
    beat();
    document.dispatchEvent(new CustomEvent("icehouse:rendered"));
    return true;
  } catch {
    say("The admin process does not answer. What is below was so before; this page tries again.");
    return false;
  }
}

function upon() {
  return (document.body.dataset.upon || "").split(" ").filter(Boolean);
}

async function turn() {
  let seconds = Number(document.body.dataset.refresh);
  // A page that names events is rendered anew only after one of them, as long as they are heard.
  const isDue = isDirty || !upon().length || !isFollowing();
  if (seconds && isDue && !isPaused && !document.hidden && !isBusy()) {
    isDirty = false;
    const isThere = await refresh();
    seconds = isThere ? Number(document.body.dataset.refresh) : LOST_SECONDS;
  }
  schedule(seconds || 1);
}

function schedule(seconds) {
  clearTimeout(timer);
  timer = setTimeout(turn, seconds * 1000);
}

function heard(kind) {
  if (kind === "away" || kind === "back" || kind === "gap" || upon().includes(kind)) {
    isDirty = true;
  }
  if (kind === "away" && !isPaused && Number(document.body.dataset.refresh)) {
    schedule(0);
  }
}

function offerPause() {
  document.getElementById("pause")?.addEventListener("click", (event) => {
    isPaused = !isPaused;
    event.target.setAttribute("aria-pressed", String(isPaused));
    schedule(0);
  });
}

/** Begin to keep the page up to date. */
export function keepFresh() {
  offerPause();
  // A page that is never rendered anew needs no events.
  if (Number(document.body.dataset.refresh)) {
    followEvents(heard);
  }
  schedule(Number(document.body.dataset.refresh) || 1);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      isDirty = true;
      schedule(0);
    }
  });
}
