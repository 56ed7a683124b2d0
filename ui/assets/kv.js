// The key-value engine in both its versions, and the cubbyhole, as one thing: a mount that has secrets at paths.

import * as api from './api.js';
import {address, addressOfPath} from './router.js';

/** What is known of a mount: {path, type, version, description, options}. `path` has no slash at its end. */
export async function mountAt(path) {
  const {data} = await api.read(`sys/internal/ui/mounts/${path}`);
  const version = data.type === 'kv' || data.type === 'generic' ? Number((data.options || {}).version || 1) : 0;
  return {...data, path, version: data.type === 'cubbyhole' ? 1 : version, isStore: holdsSecrets(data.type)};
}

export function holdsSecrets(type) {
  return type === 'kv' || type === 'cubbyhole';
}

export const places = {
  list: (mount, folder = '') => addressOfPath(['secrets', mount.path, 'list'], folder),
  show: (mount, path, version) =>
    addressOfPath(['secrets', mount.path, 'show'], path, version ? `?version=${version}` : ''),
  create: (mount, folder = '') => addressOfPath(['secrets', mount.path, 'create'], folder),
  edit: (mount, path) => addressOfPath(['secrets', mount.path, 'edit'], path),
  history: (mount, path) => addressOfPath(['secrets', mount.path, 'versions'], path),
  compare: (mount, path, a, b) =>
    addressOfPath(['secrets', mount.path, 'compare'], path, a ? `?a=${a}&b=${b}` : ''),
  metadata: (mount, path) => addressOfPath(['secrets', mount.path, 'metadata'], path),
  configuration: (path) => address('secrets', path, 'configuration'),
};

/** Where the API has the data of a secret, and its metadata. */
export function dataPath(mount, path) {
  return mount.version === 2 ? `${mount.path}/data/${path}` : `${mount.path}/${path}`;
}
export function metadataPath(mount, path) {
  return `${mount.path}/metadata/${path}`;
}

/** The names in a folder. */
export function keysIn(mount, folder) {
  return api.names(mount.version === 2 ? metadataPath(mount, folder) : `${mount.path}/${folder}`);
}

/**
 * A secret: {data, metadata}. `data` is null for a version that was deleted or destroyed; `metadata` is null in
 * version 1. Throws the API's error when there is nothing.
 */
export async function readSecret(mount, path, version) {
  if (mount.version !== 2) return {data: (await api.read(dataPath(mount, path))).data, metadata: null};
  try {
    const answer = await api.read(dataPath(mount, path), {query: version ? {version} : {}});
    return answer.data;
  } catch (error) {
    // A version that was deleted answers 404, and says so in its body.
    const gone = error.status === 404 && error.body && error.body.data;
    if (gone && gone.metadata) return {data: null, metadata: gone.metadata};
    throw error;
  }
}

/** Writes a secret; `cas` is the version that is expected to be the newest, 0 for none, undefined for any. */
export async function writeSecret(mount, path, data, cas) {
  if (mount.version !== 2) return api.post(dataPath(mount, path), data);
  return api.post(dataPath(mount, path), {data, options: cas === undefined ? {} : {cas}});
}

/** "deleted", "destroyed" or "" of a version's metadata. */
export function fate(metadata) {
  if (metadata.destroyed) return 'destroyed';
  const when = metadata.deletion_time;
  return when && new Date(when) <= new Date() ? 'deleted' : '';
}

/** The folder that a path is in: "" or with a slash at its end. */
export function folderOf(path) {
  return path.slice(0, path.lastIndexOf('/') + 1);
}

/** The links from the list of engines down to a path. */
export function trail(mount, path, last) {
  const parts = [['Secrets', '/ui/vault/secrets'], [mount.path, places.list(mount)]];
  const names = path.split('/').filter(Boolean);
  let folder = '';
  for (const name of names.slice(0, -1)) {
    folder += `${name}/`;
    parts.push([name, places.list(mount, folder)]);
  }
  if (names.length) {
    parts.push([names.at(-1), path.endsWith('/') ? places.list(mount, path) : places.show(mount, path)]);
  }
  if (last) parts.push([last, '']);
  return parts;
}
