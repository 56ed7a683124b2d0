// Signing in: with a token, or by a login that gives one.

import * as api from './api.js';
import {h, fill} from './dom.js';
import {field, form} from './forms.js';
import {go} from './router.js';
import * as session from './session.js';

const methods = {
  token: {
    label: 'Token',
    fields: () => ({token: field('Token', {kind: 'password', required: true})}),
    login: async (path, {token}) => token.value.trim(),
  },
  userpass: {
    label: 'Username and password',
    fields: () => ({
      name: field('Username', {required: true, autocomplete: 'username'}),
      password: field('Password', {kind: 'password', required: true, autocomplete: 'current-password'}),
    }),
    login: (path, {name, password}) =>
      login(`auth/${path}/login/${name.value}`, {password: password.value}),
  },
  approle: {
    label: 'AppRole',
    fields: () => ({
      role: field('Role ID', {required: true}),
      secret: field('Secret ID', {kind: 'password'}),
    }),
    login: (path, {role, secret}) =>
      login(`auth/${path}/login`, {role_id: role.value.trim(), secret_id: secret.value.trim()}),
  },
};

async function login(path, body) {
  return (await api.post(path, body, {token: null})).auth.client_token;
}

export async function signInScreen({query}) {
  // Mounts that may be seen by everybody come first, by their paths.
  const visible = await api.settled(api.read('sys/internal/ui/mounts', {token: null}));
  const mounts = Object.entries((visible.value && visible.value.data.auth) || {})
    .filter(([, mount]) => mount.type !== 'token' && Object.hasOwn(methods, mount.type));
  const choices = [
    ...mounts.map(([path, mount]) => [`${mount.type}:${path.replace(/\/$/, '')}`,
      `${mount.description || methods[mount.type].label} (${path})`]),
    ...Object.entries(methods).map(([type, one]) => [type, mounts.length && type !== 'token'
      ? `${one.label}, at another path` : one.label]),
  ];
  const method = field('Method', {kind: 'select', options: choices, value: choices[0][0]});
  const place = h('div', {});
  let type, path, fields;
  const show = () => {
    [type, path] = method.value.split(/:(.*)/s);
    fields = methods[type].fields();
    const mountPath = type !== 'token' && !path
      && field('Mount path', {value: type, help: 'Where the method is mounted.'});
    fill(place, Object.values(fields), mountPath);
    if (mountPath) fields.mountPath = mountPath;
  };
  method.input.addEventListener('change', show);
  show();
  fields[Object.keys(fields)[0]].input.setAttribute('autofocus', '');
  const why = session.farewell(query.get('why'));
  return [
    h('h1', {}, 'Sign in to Holdfast'),
    why && h('p', {class: 'note', role: 'status'}, why),
    h('div', {class: 'card'}, form([method, place], 'Sign in', async () => {
      const at = path || (fields.mountPath && fields.mountPath.value.trim().replace(/^\/+|\/+$/g, ''));
      const token = await methods[type].login(at, fields);
      if (!/^[\x21-\x7e]+$/.test(token)) throw new Error('Token: expected visible ASCII characters.');
      await enter(token);
      for (const one of Object.values(fields)) one.input.value = '';
      const next = query.get('next');
      await go(next && next.startsWith('/ui/vault/') ? next : '/ui/vault/secrets');
    })),
  ];
}

async function enter(token) {
  let self;
  try {
    self = (await api.read('auth/token/lookup-self', {token})).data;
  } catch (error) {
    if (error.status !== 403) throw error;
    // It is no token, or one that may do something but not look at itself; an answer tells them apart.
    const capable = await api.settled(api.post('sys/capabilities-self', {paths: ['sys/mounts']}, {token}));
    const mounts = capable.value || (await api.settled(api.read('sys/internal/ui/mounts', {token}))).value;
    if (!mounts || !(mounts.data.secret && Object.keys(mounts.data.secret).length || capable.value)) {
      throw new Error('The server does not know this token: it is wrong, has expired, or was revoked.');
    }
    self = session.blind;
  }
  session.begin(token, self);
}

/** Asks again who this is, after the page was loaded anew. */
export async function resume() {
  if (!session.token() || session.self()) return;
  const answer = await api.settled(api.read('auth/token/lookup-self'));
  if (answer.value) session.know(answer.value.data);
  else if (answer.error.status === 403) await session.end('ended');
}
