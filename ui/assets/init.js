// A server that nobody has initialised: it makes its keys here, once, or becomes a member of a cluster.

import * as api from './api.js';
import {h, fill, announce} from './dom.js';
import {field, form, wholeNumber} from './forms.js';
import {go} from './router.js';
import {alertBox, button, note, revealAll, secret} from './widgets.js';

export async function initScreen() {
  const status = await api.read('sys/seal-status');
  if (status.initialized) return '/ui/';
  const byItself = status.recovery_seal || status.type !== 'shamir';
  const kind = byItself ? 'recovery key' : 'unseal key';
  const shares = field('Key shares', {kind: 'number', value: '5', min: 1, max: 255, required: true,
    help: `Into how many parts the ${kind} is split.`});
  const threshold = field('Key threshold', {kind: 'number', value: '3', min: 1, max: 255, required: true,
    help: 'How many of them are needed together.'});
  const box = h('section', {});
  fill(box,
    h('p', {}, byItself
      ? 'This node unseals itself. It makes recovery keys, for what needs several people, and a root token.'
      : 'The server encrypts everything with a key that it keeps nowhere. Whoever holds enough shares unseals it.'),
    form([shares, threshold], 'Initialize', async () => {
      const parts = wholeNumber(shares, 'Key shares');
      const needed = wholeNumber(threshold, 'Key threshold');
      const made = await api.put('sys/init', byItself
        ? {recovery_shares: parts, recovery_threshold: needed} : {secret_shares: parts, secret_threshold: needed});
      fill(box, keys(made, byItself, needed));
      announce('The server is initialized. Store the keys now.');
    }));
  return [h('h1', {}, 'Initialize this server'), box, status.storage_type === 'raft' && join()];
}

function keys(made, byItself, needed) {
  const name = byItself ? 'Recovery key' : 'Unseal key';
  const all = (byItself ? made.recovery_keys_base64 : made.keys_base64) ?? [];
  const shown = [
    ...all.map((key, place) => [`${name} ${place + 1}`, key]), ['Initial root token', made.root_token],
  ].map(([label, value]) => ({label, value, node: secret(label, value)}));
  const download = () => {
    const text = `${shown.map(({label, value}) => `${label}: ${value}`).join('\n')}\n`;
    const address = URL.createObjectURL(new Blob([text], {type: 'text/plain'}));
    // This is the one address that `h` would refuse: it leads to what this page has made, and lives for this click.
    const link = document.createElement('a');
    link.href = address;
    link.download = 'holdfast-keys.txt';
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };
  return [
    h('p', {class: 'alert warn'}, 'These are shown once, and nobody can show them again. Give each key to somebody '
      + `else: ${needed} of them ${needed === 1 ? 'is' : 'are'} needed`
      + (byItself ? ' for what the root token may not do alone.' : ' whenever the server has been sealed or started.')),
    h('dl', {class: 'facts keys'}, shown.map(({label, node}) => [h('dt', {}, label), h('dd', {}, node)])),
    h('div', {class: 'actions'}, revealAll(shown.map(({node}) => node)), button('Download keys', download),
      // The page is loaded anew, so that nothing of the keys stays behind.
      button(byItself ? 'Continue to sign in' : 'Continue to unseal', () => location.assign('/ui/'), 'main')),
  ];
}

function join() {
  const leader = field('Address of a member', {placeholder: 'https://node-0.example:8200', required: true,
    help: 'The API address of the node that leads, or of any other member.'});
  const certificate = field('Certificate of its authority (PEM)', {kind: 'textarea',
    help: 'Where the address is https and the system does not know the authority.'});
  const done = h('div', {});
  return h('section', {}, h('h2', {}, 'Or join a cluster'),
    form([leader, certificate], 'Join cluster', async () => {
      const body = {leader_api_addr: leader.value.trim()};
      if (certificate.value.trim()) body.leader_ca_cert = certificate.value;
      const answer = await api.post('sys/storage/raft/join', body);
      if (answer && answer.joined === false) return fill(done, alertBox('The member did not take this node in.'));
      announce('Joined. Unseal this node with the keys of the cluster.');
      await go('/ui/');
    }, {kind: ''}), done, note('It gets its data and its keys from there.'));
}
