// The token of whoever has signed in.

import * as api from './api.js';
import {h, announce, facts} from './dom.js';
import {field, form} from './forms.js';
import {go} from './router.js';
import * as session from './session.js';
import {alertBox, button, copyButton, duration, time} from './widgets.js';

export async function tokenScreen() {
  const found = await api.settled(api.read('auth/token/lookup-self'));
  if (found.error) return [h('h1', {}, 'Your token'), alertBox(found.error), leaving()];
  const self = found.value.data;
  session.know(self);
  return [
    h('h1', {}, 'Your token'),
    facts([
      ['Display name', self.display_name], ['Policies', [...self.policies ?? []].join(', ')],
      ['Policies of the identity', [...self.identity_policies ?? []].join(', ')],
      ['Type', self.type], ['Made by', self.path], ['Accessor', self.accessor], ['Entity', self.entity_id],
      ['Issued', time(self.issue_time)], ['Expires', self.expire_time ? time(self.expire_time) : 'never'],
      ['Time left', duration(self.ttl)], ['Uses left', self.num_uses || ''],
      ['Renewable', self.renewable ? 'yes' : 'no'], ['Orphan', self.orphan ? 'yes' : 'no'],
    ]),
    self.renewable && renewal(),
    h('section', {}, h('h2', {}, 'Use it elsewhere'),
      h('p', {}, 'The token itself is never shown here. ', copyButton('the token', session.token()))),
    leaving(),
  ];
}

function renewal() {
  const increment = field('Increment', {placeholder: '1h', help: 'How long it shall live from now on; empty for '
    + 'what its method says.'});
  return h('section', {}, h('h2', {}, 'Renew'), form([increment], 'Renew token', async () => {
    const wanted = increment.value.trim();
    await api.post('auth/token/renew-self', wanted ? {increment: wanted} : {});
    announce('The token is renewed.');
    await go(location.pathname, {replace: true});
  }));
}

function leaving() {
  const trouble = h('div', {});
  return h('section', {}, h('h2', {}, 'Sign out'),
    h('p', {}, 'Signing out empties this page. Revoking makes the token worthless everywhere, with all that was '
      + 'made by it.'), trouble,
    h('div', {class: 'actions'}, button('Sign out', () => session.end('out')),
      button('Revoke token and sign out', async () => {
        try {
          await api.post('auth/token/revoke-self', {});
          await session.end('out');
        } catch (error) {
          trouble.replaceChildren(alertBox(error));
        }
      }, 'danger')));
}
