// Response wrapping, random bytes, hashes.

import * as api from './api.js';
import {h, fill, facts} from './dom.js';
import {field, form, wholeNumber} from './forms.js';
import {objectOf, write} from './json.js';
import {address} from './router.js';
import {duration, secret, tabs, time} from './widgets.js';

const names = {wrap: 'Wrap', lookup: 'Lookup', unwrap: 'Unwrap', rewrap: 'Rewrap', random: 'Random', hash: 'Hash'};

export function toolsScreen({params}) {
  const tool = Object.hasOwn(names, params.tool) ? params.tool : 'wrap';
  const result = h('div', {'aria-live': 'polite'});
  return [
    h('h1', {}, `${names[tool]}`),
    tabs('Tools', Object.entries(names).map(([one, text]) => [text, address('tools', one)])),
    tools[tool]((...shown) => fill(result, h('section', {}, h('h2', {}, 'Result'), shown))),
    result,
  ];
}

const tokenField = () => field('Wrapping token', {kind: 'password', required: true, autofocus: true});

function wrapped(info) {
  return [
    h('dl', {class: 'facts'}, h('dt', {}, 'Wrapping token'), h('dd', {}, secret('the wrapping token', info.token))),
    facts([['Lives for', duration(info.ttl)], ['Created', time(info.creation_time)],
      ['Made at', info.creation_path], ['Accessor', info.accessor]]),
  ];
}

const tools = {
  wrap(show) {
    const data = field('Data as JSON', {kind: 'textarea', class: 'code', value: '{\n  \n}', required: true});
    const ttl = field('Lives for', {value: '30m', required: true, help: 'A duration such as 30m.'});
    return form([data, ttl], 'Wrap data', async () => {
      const answer = await api.post('sys/wrapping/wrap', objectOf(data.value), {wrapTTL: ttl.value.trim()});
      data.input.value = '{\n  \n}';
      show(wrapped(answer.wrap_info));
    });
  },
  lookup(show) {
    const token = tokenField();
    return form([token], 'Look up token', async () => {
      const {data} = await api.post('sys/wrapping/lookup', {token: token.value.trim()});
      show(facts([['Made at', data.creation_path], ['Created', time(data.creation_time)],
        ['Lives for', duration(data.creation_ttl)]]));
    });
  },
  unwrap(show) {
    const token = tokenField();
    return form([token], 'Unwrap data', async () => {
      const answer = await api.post('sys/wrapping/unwrap', {token: token.value.trim()});
      token.input.value = '';
      show(secret('the unwrapped data', write(answer.data ?? answer.auth, 2)));
    });
  },
  rewrap(show) {
    const token = tokenField();
    return form([token], 'Rewrap token', async () => {
      const answer = await api.post('sys/wrapping/rewrap', {token: token.value.trim()});
      token.input.value = '';
      show(wrapped(answer.wrap_info));
    });
  },
  random(show) {
    const count = field('Number of bytes', {kind: 'number', value: '32', min: 1, required: true});
    const format = field('Format', {kind: 'select', value: 'base64', options: [['base64'], ['hex']]});
    return form([count, format], 'Generate', async () => {
      const bytes = wholeNumber(count, 'Number of bytes');
      const {data} = await api.post('sys/tools/random', {bytes, format: format.value});
      show(secret('the random bytes', data.random_bytes));
    });
  },
  hash(show) {
    const input = field('Input', {kind: 'textarea', help: 'Text; its UTF-8 bytes are hashed.'});
    const algorithms = ['sha2-224', 'sha2-256', 'sha2-384', 'sha2-512', 'sha3-224', 'sha3-256', 'sha3-384', 'sha3-512'];
    const algorithm = field('Algorithm', {kind: 'select', value: 'sha2-256', options: algorithms.map((one) => [one])});
    const format = field('Format', {kind: 'select', value: 'hex', options: [['hex'], ['base64']]});
    return form([input, algorithm, format], 'Hash', async () => {
      const bytes = new TextEncoder().encode(input.value);
      const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
      const {data} = await api.post('sys/tools/hash', {
        input: base64, algorithm: algorithm.value, format: format.value,
      });
      show(facts([['Sum', data.sum]]));
    });
  },
};
