// Writing a secret: new, or a new version of one.

import * as api from './api.js';
import {h, fill, announce} from './dom.js';
import {field, form, rows} from './forms.js';
import {mayDiffer, objectOf, write} from './json.js';
import {mountAt, places, readSecret, trail, writeSecret} from './kv.js';
import {go} from './router.js';
import {alertBox, button, confirm, crumbs, note} from './widgets.js';

export async function createScreen({params, query}) {
  const mount = await mountAt(params.mount);
  const folder = params.folder && !params.folder.endsWith('/') ? `${params.folder}/` : params.folder;
  const path = field('Path for this secret', {value: folder + (query.get('name') ?? ''), required: true,
    autofocus: true, help: 'Slashes make folders: app/database.'});
  const editor = dataEditor({});
  return [
    crumbs(trail(mount, folder, 'Create secret')),
    h('h1', {}, 'Create secret'),
    form([path, editor], 'Save', async () => {
      const at = path.value.trim().replace(/^\/+/, '');
      checkPath(at);
      const data = editor.read();
      if (mount.version !== 2 && !await mayReplace(mount, at)) return;
      // 0: only if there is none yet. Version 1 knows no such condition.
      await said(writeSecret(mount, at, data, 0),
        'There is a secret at this path already. Open it to write a new version.');
      announce('Saved.');
      await go(places.show(mount, at));
    }, {cancel: places.list(mount, folder)}),
  ];
}

function checkPath(path) {
  if (!path || path.endsWith('/')) throw new Error('Path: expected a name behind the last slash.');
  if (path.split('/').some((part) => part === '' || part === '.' || part === '..')) {
    throw new Error('Path: no part of it may be empty, "." or "..".');
  }
}

async function mayReplace(mount, path) {
  const found = await api.settled(readSecret(mount, path));
  if (found.error) return true;
  return confirm(`Replace ${path}?`, 'There is a secret at this path, and this store keeps no earlier versions.',
    'Replace');
}

// A refusal because of `cas` is told in words about what the reader did.
async function said(writing, sentence) {
  try {
    return await writing;
  } catch (error) {
    if (error.status === 400 && error.messages.some((one) => one.includes('check-and-set'))) {
      throw new Error(sentence);
    }
    throw error;
  }
}

export async function editScreen({params}) {
  const mount = await mountAt(params.mount);
  const path = params.path;
  const found = await api.settled(readSecret(mount, path));
  if (found.error && found.error.status !== 403) throw found.error;
  const {data, metadata} = found.value ?? {data: {}, metadata: null};
  const editor = dataEditor(data ?? {});
  const versioned = mount.version === 2;
  return [
    crumbs(trail(mount, path, versioned ? 'Create new version' : 'Edit')),
    h('h1', {}, versioned ? `New version of ${path}` : `Edit ${path}`),
    found.error && alertBox(found.error),
    found.error && note('You may write it all the same. What is there is replaced as a whole, unseen.'),
    metadata && note(`It follows version ${metadata.version}. If somebody writes in the meantime, nothing is saved.`),
    mayDiffer(data) && note('This browser rounds long numbers: those below may not be what is stored.'),
    form([editor], 'Save', async () => {
      await said(writeSecret(mount, path, editor.read(), metadata ? metadata.version : undefined),
        'Somebody has written another version in the meantime. Open the secret again to see it.');
      announce('Saved.');
      await go(places.show(mount, path));
    }, {cancel: places.show(mount, path)}),
  ];
}

/**
 * Rows of keys and values, or the same as JSON. `read()` gives the object. Values that are no texts are edited as
 * JSON only: in a row, the number 1 and the text "1" would look the same.
 */
function dataEditor(data) {
  const plain = Object.values(data).every((value) => typeof value === 'string');
  let mode = plain ? 'rows' : 'json';
  let editor;
  const place = h('div', {});
  const toggle = button('', () => {
    try {
      set(mode === 'rows' ? 'json' : 'rows', editor.read());
    } catch (error) {
      fill(trouble, alertBox(error));
    }
  }, 'small');
  const trouble = h('div', {});
  const set = (next, now) => {
    if (next === 'rows' && !Object.values(now).every((value) => typeof value === 'string')) {
      throw new Error('Rows hold texts only. Values that are numbers, lists or objects stay in the JSON editor.');
    }
    mode = next;
    fill(trouble);
    if (mode === 'rows') {
      editor = rows(Object.entries(now));
    } else {
      editor = field('Secret data as JSON', {kind: 'textarea', rows: 12, class: 'code', value: write(now, 2)});
      const text = editor;
      editor.read = () => objectOf(text.value);
    }
    fill(place, editor);
    fill(toggle, mode === 'rows' ? 'JSON' : 'Rows');
    toggle.setAttribute('aria-label', mode === 'rows' ? 'Edit as JSON' : 'Edit as rows');
  };
  set(mode, data);
  const node = h('fieldset', {}, h('legend', {}, 'Secret data'), place, trouble, h('div', {class: 'actions'}, toggle));
  node.read = () => editor.read();
  return node;
}
