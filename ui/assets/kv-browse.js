// Folders of secrets.

import {h} from './dom.js';
import {field, form} from './forms.js';
import {folderOf, keysIn, mountAt, places, trail} from './kv.js';
import {go} from './router.js';
import {alertBox, crumbs, filtered, linkButton, note} from './widgets.js';

export async function browseScreen({params}) {
  const mount = await mountAt(params.mount);
  const folder = params.folder && !params.folder.endsWith('/') ? `${params.folder}/` : params.folder;
  if (!mount.isStore) return places.configuration(mount.path);
  let list;
  try {
    const keys = await keysIn(mount, folder);
    list = filtered('Filter', keys.map((key) => ({text: key, node: entry(mount, folder, key)})),
      'There is no secret here yet.');
  } catch (error) {
    if (error.status !== 403) throw error;
    list = [alertBox(error), note('You can open a secret whose path you know.')];
  }
  return [
    crumbs(trail(mount, folder)),
    h('div', {class: 'title'}, h('h1', {}, `${mount.path}/${folder}`), h('span', {class: 'badge'},
      mount.type === 'kv' ? `KV version ${mount.version}` : mount.type),
    mount.type === 'kv' && h('a', {class: 'button', href: places.configuration(mount.path)}, 'Configuration'),
    linkButton('Create secret', places.create(mount, folder), 'main')),
    list,
    openPath(mount, folder),
  ];
}

function entry(mount, folder, key) {
  const path = folder + key;
  return key.endsWith('/')
    ? h('a', {class: 'folder', href: places.list(mount, path)}, key)
    : h('a', {class: 'leaf', href: places.show(mount, path)}, key);
}

function openPath(mount, folder) {
  const path = field('Path of a secret or folder', {value: folder, required: true});
  return h('details', {}, h('summary', {}, 'Open a path'), form([path], 'Open', () => {
    const wanted = path.value.trim().replace(/^\/+/, '');
    return go(wanted.endsWith('/') || !wanted ? places.list(mount, folderOf(wanted)) : places.show(mount, wanted));
  }, {kind: ''}));
}
