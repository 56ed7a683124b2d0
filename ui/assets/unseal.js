// Unsealing: holders of key shares come one after the other, from this page or from elsewhere.

import * as api from './api.js';
import {h, fill, announce} from './dom.js';
import {field, form} from './forms.js';
import {go} from './router.js';
import {button, note} from './widgets.js';

const patience = 300;
const pause = 100;

export async function unsealScreen() {
  const status = await api.read('sys/seal-status');
  if (!status.sealed) return '/ui/';
  if (!status.initialized) return '/ui/vault/init';
  const progress = h('div', {});
  const key = field('Unseal key portion', {kind: 'password', required: true, autofocus: true,
    help: 'In hexadecimal or base64. It is sent to this node only.'});
  const show = (now) => fill(progress,
    h('progress', {max: now.t, value: now.progress, 'aria-label': 'Keys entered'}),
    h('p', {}, `${now.progress} of ${now.t} keys entered`, now.nonce ? ` · nonce ${now.nonce}` : ''),
    now.progress > 0 && button('Reset', async () => {
      show(await api.put('sys/unseal', {reset: true}));
      announce('The keys that were entered are forgotten.');
    }, 'small'));
  show(status);
  return [
    h('h1', {}, 'Unseal this node'),
    h('p', {}, 'The node is sealed: it holds its data but cannot read it, and answers almost nothing.'),
    status.type !== 'shamir' && note(`Its seal is ${status.type}: it unseals by itself as soon as it reaches it. `
      + 'If it stays sealed, its log has the reason.'),
    progress,
    form([key], 'Unseal', async () => {
      const entered = key.value.trim();
      key.input.value = '';
      key.input.focus();
      const answer = await api.settled(api.put('sys/unseal', {key: entered}));
      // Where the keys together were wrong, the node has forgotten all of them.
      const now = answer.value ?? await api.read('sys/seal-status');
      show(now);
      if (answer.error) throw answer.error;
      if (now.sealed && now.progress > 0) return announce(`${now.progress} of ${now.t} keys entered.`);
      // With the last key a node that has just joined goes on by itself: it asks the cluster whether to believe it.
      announce(now.sealed ? 'All keys are entered. The node is being taken into the cluster.' : 'Unsealed.');
      if (!await ready()) {
        throw new Error('The node is still sealed. Was a key wrong, or does the cluster not answer? Its log tells.');
      }
      await go('/ui/');
    }),
  ];
}

// A node that was unsealed needs a moment until it knows who leads.
async function ready() {
  for (let turn = 0; turn < patience; turn += 1) {
    const health = await api.settled(api.read('sys/health',
      {token: null, query: {standbyok: 'true', sealedcode: '200', uninitcode: '200'}}));
    if (health.value && !health.value.sealed) return true;
    await new Promise((resolve) => { setTimeout(resolve, pause); });
  }
  return false;
}
