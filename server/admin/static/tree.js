// Opens levels of an image's tree in place, each when it is first looked at.

async function levelOf(address) {
  const answer = await fetch(address, { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = page.querySelector(".tree, .trouble") || page.querySelector("main p");
  if (!found) {
    throw new Error("no level");
  }
  return document.importNode(found, true);
}

async function open(place) {
  if (place.dataset.state === "asked") {
    return;
  }
  place.dataset.state = "asked";
  place.setAttribute("aria-busy", "true");
  try {
    const level = await levelOf(place.dataset.tree);
    if (place.matches(".following") && level.matches(".tree")) {
      const first = level.firstElementChild;
      place.replaceWith(...level.children);
      first.querySelector("summary, a")?.focus();
    } else {
      place.replaceWith(level);
    }
  } catch {
    // What is there stays, and leads to a page with the same.
    place.dataset.state = "";
    place.removeAttribute("aria-busy");
  }
}

/** Have the trees of this page open in place. */
export function openTrees() {
  document.addEventListener(
    "toggle",
    (event) => {
      const place = event.target.querySelector(":scope > [data-tree]");
      if (event.target.open && place) {
        open(place);
      }
    },
    true,
  );
  document.addEventListener("click", (event) => {
    const place = event.target.closest("[data-tree]");
    if (place && event.target.closest("a") && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      open(place);
    }
  });
}
