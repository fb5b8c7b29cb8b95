// Makes elements. Text goes in as text nodes only, so nothing that a job or a worker says is markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `on…` properties are listeners, the others attributes, strings become text. */
export function el(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** The same in SVG. */
export function svg(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** Writes a text only where it is another, so that screen readers hear changes alone. */
export function write(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Makes the children of a list those of `items`, in order; rows are kept by key and updated. */
export function keyed(list, items, key, make, update) {
  list.rows ??= new Map();
  const wanted = new Set();
  let before = null;
  for (const item of items) {
    const id = key(item);
    wanted.add(id);
    let row = list.rows.get(id);
    if (!row) {
      row = make(item);
      list.rows.set(id, row);
    }
    update(row, item);
    const place = before ? before.nextSibling : list.firstChild;
    if (place !== row) list.insertBefore(row, place);
    before = row;
  }
  for (const [id, row] of list.rows) {
    if (wanted.has(id)) continue;
    row.remove();
    list.rows.delete(id);
  }
}

/** A field with its label above it. */
export function field(label, control, hint = "") {
  return el("label", { class: "field" }, el("span", {}, label), control, hint && el("small", { class: "dim" }, hint));
}

/** A drop-down of [value, text] pairs. */
export function choice(properties, pairs) {
  return el("select", properties, pairs.map(([value, text]) => el("option", { value }, text)));
}

/** Text in a box with a button that copies it. */
export function copyable(label) {
  const code = el("code");
  const said = el("span", { role: "status", class: "dim" });
  const copy = async () => write(said, (await copied(code.textContent)) ? "copied" : "select it and copy");
  const button = el("button", { type: "button", class: "small", onclick: copy, "aria-label": `Copy ${label}` }, "Copy");
  const head = el("div", { class: "row between" }, el("span", { class: "label" }, label), el("span", { class: "row" }, said, button));
  const node = el("div", { class: "copyable" }, head, el("pre", { tabindex: "0" }, code));
  return {
    node,
    set(text) {
      write(code, text);
      write(said, "");
    },
  };
}

/** Over plain HTTP there is no clipboard, so a selection is copied instead. */
async function copied(text) {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // not allowed; there is another way
    }
  }
  const area = el("textarea", { class: "offscreen" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}
