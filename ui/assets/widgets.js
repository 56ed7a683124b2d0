// Pieces that several screens use.

import {h, fill, announce} from './dom.js';
import {shown} from './json.js';
import {copy} from './session.js';

const mask = '••••••••';

/** A button. `kind` is "", "main" or "danger". */
export function button(text, run, kind = '', attributes = {}) {
  return h('button', {type: 'button', class: kind, onclick: run, ...attributes}, text);
}

/** A link that looks like a button. */
export function linkButton(text, href, kind = '') {
  return h('a', {class: `button ${kind}`, href}, text);
}

/** What went wrong, as a paragraph that is read aloud. */
export function alertBox(error) {
  return h('p', {class: 'alert', role: 'alert'}, error instanceof Error ? error.message : error);
}

/** A hint that is no error. */
export function note(...children) {
  return h('p', {class: 'note'}, children);
}

/** Copies a value, and says so. */
export function copyButton(name, value) {
  return button('Copy', async () => announce(await copy(shown(value))), 'small', {'aria-label': `Copy ${name}`});
}

/**
 * A value that is masked until somebody wants to see it. While it is masked it is not in the page at all.
 * The element has `reveal(bool)`, for buttons that show all.
 */
export function secret(name, value) {
  const text = h('span', {class: 'value masked'}, mask);
  const toggle = button('Show', () => element.reveal(text.classList.contains('masked')), 'small');
  const element = h('span', {class: 'secret'}, text, h('span', {class: 'tools'}, toggle, copyButton(name, value)));
  element.reveal = (wanted) => {
    text.classList.toggle('masked', !wanted);
    fill(text, wanted ? shown(value) : mask);
    fill(toggle, wanted ? 'Hide' : 'Show');
    toggle.setAttribute('aria-label', `${wanted ? 'Hide' : 'Show'} ${name}`);
    toggle.setAttribute('aria-pressed', String(wanted));
  };
  element.reveal(false);
  return element;
}

/** A button that shows or hides all of these secrets. */
export function revealAll(secrets) {
  let wanted = false;
  const all = button('Show values', () => {
    wanted = !wanted;
    for (const one of secrets) one.reveal(wanted);
    fill(all, wanted ? 'Hide values' : 'Show values');
    all.setAttribute('aria-pressed', String(wanted));
  }, 'small');
  return all;
}

/**
 * Asks before something is done that cannot be undone. Resolves to true or false. With `word`, the button waits
 * until that word has been typed.
 */
export function confirm(title, text, action, {word} = {}) {
  return new Promise((resolve) => {
    const yes = h('button', {type: 'submit', class: 'danger', disabled: Boolean(word)}, action);
    const typed = word && h('input', {
      type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', autofocus: true,
      oninput: () => { yes.disabled = typed.value !== word; },
    });
    const dialog = h('dialog', {'aria-labelledby': 'dialog-title', onclose: () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    }},
    h('form', {onsubmit: (event) => { event.preventDefault(); dialog.close('yes'); }},
      h('h2', {id: 'dialog-title'}, title),
      h('p', {}, text),
      word && h('label', {class: 'field'}, h('span', {}, 'Type ', h('b', {}, word), ' to confirm'), typed),
      h('div', {class: 'actions'}, yes, button('Cancel', () => dialog.close('no')))));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A list that shrinks to what is typed. `rows` are {text, node}. */
export function filtered(label, rows, empty) {
  const items = h('ul', {class: 'list'});
  const show = (wanted) => {
    const found = rows.filter((row) => row.text.toLowerCase().includes(wanted.toLowerCase()));
    fill(items, found.map((row) => h('li', {}, row.node)));
    if (!found.length) fill(items, h('li', {class: 'note'}, rows.length ? 'Nothing matches.' : empty));
  };
  show('');
  const box = rows.length > 5 && h('label', {class: 'field filter'}, h('span', {}, label),
    h('input', {type: 'search', autocomplete: 'off', spellcheck: 'false',
      oninput: (event) => show(event.target.value)}));
  return [box, items];
}

/** Where one is: links, the last one without. */
export function crumbs(parts) {
  return h('nav', {class: 'crumbs', 'aria-label': 'Breadcrumb'}, h('ol', {}, parts.map(([text, href], place) =>
    h('li', {}, place < parts.length - 1 ? h('a', {href}, text) : h('span', {'aria-current': 'page'}, text)))));
}

/** Links between views of one thing. */
export function tabs(label, parts) {
  const here = location.pathname;
  return h('nav', {class: 'tabs', 'aria-label': label}, parts.map(([text, href]) =>
    h('a', {href, 'aria-current': href.split('?')[0] === here ? 'page' : false}, text)));
}

/** A time as the reader's place writes it. */
export function time(text) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime()) || date.getTime() <= 0) return '';
  return h('time', {datetime: text, title: text}, date.toLocaleString());
}

/** Seconds in words. */
export function duration(seconds) {
  if (!seconds) return 'no end';
  const parts = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const said = [];
  let rest = Math.round(seconds);
  for (const [unit, size] of parts) {
    if (rest >= size && said.length < 2) said.push(`${Math.floor(rest / size)} ${unit}`);
    rest %= size;
  }
  return said.join(' ') || '0 s';
}
