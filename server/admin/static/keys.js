// `/` goes to the search field, as in many tools; no key does anything that can't be undone.

function isTyping(element) {
  return element.closest("input, select, textarea, [contenteditable], dialog") !== null;
}

/** Listen for keys. */
export function listenForKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const field = document.querySelector("[data-search]");
    if (field && !isTyping(event.target)) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  });
}
