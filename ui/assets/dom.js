// Makes elements. Text from anywhere becomes a text node and nothing else: there is no way here to hand markup to
// the browser, and the page's policy (trusted types) would refuse it.

const ownAddress = /^(\/ui\/|#)/;

/**
 * An element: `h('a', {href: '/ui/', class: 'x', onclick: f}, 'text', child)`.
 * An attribute that is false, null or undefined is left out; `true` sets it empty. `on…` adds a listener.
 * Children may be nodes, texts, numbers, nested lists; null and false are left out.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else if (name === 'value') {
      element.value = value;
    } else {
      if (name === 'href' && !ownAddress.test(value)) throw new Error('a link that leaves the page');
      element.setAttribute(name, value === true ? '' : String(value));
    }
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(element, child);
    else element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Replaces what is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

/** A table with a caption for screen readers. `rows` are lists of cells. */
export function table(caption, heads, rows) {
  return h('div', {class: 'scroll'},
    h('table', {},
      h('caption', {class: 'unseen'}, caption),
      h('thead', {}, h('tr', {}, heads.map((head) => h('th', {scope: 'col'}, head)))),
      h('tbody', {}, rows.map((row) => h('tr', {}, row.map((cell) => h('td', {}, cell)))))));
}

/** Names beside their values. */
export function facts(pairs) {
  return h('dl', {class: 'facts'}, pairs
    .filter(([, value]) => value !== undefined && value !== null && value !== '')
    .map(([name, value]) => [h('dt', {}, name), h('dd', {}, value instanceof Node ? value : String(value))]));
}

/** Says something to everybody: it is shown for a while, and read aloud. */
export function announce(text) {
  const status = document.getElementById('status');
  fill(status, text);
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => fill(status), 6000);
}
