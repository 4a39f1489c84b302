// Buttons that change something: each is a POST with a token, which is asked for the first time and
// kept in this tab alone (sessionStorage), never in a cookie or an address.

import { refresh } from "./refresh.js";

const KEY = "icehouse-token";

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function token() {
  return sessionStorage.getItem(KEY) || "";
}

function keep(text) {
  if (text) {
    sessionStorage.setItem(KEY, text);
  } else {
    sessionStorage.removeItem(KEY);
  }
  const forget = document.getElementById("forget");
  forget.hidden = !text;
}

function say(text) {
  document.getElementById("said").textContent = text;
}

async function post(address, body) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${token()}` };
  const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify(body) });
  let told = {};
  try {
    told = await answer.json();
  } catch {
    told = { title: `The admin process answered ${answer.status}`, detail: "" };
  }
  return { status: answer.status, told };
}

// Where to post what. A field whose name is in the address goes there, else into the body.
function askedBy(button, form) {
  const body = JSON.parse(button.dataset.body);
  let address = button.dataset.post;
  for (const field of JSON.parse(button.dataset.fields)) {
    const text = form.elements[field.name].value;
    if (address.includes(`{${field.name}}`)) {
      address = address.replace(`{${field.name}}`, () => encodeURIComponent(text));
    } else {
      body[field.name] = field.type === "number" ? Number(text) : text;
    }
  }
  return { address, body };
}

// As a sentence of its own.
function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return !begun || /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function inputFor(field) {
  const input = make("input", {
    name: field.name,
    type: field.type,
    value: field.value || "",
    autocomplete: "off",
    spellcheck: "false",
    required: "",
    ...(field.type === "number" ? { min: "0", step: "any" } : {}),
  });
  return make("label", {}, field.label, input);
}

function tokenField(form) {
  const field = { name: "token", label: "Token", type: "password", value: "" };
  const label = inputFor(field);
  label.querySelector("input").setAttribute("aria-describedby", "token-hint");
  const hint = "From: icehouse token new NAME. Kept in this tab until it closes.";
  const beside = make("small", { id: "token-hint" }, hint);
  form.querySelector(".fields").append(make("div", {}, label, beside));
  return label;
}

function build(button) {
  const title = make("h2", { id: "act-title" }, button.dataset.title);
  const fields = make("div", { class: "fields" });
  for (const field of JSON.parse(button.dataset.fields)) {
    fields.append(inputFor(field));
  }
  const wrong = make("p", { class: "wrong", role: "alert" });
  const cancel = make("button", { type: "button" }, "Cancel");
  const label = button.textContent.replace("…", "");
  const confirm = make("button", { type: "submit", class: "main" }, label);
  const form = make(
    "form",
    { method: "dialog" },
    title,
    make("p", {}, button.dataset.text),
    fields,
    wrong,
    make("div", { class: "row" }, cancel, confirm),
  );
  const dialog = make("dialog", { "aria-labelledby": "act-title" }, form);
  cancel.addEventListener("click", () => dialog.close());
  return { dialog, form, wrong, confirm };
}

function ask(button) {
  const { dialog, form, wrong, confirm } = build(button);
  let label = token() ? null : tokenField(form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (label) {
      keep(form.elements.token.value.trim());
    }
    confirm.disabled = true;
    const found = await attempt(button, askedBy(button, form));
    confirm.disabled = false;
    if (found.isDone) {
      // First closed: behind a dialog nothing is read out.
      dialog.close();
      await tell(found.text);
      return;
    }
    wrong.textContent = found.text;
    if (found.isAboutToken) {
      keep("");
      label = label || tokenField(form);
      form.elements.token.select();
    }
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    (document.contains(button) ? button : document.getElementById("main")).focus();
  });
  document.body.append(dialog);
  dialog.showModal();
}

// Say what was done, and show what became of it.
async function tell(text) {
  say(text);
  await refresh();
  reveal();
}

// Whether it is done, and what is to be said of it.
async function attempt(button, { address, body }) {
  if (/\/\.{1,2}(\/|$)/.test(address)) {
    const text = "A name of dots alone has no address. Bind it by `icehouse bind`.";
    return { isDone: false, text, isAboutToken: false };
  }
  let answer;
  try {
    answer = await post(address, body);
  } catch {
    const text = "The admin process does not answer. Nothing is known to be done.";
    return { isDone: false, text, isAboutToken: false };
  }
  const { status, told } = answer;
  if (status < 300) {
    const freed = told.freed === undefined ? "" : ` ${told.freed.toLocaleString()} bytes freed.`;
    const done = JSON.parse(button.dataset.others)[told.done] || button.dataset.done;
    return { isDone: true, text: done + freed, isAboutToken: false };
  }
  return {
    isDone: false,
    text: `${sentence(told.title)} ${sentence(told.detail || "")}`.trim(),
    isAboutToken: status === 401 || status === 403,
  };
}

async function act(button) {
  say("");
  const isPlain = !button.matches(".risky, .asks") && button.dataset.fields === "[]";
  if (!isPlain || !token()) {
    ask(button);
    return;
  }
  const found = await attempt(button, askedBy(button, null));
  if (found.isAboutToken) {
    keep("");
  }
  if (found.isDone) {
    await tell(found.text);
  } else {
    say(found.text);
  }
}

function reveal() {
  for (const button of document.querySelectorAll("[data-post][hidden], [data-script][hidden]")) {
    button.hidden = false;
  }
}

/** Show the buttons and have them work. */
export function offerActions() {
  reveal();
  keep(token());
  document.addEventListener("icehouse:rendered", reveal);
  document.getElementById("forget").addEventListener("click", () => {
    keep("");
    say("The token is forgotten.");
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-post]");
    if (button) {
      act(button);
    }
  });
}
