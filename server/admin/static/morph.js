// Makes one tree like another with as few changes as it can, so that focus, selection, scroll
// position, opened details and what somebody types stay as they are.

// What the person at the page decides, not the server.
const KEPT = { DETAILS: ["open"], DIALOG: ["open"], INPUT: ["value", "checked"] };

function alike(one, other) {
  return (
    one.nodeType === other.nodeType &&
    one.nodeName === other.nodeName &&
    (one.id || "") === (other.id || "")
  );
}

function morphAttributes(target, source) {
  // A button that only scripts can serve is shown by them.
  const kept = target.hasAttribute("data-post") ? ["hidden"] : KEPT[target.tagName] || [];
  for (const { name, value } of source.attributes) {
    if (!kept.includes(name) && target.getAttribute(name) !== value) {
      target.setAttribute(name, value);
    }
  }
  for (const { name } of [...target.attributes]) {
    if (!kept.includes(name) && !source.hasAttribute(name)) {
      target.removeAttribute(name);
    }
  }
}

function morphChildren(target, source) {
  const named = new Map();
  for (const child of target.children) {
    if (child.id) {
      named.set(child.id, child);
    }
  }
  let at = target.firstChild;
  for (const wanted of [...source.childNodes]) {
    let found = at;
    if (wanted.id && named.has(wanted.id)) {
      found = named.get(wanted.id);
    }
    if (found && alike(found, wanted)) {
      if (found !== at) {
        target.insertBefore(found, at);
      } else {
        at = at.nextSibling;
      }
      morph(found, wanted);
    } else {
      target.insertBefore(document.importNode(wanted, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** Make `target` like `source`. An element with data-own looks after itself. */
export function morph(target, source) {
  if (target.nodeType !== Node.ELEMENT_NODE) {
    if (target.nodeValue !== source.nodeValue) {
      target.nodeValue = source.nodeValue;
    }
    return;
  }
  if (target.hasAttribute("data-own") || target.isEqualNode(source)) {
    return;
  }
  morphAttributes(target, source);
  morphChildren(target, source);
}
