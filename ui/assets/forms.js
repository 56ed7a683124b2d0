// Forms: labelled fields, one place for what went wrong, no double sending.

import {h, fill} from './dom.js';
import {button} from './widgets.js';

let count = 0;

/**
 * A labelled field. `kind` is a type of input, "textarea", or "select" with `options` of [value, text].
 * The node has `input`, and `value` gives what is in it.
 */
export function field(label, {kind = 'text', value = '', help, options, ...more} = {}) {
  const id = `field-${++count}`;
  const common = {
    id, 'aria-describedby': help && `${id}-help`, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false',
    ...more,
  };
  let input;
  if (kind === 'select') {
    input = h('select', common, options.map(([choice, text]) => h('option', {value: choice}, text ?? choice)));
    input.value = value;
  } else if (kind === 'textarea') {
    input = h('textarea', {rows: 6, ...common, value});
  } else if (kind === 'checkbox') {
    input = h('input', {type: 'checkbox', ...common});
    input.checked = Boolean(value);
  } else {
    input = h('input', {type: kind, ...common, value});
  }
  const name = h('label', {for: id}, label);
  const node = h('div', {class: kind === 'checkbox' ? 'field check' : 'field'},
    kind === 'checkbox' ? [input, name] : [name, input],
    help && h('small', {id: `${id}-help`}, help));
  node.input = input;
  Object.defineProperty(node, 'value', {get: () => kind === 'checkbox' ? input.checked : input.value});
  return node;
}

/**
 * A form. `run` does the work when it is sent; an error that it throws is shown in the form.
 * While it runs the form cannot be sent again.
 */
export function form(fields, action, run, {cancel, kind = 'main'} = {}) {
  const trouble = h('div', {role: 'alert'});
  const send = h('button', {type: 'submit', class: kind}, action);
  return h('form', {
    onsubmit: async (event) => {
      event.preventDefault();
      fill(trouble);
      send.disabled = true;
      send.setAttribute('aria-busy', 'true');
      try {
        await run();
      } catch (error) {
        if (error.name !== 'Error') console.error(error);
        fill(trouble, h('p', {class: 'alert'}, error.message));
      } finally {
        send.disabled = false;
        send.removeAttribute('aria-busy');
      }
    },
  }, fields, trouble, h('div', {class: 'actions'}, send,
    cancel && h('a', {class: 'button', href: cancel}, 'Cancel')));
}

/** A whole number, or an Error that names the field. An empty field is `empty`. */
export function wholeNumber(node, name, empty) {
  const text = node.value.trim();
  if (text === '' && empty !== undefined) return empty;
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${name}: expected a whole number.`);
  return Number(text);
}

/**
 * Rows of names and values. `pairs` are what is there already. `read()` gives an object; names must be given and
 * be different. Values are hidden while they are typed, unless `open`.
 */
export function rows(pairs, {open = false, nameLabel = 'Key', valueLabel = 'Value'} = {}) {
  const list = h('div', {class: 'rows'});
  const add = (name = '', value = '') => {
    const key = h('input', {type: 'text', 'aria-label': nameLabel, placeholder: nameLabel, autocomplete: 'off',
      autocapitalize: 'off', spellcheck: 'false', value: name});
    const text = h('textarea', {rows: 1, 'aria-label': valueLabel, placeholder: valueLabel, autocomplete: 'off',
      autocapitalize: 'off', spellcheck: 'false', class: open ? '' : 'masked', value});
    const row = h('div', {class: 'row'}, key, text, button('Remove', () => {
      row.remove();
      if (!list.childElementCount) add();
    }, 'small', {'aria-label': 'Remove this row'}));
    row.pair = () => [key.value, text.value];
    list.append(row);
    return key;
  };
  for (const [name, value] of pairs) add(name, value);
  if (!pairs.length) add();
  const toggle = !open && button('Show values', () => {
    const hidden = list.classList.toggle('open');
    fill(toggle, hidden ? 'Hide values' : 'Show values');
    toggle.setAttribute('aria-pressed', String(hidden));
  }, 'small');
  const node = h('div', {}, list,
    h('div', {class: 'actions'}, button('Add row', () => add().focus(), 'small'), toggle));
  node.read = () => {
    const found = [...list.children].map((row) => row.pair()).filter(([name, value]) => name || value);
    const names = found.map(([name]) => name);
    if (names.includes('')) throw new Error(`${nameLabel}: a row has a value but no name.`);
    const twice = names.find((name, place) => names.indexOf(name) !== place);
    if (twice !== undefined) throw new Error(`${nameLabel}: "${twice}" is there twice.`);
    return Object.fromEntries(found);
  };
  return node;
}
