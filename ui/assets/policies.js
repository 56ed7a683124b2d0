// ACL policies: what tokens may do.

import * as api from './api.js';
import {h, fill, announce} from './dom.js';
import {field, form} from './forms.js';
import {address, go} from './router.js';
import {alertBox, button, confirm, copyButton, crumbs, filtered, linkButton, note} from './widgets.js';

const base = '/ui/vault/policies/acl';
const example = `# Read everything below secret/app, and see what is there.
path "secret/data/app/*" {
  capabilities = ["read"]
}
path "secret/metadata/app/*" {
  capabilities = ["read", "list"]
}
`;
const page = (name) => address('policy', 'acl', name);

export async function policiesScreen() {
  const names = await api.settled(api.names('sys/policies/acl'));
  const name = field('Name', {required: true});
  return [
    h('div', {class: 'title'}, h('h1', {}, 'ACL policies'), linkButton('Create ACL policy', `${base}/create`, 'main')),
    names.error ? alertBox(names.error) : filtered('Filter', names.value.map((one) =>
      ({text: one, node: h('a', {class: 'leaf', href: page(one)}, one)})), 'There is no policy.'),
    names.error && form([name], 'Open policy', () => go(page(name.value.trim())), {kind: ''}),
  ];
}

export async function policyScreen({params}) {
  const name = params.name;
  const {data} = await api.read(`sys/policies/acl/${name}`);
  const trouble = h('div', {});
  const isRoot = name === 'root';
  return [
    crumbs([['Policies', base], [name, '']]),
    h('h1', {}, name),
    trouble,
    isRoot ? note('The root policy allows everything. It can be neither read nor changed.')
      : [h('pre', {class: 'code', tabindex: 0}, data.policy), h('div', {class: 'actions'},
        linkButton('Edit policy', `${page(name)}/edit`, 'main'), copyButton('the policy', data.policy),
        name !== 'default' && button('Delete policy', () => remove(name, trouble), 'danger'))],
  ];
}

async function remove(name, trouble) {
  const sure = await confirm(`Delete the policy ${name}?`,
    'Tokens that carry it lose at once what it allows.', 'Delete policy');
  if (!sure) return;
  try {
    await api.remove(`sys/policies/acl/${name}`);
    announce(`The policy ${name} is deleted.`);
    await go(base);
  } catch (error) {
    fill(trouble, alertBox(error));
  }
}

export async function createPolicyScreen() {
  const name = field('Name', {required: true, autofocus: true, help: 'It is kept in lower case.'});
  const text = editor(example);
  return [
    crumbs([['Policies', base], ['Create ACL policy', '']]),
    h('h1', {}, 'Create ACL policy'),
    form([name, text], 'Create policy', async () => {
      const wanted = name.value.trim().toLowerCase();
      const found = await api.settled(api.read(`sys/policies/acl/${wanted}`));
      if (found.value) throw new Error(`There is a policy ${wanted} already.`);
      await save(wanted, text.value);
    }, {cancel: base}),
  ];
}

export async function editPolicyScreen({params}) {
  const name = params.name;
  const {data} = await api.read(`sys/policies/acl/${name}`);
  const text = editor(data.policy);
  return [
    crumbs([['Policies', base], [name, page(name)], ['Edit', '']]),
    h('h1', {}, `Edit policy ${name}`),
    form([text], 'Save', () => save(name, text.value), {cancel: page(name)}),
  ];
}

function editor(text) {
  return field('Policy', {kind: 'textarea', rows: 16, class: 'code', value: text, required: true,
    help: 'HCL or JSON. Capabilities: create, read, update, patch, delete, list, sudo, deny.'});
}

async function save(name, policy) {
  await api.put(`sys/policies/acl/${name}`, {policy});
  announce(`The policy ${name} is saved.`);
  await go(page(name));
}
