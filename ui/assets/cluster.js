// This node and its cluster.

import * as api from './api.js';
import {h, fill, announce, facts, table} from './dom.js';
import {go} from './router.js';
import {alertBox, button, confirm, note, time} from './widgets.js';

export async function clusterScreen() {
  const [seal, leader, ha] = await Promise.all(
    ['sys/seal-status', 'sys/leader', 'sys/ha-status'].map((path) => api.settled(api.read(path))));
  const isRaft = seal.value && seal.value.storage_type === 'raft';
  const [peers, autopilot] = isRaft ? await Promise.all(
    ['sys/storage/raft/configuration', 'sys/storage/raft/autopilot/state'].map((path) =>
      api.settled(api.read(path)))) : [];
  return [
    h('h1', {}, 'Cluster'),
    part('This node', seal, node),
    part('High availability', leader, (answer) => availability(answer, ha)),
    peers && part('Raft peers', peers, ({data}) => raftPeers(data)),
    autopilot && part('Autopilot', autopilot, ({data}) => autopilotState(data)),
    duties(leader.value),
  ];
}

function part(title, answer, show) {
  return h('section', {}, h('h2', {}, title), answer.error ? alertBox(answer.error) : show(answer.value));
}

function node(status) {
  return facts([
    ['Seal', status.type], ['Sealed', status.sealed ? 'yes' : 'no'],
    ['Key shares', status.n], ['Key threshold', status.t], ['Version', status.version],
    ['Storage', status.storage_type], ['Cluster name', status.cluster_name], ['Cluster ID', status.cluster_id],
  ]);
}

function availability(leader, ha) {
  if (!leader.ha_enabled) return note('This server stands alone.');
  return [
    facts([['This node', leader.is_self ? 'active' : 'standby'], ['Active node', leader.leader_address],
      ['Its port for members', leader.leader_cluster_address], ['Active since', time(leader.active_time)],
      ['Committed index', leader.raft_committed_index], ['Applied index', leader.raft_applied_index]]),
    ha.error ? alertBox(ha.error) : table('Nodes', ['Host', 'Address', 'State', 'Version', 'Last heard'],
      ha.value.data.nodes.map((one) => [one.hostname, one.api_address, one.active_node ? 'active' : 'standby',
        one.version, time(one.last_echo)])),
  ];
}

function raftPeers({config}) {
  return [
    table('Raft peers', ['Node', 'Address', 'Role'], config.servers.map((one) => [one.node_id, one.address,
      one.leader ? 'leader' : one.voter ? 'voter' : 'non-voter'])),
    facts([['Index of the configuration', config.index]]),
  ];
}

function autopilotState(state) {
  if (!state) return note('There is no state yet.');
  return [
    facts([['Healthy', state.healthy ? 'yes' : 'no'], ['Failures that it survives', state.failure_tolerance]]),
    table('Servers as autopilot sees them', ['Node', 'Status', 'Healthy', 'Last contact', 'Last index'],
      Object.values(state.servers ?? {}).map((one) => [one.name || one.id, one.status, one.healthy ? 'yes' : 'no',
        one.last_contact, one.last_index])),
  ];
}

function duties(leader) {
  const trouble = h('div', {});
  const ask = (title, text, action, path, next) => async () => {
    fill(trouble);
    if (!await confirm(title, text, action)) return;
    try {
      await api.put(path, {});
      announce('Done.');
      // What has become of it is known in a moment.
      setTimeout(() => location.pathname === '/ui/vault/cluster' && go(next, {replace: true}), 500);
    } catch (error) {
      fill(trouble, alertBox(error));
    }
  };
  const isStandby = leader && leader.ha_enabled && !leader.is_self;
  return h('section', {}, h('h2', {}, 'Duties'), trouble,
    isStandby && note(`This node is a standby. Stepping down is for the active one, ${leader.leader_address}.`),
    h('div', {class: 'actions'}, leader && leader.ha_enabled && leader.is_self && button('Step down', ask('Step down?',
      'The active node hands over to another one. Requests wait for a moment.', 'Step down', 'sys/step-down',
      '/ui/vault/cluster'), 'danger'),
    button('Seal', ask('Seal this node?', 'It forgets the key to its data and answers almost nothing until it has '
      + 'been unsealed.', 'Seal', 'sys/seal', '/ui/'), 'danger')));
}
