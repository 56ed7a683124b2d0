// The page's beginning: which screens there are, what stands around them, and who may see which.

import * as api from './api.js';
import {authMethodsScreen, enableAuthScreen} from './auth-methods.js';
import {clusterScreen} from './cluster.js';
import {h, fill} from './dom.js';
import {enableEngineScreen, enginesScreen, engineScreen} from './engines.js';
import {initScreen} from './init.js';
import {browseScreen} from './kv-browse.js';
import {createScreen, editScreen} from './kv-edit.js';
import {compareScreen, historyScreen} from './kv-history.js';
import {metadataScreen} from './kv-metadata.js';
import {secretScreen} from './kv-secret.js';
import {createPolicyScreen, editPolicyScreen, policiesScreen, policyScreen} from './policies.js';
import {followLinks, go, route, setGuard, show} from './router.js';
import * as session from './session.js';
import {resume, signInScreen} from './signin.js';
import {tokenScreen} from './token.js';
import {toolsScreen} from './tools.js';
import {unsealScreen} from './unseal.js';
import {button} from './widgets.js';

route('', 'Holdfast', start, {isOpen: true});
route('init', 'Initialize', initScreen, {isOpen: true});
route('unseal', 'Unseal', unsealScreen, {isOpen: true});
route('auth', 'Sign in', signInScreen, {isOpen: true});
route('secrets', 'Secrets Engines', enginesScreen);
route('settings/mount-secret-backend', 'Enable a secrets engine', enableEngineScreen);
route('secrets/:mount', 'Secrets', ({params}) => `/ui/vault/secrets/${encodeURIComponent(params.mount)}/list/`);
route('secrets/:mount/configuration', 'Configuration', engineScreen);
route('secrets/:mount/list/*folder', 'Secrets', browseScreen);
route('secrets/:mount/create/*folder', 'Create secret', createScreen);
route('secrets/:mount/show/*path', 'Secret', secretScreen);
route('secrets/:mount/edit/*path', 'Edit', editScreen);
route('secrets/:mount/versions/*path', 'Version history', historyScreen);
route('secrets/:mount/compare/*path', 'Compare', compareScreen);
route('secrets/:mount/metadata/*path', 'Metadata', metadataScreen);
route('policies', 'Policies', () => '/ui/vault/policies/acl');
route('policies/acl', 'ACL policies', policiesScreen);
route('policies/acl/create', 'Create ACL policy', createPolicyScreen);
route('policy/acl/:name', 'Policy', policyScreen);
route('policy/acl/:name/edit', 'Edit policy', editPolicyScreen);
route('access', 'Auth methods', authMethodsScreen);
route('settings/auth/enable', 'Enable an auth method', enableAuthScreen);
route('token', 'Your token', tokenScreen);
route('cluster', 'Cluster', clusterScreen);
route('tools', 'Tools', () => '/ui/vault/tools/wrap');
route('tools/:tool', 'Tools', toolsScreen);

// Where to begin depends on what this node is and on whether somebody has signed in.
async function start() {
  const status = await api.read('sys/seal-status', {token: null});
  if (!status.initialized) return '/ui/vault/init';
  if (status.sealed) return '/ui/vault/unseal';
  return session.token() ? '/ui/vault/secrets' : '/ui/vault/auth';
}

setGuard(async (route) => {
  if (!route) return null;
  if (route.isOpen) {
    if (route.title !== 'Sign in') return null;
    // Nobody can sign in at a node that is sealed.
    const first = await start();
    return first === '/ui/vault/auth' || first === '/ui/vault/secrets' ? null : first;
  }
  if (!session.token()) {
    const first = await start();
    const here = location.pathname + location.search;
    return first === '/ui/vault/auth' ? `${first}?next=${encodeURIComponent(here)}` : first;
  }
  await resume();
  return null;
});

const places = [['Secrets', '/ui/vault/secrets'], ['Policies', '/ui/vault/policies/acl'],
  ['Access', '/ui/vault/access'], ['Tools', '/ui/vault/tools/wrap'], ['Cluster', '/ui/vault/cluster']];
const sections = {Secrets: /^(secrets|settings\/mount)/, Policies: /^polic/, Access: /^(access|settings\/auth)/,
  Tools: /^tools/, Cluster: /^cluster/};

function around() {
  const here = location.pathname.replace(/^\/ui\/vault\//, '');
  const head = document.getElementById('head');
  if (!head) return;
  fill(head,
    h('a', {class: 'brand', href: '/ui/'}, h('img', {src: '/ui/assets/icon.svg', alt: '', width: 28, height: 28}),
      'Holdfast'),
    session.token() && h('nav', {'aria-label': 'Main'}, places.map(([text, href]) =>
      h('a', {href, 'aria-current': sections[text].test(here) ? 'true' : false}, text))),
    session.token() && h('div', {class: 'who'},
      h('a', {href: '/ui/vault/token', 'aria-current': here === 'token' ? 'page' : false},
        (session.self() && session.self().display_name) || 'Your token'),
      button('Sign out', () => session.end('out'), 'small')));
  about();
}

// Which node answers, for behind a load balancer that may be any.
async function about() {
  const foot = document.getElementById('foot');
  const health = await api.settled(api.read('sys/health',
    {token: null, query: {standbyok: 'true', sealedcode: '200', uninitcode: '200'}}));
  const now = health.value;
  if (!now) return fill(foot, 'The server does not answer.');
  const state = !now.initialized ? 'not initialized' : now.sealed ? 'sealed' : now.standby ? 'standby' : 'active';
  fill(foot, `Holdfast ${now.version} · this node: ${state}`, now.cluster_name ? ` · ${now.cluster_name}` : '');
}

addEventListener('holdfast-shown', around);
addEventListener('holdfast-sealed', () => {
  if (!/^\/ui\/vault\/(unseal|init)$/.test(location.pathname)) go('/ui/vault/unseal');
});
// A page that the browser kept as it was, behind its back button, holds what it showed.
addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
followLinks();
show();
