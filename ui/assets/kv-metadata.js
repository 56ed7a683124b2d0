// What is known about a secret besides its values.

import * as api from './api.js';
import {h, announce, facts, table} from './dom.js';
import {field, form, rows, wholeNumber} from './forms.js';
import {metadataPath, mountAt, trail} from './kv.js';
import {deleteForGood, secretTabs} from './kv-secret.js';
import {go} from './router.js';
import {alertBox, button, crumbs, note, time} from './widgets.js';

export async function metadataScreen({params}) {
  const mount = await mountAt(params.mount);
  const path = params.path;
  const top = [crumbs(trail(mount, path, 'Metadata')), h('h1', {}, `${path}: metadata`), secretTabs(mount, path)];
  const found = await api.settled(api.read(metadataPath(mount, path)));
  if (found.error) return [top, alertBox(found.error)];
  const data = found.value.data;
  const custom = Object.entries(data.custom_metadata ?? {});
  const trouble = h('div', {role: 'alert'});
  return [
    top, trouble,
    facts([
      ['Newest version', data.current_version], ['Oldest version kept', data.oldest_version],
      ['Created', time(data.created_time)], ['Updated', time(data.updated_time)],
      ['Maximum number of versions', data.max_versions || 'the engine’s'],
      ['Check-and-set required', data.cas_required ? 'yes' : 'no'],
      ['Delete versions after', data.delete_version_after],
    ]),
    h('h2', {}, 'Custom metadata'),
    custom.length ? table('Custom metadata', ['Key', 'Value'], custom) : note('None.'),
    h('details', {}, h('summary', {}, 'Edit metadata'), editor(mount, path, data, custom)),
    h('div', {class: 'actions'},
      button('Delete secret with all versions', () => deleteForGood(mount, path, trouble), 'danger')),
  ];
}

function editor(mount, path, data, custom) {
  const pairs = rows(custom, {open: true});
  const most = field('Maximum number of versions', {kind: 'number', min: 0, value: String(data.max_versions),
    help: '0 for what the engine says.'});
  const check = field('Require check-and-set', {kind: 'checkbox', value: data.cas_required});
  const age = field('Delete versions after', {value: data.delete_version_after,
    help: 'A duration such as 720h; 0s for what the engine says.'});
  return form([
    h('fieldset', {}, h('legend', {}, 'Custom metadata'), note('It is no secret: whoever may list sees it.'), pairs),
    most, check, age,
  ], 'Save', async () => {
    await api.post(metadataPath(mount, path), {
      custom_metadata: pairs.read(), max_versions: wholeNumber(most, 'Maximum number of versions', 0),
      cas_required: check.value, delete_version_after: age.value.trim() || '0s',
    });
    announce('Saved.');
    await go(location.pathname, {replace: true});
  });
}
