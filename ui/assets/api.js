// Asks the API of this server. Nothing else is ever asked: the page's policy allows no other origin.

import {parse, write} from './json.js';
import * as session from './session.js';

/** What went wrong, in a sentence. `status` is 0 when there was no answer; `body` is the answer's. */
export class APIError extends Error {
  constructor(status, messages, what, body) {
    super(sentence(status, messages, what));
    this.status = status;
    this.messages = messages;
    this.body = body;
  }
}

function sentence(status, messages, what) {
  const said = messages.map(tidy).filter(Boolean).join(' ');
  if (status === 0) return 'The server did not answer. Is it running, and can this browser reach it?';
  if (status === 403 && /^permission denied\.?$/i.test(said)) {
    return `Permission denied: the policies of your token do not let it ${what}.`;
  }
  if (status === 404 && !said) return `There is nothing at this path (${what}).`;
  if (status === 503 && /sealed/i.test(said)) return 'This node is sealed.';
  return said || `The server answered with status ${status} (${what}).`;
}

// "1 error occurred:\n\t* permission denied\n\n" is how lists of errors come.
function tidy(text) {
  const plain = String(text).replace(/^\d+ errors? occurred:\s*/, '').replace(/\s*\*\s+/g, ' ').trim();
  const first = plain.charAt(0).toUpperCase() + plain.slice(1);
  return first && !/[.!?]$/.test(first) ? `${first}.` : first;
}

/** A path with each segment escaped. */
export function escaped(path) {
  return path.split('/').map(encodeURIComponent).join('/');
}

const verbs = {GET: 'read', LIST: 'list', POST: 'write', PUT: 'write', DELETE: 'delete'};

/**
 * One request. Returns the answer's JSON, null where there was none.
 * `token` may be given in place of the session's; `query` are pairs; `wrapTTL` asks for a wrapped answer.
 */
export async function call(method, path, body, {token = session.token(), query = {}, wrapTTL} = {}) {
  const what = `${verbs[method]} ${path}`;
  const headers = {'X-Vault-Request': 'true'};
  if (token) headers['X-Vault-Token'] = token;
  if (wrapTTL) headers['X-Vault-Wrap-TTL'] = wrapTTL;
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const pairs = new URLSearchParams(query);
  if (method === 'LIST') pairs.set('list', 'true');
  const asked = pairs.toString();
  const address = `/v1/${escaped(path)}${asked ? `?${asked}` : ''}`;
  let response, text;
  try {
    response = await fetch(address, {
      method: method === 'LIST' ? 'GET' : method, headers,
      body: body === undefined ? undefined : write(body),
      cache: 'no-store', credentials: 'omit', redirect: 'error', referrerPolicy: 'no-referrer',
    });
    text = await response.text();
  } catch {
    throw new APIError(0, [], what);
  }
  let json = null;
  try {
    json = text ? parse(text) : null;
  } catch {
    throw new APIError(response.status, ['The answer was not JSON'], what);
  }
  if (response.ok) return json;
  const error = new APIError(response.status, (json && json.errors) || [], what, json);
  if (response.status === 403 && token && token === session.token()) await checkSession();
  if (response.status === 503 && error.messages.some((one) => /sealed/i.test(one))) {
    dispatchEvent(new Event('holdfast-sealed'));
  }
  throw error;
}

// A 403 may mean that the path is forbidden, or that the token is no more. Only the latter ends the session.
let checking = null;
async function checkSession() {
  const known = session.self();
  if (!known || known.blind) return;
  checking ??= fetch('/v1/auth/token/lookup-self', {
    headers: {'X-Vault-Token': session.token(), 'X-Vault-Request': 'true'}, cache: 'no-store', credentials: 'omit',
  }).then((response) => response.status === 403, () => false).finally(() => { checking = null; });
  if (await checking) await session.end('ended');
}

export const read = (path, options) => call('GET', path, undefined, options);
export const list = (path, options) => call('LIST', path, undefined, options);
export const post = (path, body, options) => call('POST', path, body, options);
export const put = (path, body, options) => call('PUT', path, body, options);
export const remove = (path, body, options) => call('DELETE', path, body, options);

/** The names below a path; an empty list where there is nothing. */
export async function names(path) {
  try {
    return (await list(path)).data.keys;
  } catch (error) {
    if (error.status === 404) return [];
    throw error;
  }
}

/** What came, or the error, for pages that show several things and stand without one of them. */
export function settled(promise) {
  return promise.then((value) => ({value}), (error) => ({error}));
}
