// Who has signed in.
//
// The token is kept in memory, and in sessionStorage so that reloading the page does not sign out. sessionStorage
// belongs to one tab and ends with it; localStorage would outlive the tab and be shared with all others, and a
// cookie would be sent along with requests that other pages cause. Whoever can read sessionStorage could read the
// memory of this page as well. Nothing but the token is ever stored.

const place = 'holdfast.session';
const sentence = {
  out: 'You have signed out.',
  ended: 'Your session has ended: the token has expired or was revoked.',
};
/** What stands for lookup-self with a token that may not look itself up. */
export const blind = {blind: true, ttl: 0, policies: []};
let current = restore();
let clock = 0;

function restore() {
  try {
    const found = JSON.parse(sessionStorage.getItem(place));
    if (!found || typeof found.token !== 'string') return null;
    return {token: found.token, self: found.blind ? blind : null};
  } catch {
    return null;
  }
}

/** The token of whoever has signed in; null when nobody has. */
export function token() {
  return current && current.token;
}

/** What is known of the token: the answer of lookup-self; null before it came. */
export function self() {
  return current && current.self;
}

/** Begins a session with what lookup-self said of the token. */
export function begin(token, self) {
  current = {token};
  sessionStorage.setItem(place, JSON.stringify({token, blind: Boolean(self.blind)}));
  know(self);
}

/** Remembers what lookup-self said, and ends the session with the token's life. */
export function know(self) {
  if (!current) return;
  current.self = self;
  clearTimeout(clock);
  // A timer takes no more than 2^31 milliseconds: such long lives end with the next 403.
  if (self.ttl > 0 && self.ttl < 2_000_000) clock = setTimeout(() => end('ended'), self.ttl * 1000);
}

/**
 * Ends the session: the clipboard, the storage and the page are emptied, and the page is loaded anew, which drops
 * every value that scripts have held.
 */
export async function end(why) {
  current = null;
  clearTimeout(clock);
  sessionStorage.clear();
  document.body.replaceChildren();
  // A browser that keeps us waiting for its clipboard does not keep the session.
  await Promise.race([wipeClipboard(), new Promise((resolve) => { setTimeout(resolve, 300); })]);
  location.replace(`/ui/vault/auth?why=${why}`);
}

/** The sentence for the reason in the address. */
export function farewell(why) {
  return Object.hasOwn(sentence, why) ? sentence[why] : '';
}

// The clipboard: what was copied here is taken out again.

const keepSeconds = 30;
let copied = false;
let wiping = 0;

/** Copies a text, and empties the clipboard after a while. Returns what to say about it. */
export async function copy(text) {
  if (!await put(text)) return 'The browser did not allow copying.';
  clearTimeout(wiping);
  if (!navigator.clipboard) return 'Copied. Over plain HTTP the clipboard cannot be emptied for you.';
  copied = true;
  wiping = setTimeout(wipeClipboard, keepSeconds * 1000);
  return `Copied. The clipboard is emptied in ${keepSeconds} seconds.`;
}

async function put(text) {
  // Browsers offer the clipboard to pages over HTTPS and of the own machine only.
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const area = document.createElement('textarea');
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.value = '';
  area.remove();
  return done;
}

async function wipeClipboard() {
  if (!copied) return;
  clearTimeout(wiping);
  if (await put('')) copied = false;
  // A page that is not in front may not write; it does when it comes back.
  else addEventListener('focus', wipeClipboard, {once: true});
}
