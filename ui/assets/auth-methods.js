// Auth methods: the ways to sign in.

import * as api from './api.js';
import {h, fill, announce, table} from './dom.js';
import {field, form} from './forms.js';
import {go} from './router.js';
import {alertBox, button, confirm, crumbs, linkButton} from './widgets.js';

const base = '/ui/vault/access';

export async function authMethodsScreen() {
  const found = await api.settled(api.read('sys/auth'));
  const trouble = h('div', {}, found.error && alertBox(found.error));
  const mounts = Object.entries(found.value ? found.value.data : {}).sort(([a], [b]) => a.localeCompare(b));
  return [
    h('div', {class: 'title'}, h('h1', {}, 'Auth methods'),
      linkButton('Enable new method +', '/ui/vault/settings/auth/enable', 'main')),
    trouble,
    found.value && table('Auth methods', ['Path', 'Type', 'Description', 'Shown at sign-in', 'Actions'],
      mounts.map(([path, mount]) => [
        path, mount.type, mount.description || '',
        mount.config.listing_visibility === 'unauth' ? 'yes' : 'no',
        mount.type === 'token' ? '' : button('Disable', () => disable(path, trouble), 'small danger',
          {'aria-label': `Disable ${path}`}),
      ])),
  ];
}

async function disable(path, trouble) {
  const name = path.replace(/\/$/, '');
  const sure = await confirm(`Disable ${path}?`,
    'Its users and roles are deleted, and every token that it has given out is revoked.', 'Disable method',
    {word: name});
  if (!sure) return;
  try {
    await api.remove(`sys/auth/${name}`);
    announce(`The method at ${path} is disabled.`);
    await go(base);
  } catch (error) {
    fill(trouble, alertBox(error));
  }
}

export async function enableAuthScreen() {
  const catalog = await api.settled(api.read('sys/plugins/catalog'));
  const types = (catalog.value && catalog.value.data.auth) || ['userpass', 'approle'];
  const type = field('Type', {kind: 'select', value: types[0], options: types.map((one) => [one, one])});
  const path = field('Path', {value: types[0], required: true});
  const description = field('Description');
  const visible = field('Show it at sign-in to everybody', {kind: 'checkbox'});
  type.input.addEventListener('change', () => { path.input.value = type.value; });
  return [
    crumbs([['Auth methods', base], ['Enable new method', '']]),
    h('h1', {}, 'Enable an auth method'),
    form([type, path, description, visible], 'Enable Method', async () => {
      const at = path.value.trim().replace(/^\/+|\/+$/g, '');
      await api.post(`sys/auth/${at}`, {
        type: type.value, description: description.value,
        ...visible.value ? {config: {listing_visibility: 'unauth'}} : {},
      });
      announce(`The ${type.value} method is enabled at ${at}/.`);
      await go(base);
    }, {cancel: base}),
  ];
}
