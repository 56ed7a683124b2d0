// The versions of a secret: all of them, and any two side by side.

import * as api from './api.js';
import {h, fill, announce, table} from './dom.js';
import {field} from './forms.js';
import {write} from './json.js';
import {fate, metadataPath, mountAt, places, readSecret, trail} from './kv.js';
import {go} from './router.js';
import {secretTabs} from './kv-secret.js';
import {alertBox, button, confirm, crumbs, note, revealAll, secret, time} from './widgets.js';

async function versionsOf(mount, path) {
  const {data} = await api.read(metadataPath(mount, path));
  const list = Object.entries(data.versions ?? {}).map(([number, one]) => ({number: Number(number), ...one}));
  return {current: data.current_version, list: list.sort((a, b) => b.number - a.number)};
}

/** A screen about all versions of one secret. `body` gives what stands below its head. */
function versionsScreen(title, body) {
  return async ({params, query}) => {
    const mount = await mountAt(params.mount);
    const {path} = params;
    const top = [crumbs(trail(mount, path, title)), h('h1', {}, `${path}: ${title.toLowerCase()}`),
      secretTabs(mount, path)];
    const found = await api.settled(versionsOf(mount, path));
    if (found.error) return [top, alertBox(found.error)];
    return [top, await body({mount, path, query, ...found.value})];
  };
}

export const historyScreen = versionsScreen('Version history', ({mount, path, current, list}) => {
  const trouble = h('div', {role: 'alert'});
  return [trouble, table('Versions', ['Version', 'State', 'Created', 'Actions'], list.map((one) => [
    h('a', {href: places.show(mount, path, one.number)}, `Version ${one.number}`),
    fate(one) || (one.number === current ? 'newest' : ''),
    time(one.created_time),
    h('span', {class: 'tools'}, actions(mount, path, one, trouble),
      one.number !== current && !fate(one) && h('a', {class: 'button small',
        href: places.compare(mount, path, one.number, current)}, 'Compare with newest')),
  ]))];
});

function actions(mount, path, version, trouble) {
  const state = fate(version);
  const name = `version ${version.number}`;
  const post = (what, sure) => async () => {
    fill(trouble);
    try {
      if (sure && !await sure()) return;
      await api.post(`${mount.path}/${what}/${path}`, {versions: [version.number]});
      announce(`Done: ${what} ${name}.`);
      await go(location.pathname, {replace: true});
    } catch (error) {
      fill(trouble, h('p', {class: 'alert'}, error.message));
    }
  };
  const ask = () => confirm(`Destroy ${name}?`, 'Its values are removed for good.', 'Destroy');
  return [
    !state && button('Delete', post('delete'), 'small', {'aria-label': `Delete ${name}`}),
    state === 'deleted' && button('Undelete', post('undelete'), 'small', {'aria-label': `Undelete ${name}`}),
    state !== 'destroyed' && button('Destroy', post('destroy', ask), 'small danger',
      {'aria-label': `Destroy ${name}`}),
  ];
}

export const compareScreen = versionsScreen('Compare', async ({mount, path, query, current, list}) => {
  const known = (text) => list.some((one) => one.number === Number(text)) ? Number(text) : null;
  const older = list.find((one) => one.number !== current);
  const [a, b] = [known(query.get('a')) ?? (older ? older.number : current), known(query.get('b')) ?? current];
  const pick = (label, value, at) => {
    const box = field(label, {kind: 'select', value: String(value), options: list.map((one) =>
      [String(one.number), `Version ${one.number}${fate(one) ? ` (${fate(one)})` : ''}`])});
    box.input.addEventListener('change', () => go(at(Number(box.value)), {replace: true}));
    return box;
  };
  return [h('div', {class: 'pair'},
    pick('Left', a, (chosen) => places.compare(mount, path, chosen, b)),
    pick('Right', b, (chosen) => places.compare(mount, path, a, chosen))),
  await difference(mount, path, a, b)];
});

async function difference(mount, path, a, b) {
  const [left, right] = await Promise.all([a, b].map((one) => api.settled(readSecret(mount, path, one))));
  const error = left.error ?? right.error;
  if (error) return alertBox(error);
  const sides = [left.value.data, right.value.data];
  const gone = [a, b].filter((one, place) => sides[place] === null);
  const [before, after] = sides.map((data) => new Map(Object.entries(data ?? {})));
  const keys = [...new Set([...before.keys(), ...after.keys()])].sort();
  const secrets = [];
  const cell = (side, key, version) => {
    if (!side.has(key)) return h('span', {class: 'note'}, 'not there');
    const shown = secret(`${key} in version ${version}`, side.get(key));
    secrets.push(shown);
    return shown;
  };
  let same = 0;
  const lines = keys.map((key) => {
    const state = change(before, after, key);
    if (state === 'same') same += 1;
    return [key, h('span', {class: `badge ${state}`}, state), cell(before, key, a), cell(after, key, b)];
  });
  return [
    gone.length > 0 && note(`Version ${gone.join(' and ')} has no values any more.`),
    h('p', {}, same === keys.length ? 'Both versions hold the same.'
      : `${keys.length - same} of ${keys.length} keys differ.`),
    h('div', {class: 'actions'}, revealAll(secrets)),
    table('Differences', ['Key', 'Change', `Version ${a}`, `Version ${b}`], lines),
  ];
}

function change(before, after, key) {
  if (!before.has(key)) return 'added';
  if (!after.has(key)) return 'removed';
  return write(before.get(key)) === write(after.get(key)) ? 'same' : 'changed';
}
