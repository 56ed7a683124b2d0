// Addresses and screens. A screen is a function of what stands in the address; it returns the page's content.

import {h, fill} from './dom.js';

const routes = [];
let serial = 0;
let guard = () => null;

/**
 * A screen for addresses of this shape: `secrets/:mount/show/*path`. `:name` is one segment, `*name` is the rest.
 * `run` gets {params, query} and returns a node, or an address to go to.
 */
export function route(shape, title, run, options = {}) {
  routes.push({segments: shape.split('/'), title, run, ...options});
}

/** What may send a visitor elsewhere: gets the route, returns an address or null. */
export function setGuard(check) {
  guard = check;
}

/** An address of this page: segments are escaped, so that a mount "team/kv" is one of them. */
export function address(...segments) {
  return `/ui/vault/${segments.map((one) => encodeURIComponent(one)).join('/')}`;
}

/** The address for a path that keeps its slashes. */
export function addressOfPath(segments, path, query = '') {
  const tail = path.split('/').map(encodeURIComponent).join('/');
  return `${address(...segments)}/${tail}${query}`;
}

export function go(to, {replace = false} = {}) {
  history[replace ? 'replaceState' : 'pushState'](null, '', to);
  return show();
}

/** Shows the screen of the address. A screen that comes late, after another was asked for, is dropped. */
export async function show() {
  const turn = ++serial;
  const main = document.getElementById('main');
  if (!main) return;
  main.setAttribute('aria-busy', 'true');
  const slow = setTimeout(() => turn === serial && fill(main, h('p', {}, 'Loading…')), 250);
  let content, title = 'Not found';
  try {
    const found = match();
    const elsewhere = await guard(found && found.route);
    if (turn !== serial) return;
    if (elsewhere) return go(elsewhere, {replace: true});
    if (found) {
      title = found.route.title;
      content = await found.route.run({params: found.params, query: new URLSearchParams(location.search)});
    } else {
      content = problem('Not found', new Error('There is no screen at this address.'));
    }
  } catch (error) {
    content = problem(title, error);
  } finally {
    clearTimeout(slow);
  }
  if (turn !== serial || !document.contains(main)) return;
  if (typeof content === 'string') return go(content, {replace: true});
  fill(main, content);
  main.removeAttribute('aria-busy');
  const head = main.querySelector('h1');
  document.title = `${head ? head.textContent : title} · Holdfast`;
  dispatchEvent(new Event('holdfast-shown'));
  // Screen readers begin to read here; a field that is waiting comes first.
  const first = main.querySelector('[autofocus]') || head;
  if (first) {
    if (first === head) first.tabIndex = -1;
    first.focus({preventScroll: true});
  }
  scrollTo(0, 0);
}

/** The page for what could not be shown. */
function problem(title, error) {
  // Errors of the API are sentences; one of ours is a mistake that should be seen as such.
  if (error.name !== 'Error') console.error(error);
  return [h('h1', {}, title), h('p', {class: 'alert', role: 'alert'}, error.message)];
}

function match() {
  let parts;
  try {
    parts = location.pathname.replace(/^\/ui\/(vault\/?)?/, '').split('/').map(decodeURIComponent);
  } catch {
    return null;
  }
  if (parts.length > 1 && parts.at(-1) === '' && !routes.some((one) => fits(one.segments, parts))) parts.pop();
  for (const route of routes) {
    const params = fits(route.segments, parts);
    if (params) return {route, params};
  }
  return null;
}

function fits(segments, parts) {
  const params = {};
  for (const [place, segment] of segments.entries()) {
    if (segment.startsWith('*')) {
      params[segment.slice(1)] = parts.slice(place).join('/');
      return params;
    }
    if (place >= parts.length) return null;
    if (segment.startsWith(':')) params[segment.slice(1)] = parts[place];
    else if (segment !== parts[place]) return null;
  }
  return parts.length === segments.length ? params : null;
}

/** Links of this page change the screen without loading anything. */
export function followLinks() {
  addEventListener('popstate', show);
  document.addEventListener('click', (event) => {
    const link = event.target.closest && event.target.closest('a[href^="/ui/"]');
    if (!link || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(link.getAttribute('href'));
  });
}
