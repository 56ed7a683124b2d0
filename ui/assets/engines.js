// The secrets engines: what is mounted, mounting, unmounting.

import * as api from './api.js';
import {h, announce, facts, table} from './dom.js';
import {field, form, wholeNumber} from './forms.js';
import {holdsSecrets, mountAt, places} from './kv.js';
import {address, go} from './router.js';
import {alertBox, button, confirm, crumbs, duration, linkButton, note} from './widgets.js';

const builtIn = new Set(['system', 'identity', 'cubbyhole', 'token', 'ns_system', 'ns_identity', 'ns_cubbyhole']);

export async function enginesScreen() {
  const {data} = await api.read('sys/internal/ui/mounts');
  const mounts = Object.entries(data.secret || {}).sort(([a], [b]) => a.localeCompare(b));
  return [
    h('div', {class: 'title'}, h('h1', {}, 'Secrets Engines'),
      linkButton('Enable new engine +', '/ui/vault/settings/mount-secret-backend', 'main')),
    mounts.length
      ? table('Secrets engines', ['Path', 'Type', 'Description', 'Actions'], mounts.map(row))
      : note('This token sees no engine. Its policies may allow paths below one all the same: open it by its '
        + 'address, or ask for the right to read.'),
    openMount(),
  ];
}

function row([slashed, mount]) {
  const path = slashed.replace(/\/$/, '');
  const version = mount.options && mount.options.version;
  return [
    holdsSecrets(mount.type) ? h('a', {href: places.list({path})}, slashed) : slashed,
    mount.type + (version ? ` version ${version}` : ''),
    mount.description || '',
    builtIn.has(mount.type) ? '' : h('span', {class: 'tools'},
      h('a', {class: 'button small', href: places.configuration(path)}, 'Configuration'),
      button('Disable', () => disable(slashed, mount.type), 'small danger', {'aria-label': `Disable ${slashed}`})),
  ];
}

// A policy may allow a path in a mount that the list does not show.
function openMount() {
  const path = field('Mount path', {placeholder: 'team/kv', required: true});
  return h('details', {}, h('summary', {}, 'Open an engine by its path'),
    form([path], 'Open', () => go(places.list({path: path.value.trim().replace(/^\/+|\/+$/g, '')})), {kind: ''}));
}

async function disable(path, type) {
  const sure = await confirm(`Disable ${path}?`,
    'Everything in this engine is deleted, and everything that it has given out is revoked. This cannot be undone.',
    'Disable engine', {word: path.replace(/\/$/, '')});
  if (!sure) return;
  try {
    await api.remove(`sys/mounts/${path.replace(/\/$/, '')}`);
    announce(`The ${type} engine at ${path} is disabled.`);
    await go('/ui/vault/secrets');
  } catch (error) {
    document.getElementById('main').prepend(alertBox(error));
  }
}

export async function enableEngineScreen({query}) {
  const type = query.get('type');
  const here = address('settings', 'mount-secret-backend');
  const where = crumbs([['Secrets', '/ui/vault/secrets'], ['Enable new engine', here], ...type ? [[type, '']] : []]);
  return [where, h('h1', {}, type ? `Enable ${name(type)}` : 'Enable a secrets engine'),
    type ? options(type, here) : await choice(here)];
}

const name = (type) => type === 'kv' ? 'KV' : type;
const about = {kv: 'Secrets that you write, with versions if you like.'};

async function choice(here) {
  // Who may not read the catalogue may still be allowed to mount.
  const catalog = await api.settled(api.read('sys/plugins/catalog'));
  const types = (catalog.value && catalog.value.data.secret) || ['kv'];
  const boxes = types.map((type) => h('label', {class: 'choice'},
    h('input', {type: 'radio', name: 'type', value: type, checked: type === 'kv'}),
    h('b', {}, name(type)), h('span', {}, about[type]
      || 'Enabled and disabled here; used by the command line and the API.')));
  return form(h('fieldset', {}, h('legend', {}, 'Type'), boxes), 'Next', () => {
    const chosen = boxes.map((box) => box.querySelector('input')).find((input) => input.checked);
    return go(`${here}?type=${encodeURIComponent(chosen.value)}`);
  }, {cancel: '/ui/vault/secrets'});
}

function options(type, here) {
  const path = field('Path', {value: type, required: true, autofocus: true});
  const description = field('Description');
  const version = field('Version', {kind: 'select', value: '2', options: [
    ['2', '2: keeps earlier versions of a secret'], ['1', '1: keeps the newest only'],
  ]});
  const most = field('Maximum number of versions', {kind: 'number', min: 0,
    help: 'How many versions of a secret are kept; empty for the default of 10.'});
  const isKV = type === 'kv';
  version.input.addEventListener('change', () => { most.hidden = version.value !== '2'; });
  return form([path, description, isKV && version, isKV && most], 'Enable Engine', async () => {
    const at = path.value.trim().replace(/^\/+|\/+$/g, '');
    const kept = isKV && version.value === '2' ? wholeNumber(most, 'Maximum number of versions', 0) : 0;
    await api.post(`sys/mounts/${at}`, {
      type, description: description.value, ...isKV ? {options: {version: version.value}} : {},
    });
    announce(`The ${name(type)} engine is enabled at ${at}/.`);
    // The mount stands, whatever becomes of its settings.
    if (kept) await api.post(`${at}/config`, {max_versions: kept});
    await go(holdsSecrets(type) ? places.list({path: at}) : '/ui/vault/secrets');
  }, {cancel: here});
}

export async function engineScreen({params}) {
  const mount = await mountAt(params.mount);
  const config = mount.config || {};
  const own = mount.version === 2 && await api.settled(api.read(`${mount.path}/config`));
  return [
    crumbs([['Secrets', '/ui/vault/secrets'],
      [mount.path, mount.isStore ? places.list(mount) : places.configuration(mount.path)], ['Configuration', '']]),
    h('h1', {}, `${mount.path}: configuration`),
    facts([
      ['Type', mount.type], ['Version', mount.version || ''], ['Path', `${mount.path}/`],
      ['Description', mount.description], ['Accessor', mount.accessor], ['Local', mount.local ? 'yes' : 'no'],
      ['Default lease TTL', config.default_lease_ttl ? duration(config.default_lease_ttl) : 'the system’s'],
      ['Maximum lease TTL', config.max_lease_ttl ? duration(config.max_lease_ttl) : 'the system’s'],
    ]),
    own && h('h2', {}, 'Versions'),
    own && (own.error ? alertBox(own.error) : versionSettings(mount, own.value.data)),
    !mount.isStore && note('This engine is used by the command line and the API.'),
  ];
}

function versionSettings(mount, config) {
  const most = field('Maximum number of versions', {kind: 'number', min: 0, value: String(config.max_versions),
    help: '0 for the default of 10.'});
  const check = field('Require check-and-set', {kind: 'checkbox', value: config.cas_required,
    help: 'Whoever writes must say which version was the newest.'});
  const age = field('Delete versions after', {value: config.delete_version_after,
    help: 'A duration such as 720h; 0s for never.'});
  return form([most, check, age], 'Save', async () => {
    await api.post(`${mount.path}/config`, {
      max_versions: wholeNumber(most, 'Maximum number of versions', 0), cas_required: check.value,
      delete_version_after: age.value.trim() || '0s',
    });
    announce('Saved.');
  });
}
