// The event stream: one while the page is seen. A hidden page has none, since a browser opens only
// six connections to a host, and each stream takes one for as long as it is open.

const KINDS = [
  "put", "delete", "evict", "spill", "bind", "full",
  "client_joined", "client_left", "client_died",
  "status", "gap", "away", "back",
];
let source = null;

function open(heard) {
  if (source || document.hidden) {
    return;
  }
  source = new EventSource("/api/v1/events");
  for (const kind of KINDS) {
    source.addEventListener(kind, () => heard(kind));
  }
  source.addEventListener("error", () => {
    // The browser connects again by itself, unless it was refused: then a minute later.
    if (source && source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(() => open(heard), 60_000);
    }
  });
}

function close() {
  source?.close();
  source = null;
}

/** Whether events come, so that no event means that nothing happened. */
export function isFollowing() {
  return source !== null && source.readyState === EventSource.OPEN;
}

/** Tell `heard` the kind of each event while the page is seen. */
export function followEvents(heard) {
  open(heard);
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open(heard)));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", () => open(heard));
}
