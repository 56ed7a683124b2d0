// JSON that comes out as it went in. A number may have more digits than JavaScript keeps (an account's number of
// 20 digits); read and saved again, it would be another one. Where the browser lets us, such a number keeps its
// text.

const keepsText = typeof JSON.rawJSON === 'function';

function keep(key, value, context) {
  if (typeof value !== 'number' || !context || context.source === undefined) return value;
  return String(value) === context.source ? value : JSON.rawJSON(context.source);
}

/** The value of a JSON text. Throws SyntaxError. */
export function parse(text) {
  return keepsText ? JSON.parse(text, keep) : JSON.parse(text);
}

/** A value as JSON text, indented where `space` says so. */
export function write(value, space) {
  return JSON.stringify(value, null, space);
}

/** A value as people read it: a text as it is, everything else as JSON. */
export function shown(value) {
  return typeof value === 'string' ? value : write(value, 2);
}

/** Whether a number in this value may not be what the server has, in a browser that keeps no number's text. */
export function mayDiffer(value) {
  if (keepsText) return false;
  if (typeof value === 'number') return !Number.isSafeInteger(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(mayDiffer);
}

/** Whether this is an object that has names. */
export function isObject(value) {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    && !(keepsText && JSON.isRawJSON(value));
}

/** The object that a text of JSON stands for, or an Error that tells what was expected. */
export function objectOf(text) {
  let value;
  try {
    value = parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}.`);
  }
  if (!isObject(value)) throw new Error('Expected a JSON object: { "key": "value" }.');
  return value;
}
