// One secret: a version of it, shown.

import * as api from './api.js';
import {h, fill, announce, facts, table} from './dom.js';
import {write} from './json.js';
import {dataPath, fate, folderOf, metadataPath, mountAt, places, readSecret, trail} from './kv.js';
import {go} from './router.js';
import {alertBox, button, confirm, copyButton, crumbs, linkButton, note, revealAll, secret, tabs, time}
  from './widgets.js';

/** The links between the views of a secret of a store with versions. */
export function secretTabs(mount, path) {
  return mount.version === 2 && tabs('Views of this secret', [
    ['Secret', places.show(mount, path)], ['Metadata', places.metadata(mount, path)],
    ['Version history', places.history(mount, path)], ['Compare', places.compare(mount, path)],
  ]);
}

export async function secretScreen({params, query}) {
  const mount = await mountAt(params.mount);
  const path = params.path;
  const asked = query.get('version');
  const answer = await api.settled(readSecret(mount, path, asked));
  if (answer.error) return withoutData(mount, path, answer.error);
  const {data, metadata} = answer.value;
  const trouble = h('div', {role: 'alert'});
  const act = (work, said) => async () => {
    fill(trouble);
    try {
      if (await work() === false) return;
      announce(said);
      await go(location.pathname + location.search, {replace: true});
    } catch (error) {
      fill(trouble, h('p', {class: 'alert'}, error.message));
    }
  };
  return [
    crumbs(trail(mount, path)),
    h('div', {class: 'title'}, h('h1', {}, path),
      metadata && h('span', {class: 'badge'}, `Version ${metadata.version}`)),
    secretTabs(mount, path),
    trouble,
    metadata && asked && note('This is version ', metadata.version, ', asked for by its number. ',
      h('a', {href: places.show(mount, path)}, 'Show the newest.')),
    data ? values(data) : h('p', {class: 'note'}, `Version ${metadata.version} was ${fate(metadata) || 'deleted'}.`),
    metadata && facts([['Created', time(metadata.created_time)], ['Deletion', time(metadata.deletion_time)]]),
    h('div', {class: 'actions'},
      linkButton(mount.version === 2 ? 'Create new version' : 'Edit', places.edit(mount, path), 'main'),
      metadata ? versionActions(mount, path, metadata, act)
        : button('Delete', act(() => deleteWhole(mount, path), 'Deleted.'), 'danger')),
    data && elsewhere(mount, path, Object.keys(data)),
  ];
}

// A policy may allow to write what it does not allow to read.
function withoutData(mount, path, error) {
  if (error.status !== 403 && error.status !== 404) throw error;
  return [crumbs(trail(mount, path)), h('h1', {}, path), secretTabs(mount, path), alertBox(error),
    h('div', {class: 'actions'}, error.status === 403
      ? linkButton('Write it', places.edit(mount, path))
      : linkButton('Create it', `${places.create(mount, folderOf(path))}?name=${encodeURIComponent(nameOf(path))}`))];
}

const nameOf = (path) => path.slice(folderOf(path).length);

function values(data) {
  const entries = Object.entries(data ?? {});
  const cells = entries.map(([key, value]) => [key, secret(key, value)]);
  const json = h('section', {hidden: true}, h('h2', {}, 'JSON'), secret('the whole secret as JSON', write(data, 2)));
  const asJSON = button('JSON', () => {
    json.hidden = !json.hidden;
    asJSON.setAttribute('aria-expanded', String(!json.hidden));
  }, 'small', {'aria-expanded': 'false'});
  return [
    h('div', {class: 'actions'}, revealAll(cells.map(([, cell]) => cell)), asJSON),
    entries.length ? table('Values', ['Key', 'Value'], cells) : note('This secret has no values.'),
    json,
  ];
}

function versionActions(mount, path, metadata, act) {
  const version = metadata.version;
  const state = fate(metadata);
  const body = {versions: [version]};
  return [
    !state && button('Delete version', act(() => api.post(`${mount.path}/delete/${path}`, body),
      `Version ${version} is deleted; it can be undeleted.`), 'danger'),
    state === 'deleted' && button('Undelete version', act(() => api.post(`${mount.path}/undelete/${path}`, body),
      `Version ${version} is back.`)),
    state !== 'destroyed' && button('Destroy version', act(async () => {
      const sure = await confirm(`Destroy version ${version}?`, 'Its values are removed for good.', 'Destroy');
      return sure && api.post(`${mount.path}/destroy/${path}`, body);
    }, `Version ${version} is destroyed.`), 'danger'),
  ];
}

async function deleteWhole(mount, path) {
  if (!await confirm(`Delete ${path}?`, 'This store keeps no earlier versions.', 'Delete')) return false;
  await api.remove(dataPath(mount, path));
  announce('Deleted.');
  await go(places.list(mount, folderOf(path)), {replace: true});
  return false;
}

/** Deletes a secret with all its versions, after asking. */
export async function deleteForGood(mount, path, trouble) {
  const sure = await confirm(`Delete ${path} with all its versions?`,
    'Values and metadata of every version are removed for good.', 'Delete everything', {word: path});
  if (!sure) return;
  try {
    await api.remove(metadataPath(mount, path));
    announce('Deleted with all versions.');
    await go(places.list(mount, folderOf(path)), {replace: true});
  } catch (error) {
    fill(trouble, alertBox(error));
  }
}

// How the same secret is read by other means. No value and no token is in it.
function elsewhere(mount, path, keys) {
  const quoted = (text) => `'${text.replaceAll('\'', '\'\\\'\'')}'`;
  const address = `/v1/${api.escaped(dataPath(mount, path))}`;
  const lines = [
    ['API path', address],
    ['Command line', mount.type === 'kv' ? `holdfast kv get -mount=${quoted(mount.path)} ${quoted(path)}`
      : `holdfast read ${quoted(`${mount.path}/${path}`)}`],
    ['curl', `curl -H "X-Vault-Token: $VAULT_TOKEN" ${quoted(location.origin + address)}`],
    mount.type === 'kv' && ['ExternalSecret', externalSecret(mount, path, keys)],
  ];
  return h('details', {}, h('summary', {}, 'Read it elsewhere'),
    h('dl', {class: 'facts'}, lines.filter(Boolean).map(([name, text]) =>
      [h('dt', {}, name), h('dd', {}, h('code', {}, text), ' ', copyButton(name, text))])));
}

// The part of a kubernetes-client.io/v1 ExternalSecret that names this secret. JSON's texts are YAML's as well.
function externalSecret(mount, path, keys) {
  const lines = keys.flatMap((key) => [
    `  - name: ${write(key.toUpperCase().replace(/[^A-Z0-9]+/g, '_'))}`,
    `    key: ${write(dataPath(mount, path))}`, `    property: ${write(key)}`,
  ]);
  return [`kvVersion: ${mount.version}`, 'data:', ...lines].join('\n');
}
