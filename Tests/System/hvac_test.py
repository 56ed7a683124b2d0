#!/usr/bin/env python3
"""Drives a real server through hvac, the Python client of Vault: a whole life on `file` storage, with a
restart in the middle. Needs hvac (scripts/bootstrap puts it into .deps/venv).

  .deps/venv/bin/python3 Tests/System/hvac_test.py --bin .build/release/holdfast
"""
import argparse, base64, hashlib, sys
from pathlib import Path

import hvac
from hvac import exceptions as ex
from support import Checks, log_of, server, workdir

POLICY = 'path "one/*" { capabilities = ["read", "list"] }\npath "two/data/app" { capabilities = ["read"] }\n'


class Life:
    """The steps share one server; each method is one counted section."""

    def __init__(self, checks, srv):
        self.checks, self.srv = checks, srv
        self.url = f"http://127.0.0.1:{srv.port}"
        self.client = self.login(None)

    def login(self, token):
        return hvac.Client(url=self.url, token=token, timeout=20)

    # ---- seal ---------------------------------------------------------------------------------

    def initialize(self):
        c, sys_ = self.checks, self.client.sys
        c.equal("a new server is not initialized", sys_.is_initialized(), False)
        c.equal("a new server is sealed", sys_.is_sealed(), True)
        health = sys_.read_health_status(method="GET")
        c.equal("health of a new server", health.status_code, 501)
        c.raises("more shares needed than made", ex.InvalidRequest, sys_.initialize,
                 secret_shares=2, secret_threshold=3)
        c.equal("a refused init changes nothing", sys_.is_initialized(), False)
        out = sys_.initialize(secret_shares=5, secret_threshold=3)
        self.keys, self.root = out["keys"], out["root_token"]
        c.equal("five shares", (len(out["keys"]), len(out["keys_base64"])), (5, 5))
        c.equal("a share is a byte longer than the key", {len(k) for k in out["keys"]}, {66})
        c.equal("initialized", sys_.is_initialized(), True)
        c.raises("a second init", ex.InvalidRequest, sys_.initialize, secret_shares=1, secret_threshold=1)

    def unseal(self):
        c, sys_ = self.checks, self.client.sys
        status = sys_.read_seal_status()
        c.equal("shamir, 3 of 5", (status["type"], status["t"], status["n"], status["sealed"]),
                ("shamir", 3, 5, True))
        c.equal("health while sealed", sys_.read_health_status(method="GET").status_code, 503)
        c.raises("a sealed server answers nothing", ex.VaultDown, self.login(self.root).secrets.kv.v1.read_secret,
                 "x", mount_point="secret")
        step = sys_.submit_unseal_key(self.keys[0])
        c.equal("progress", (step["sealed"], step["progress"]), (True, 1))
        c.equal("reset", sys_.submit_unseal_key(reset=True)["progress"], 0)
        c.raises("a share that is no share", ex.InvalidRequest, sys_.submit_unseal_key, "nonsense!")
        done = sys_.submit_unseal_keys(self.keys[1:4])
        c.equal("any three unseal", done["sealed"], False)
        self.client = self.login(self.root)
        c.equal("authenticated", self.client.is_authenticated(), True)
        health = self.client.sys.read_health_status(method="GET")
        # hvac gives the body of a 200 and the whole response of anything else.
        c.that("health when active", isinstance(health, dict) and not health["sealed"], health)
        c.that("health tells the version", health.get("version"), health)
        leader = self.client.sys.read_leader_status()
        c.equal("one node has no HA", leader["ha_enabled"], False)

    def keyring(self):
        c, sys_ = self.checks, self.client.sys
        before = sys_.get_encryption_key_status()["data"]["term"]
        sys_.rotate_encryption_key()
        c.equal("rotation adds a term", sys_.get_encryption_key_status()["data"]["term"], before + 1)

    # ---- mounts --------------------------------------------------------------------------------

    def mounts(self):
        c, sys_ = self.checks, self.client.sys
        sys_.enable_secrets_engine("kv", path="one", options={"version": "1"}, description="first")
        sys_.enable_secrets_engine("kv", path="two", options={"version": "2"})
        sys_.enable_secrets_engine("kv", path="moving", options={"version": "1"})
        listed = sys_.list_mounted_secrets_engines()["data"]
        c.equal("description kept", listed["one/"]["description"], "first")
        c.equal("version kept", listed["two/"]["options"], {"version": "2"})
        c.raises("the path is taken", ex.InvalidRequest, sys_.enable_secrets_engine, "kv", path="one")
        c.raises("no such engine", ex.InvalidRequest, sys_.enable_secrets_engine, "nonesuch", path="other")
        sys_.tune_mount_configuration("one", default_lease_ttl="3600s", max_lease_ttl="7200s", description="tuned")
        tuned = sys_.read_mount_configuration("one")["data"]
        c.equal("tuned", (tuned["default_lease_ttl"], tuned["max_lease_ttl"]), (3600, 7200))
        c.equal("option read through the client", sys_.retrieve_mount_option("two", "version"), "2")
        self.client.secrets.kv.v1.create_or_update_secret("k", {"v": "goes along"}, mount_point="moving")
        sys_.move_backend("moving", "moved")
        got = self.client.secrets.kv.v1.read_secret("k", mount_point="moved")
        c.equal("data moves with its mount", got["data"], {"v": "goes along"})
        c.raises("the old path is gone", ex.InvalidPath, self.client.secrets.kv.v1.read_secret, "k",
                 mount_point="moving")
        sys_.disable_secrets_engine("moved")
        c.that("disabled", "moved/" not in sys_.list_mounted_secrets_engines()["data"])

    # ---- KV -------------------------------------------------------------------------------------

    def kv_v1(self):
        c, kv = self.checks, self.client.secrets.kv.v1
        value = {"user": "a", "deep": {"list": [1, 2.5, True, None, "ü\u0000\U0001f511"]}, "big": 2**53 + 1}
        kv.create_or_update_secret("app/db", value, mount_point="one")
        got = kv.read_secret("app/db", mount_point="one")
        c.equal("read back whole", got["data"], value)
        c.that("no lease id, but a duration", got["lease_id"] == "" and got["lease_duration"] > 0, got)
        kv.create_or_update_secret("app/db", {"user": "b"}, mount_point="one")
        c.equal("replaced, not merged", kv.read_secret("app/db", mount_point="one")["data"], {"user": "b"})
        kv.create_or_update_secret("app", {"x": "1"}, mount_point="one")
        kv.create_or_update_secret("app/deeper/still", {"x": "1"}, mount_point="one")
        c.equal("list", kv.list_secrets("", mount_point="one")["data"]["keys"], ["app", "app/"])
        c.equal("list below", kv.list_secrets("app", mount_point="one")["data"]["keys"], ["db", "deeper/"])
        kv.delete_secret("app/deeper/still", mount_point="one")
        c.raises("deleted", ex.InvalidPath, kv.read_secret, "app/deeper/still", mount_point="one")
        c.equal("an empty folder is not listed", kv.list_secrets("app", mount_point="one")["data"]["keys"], ["db"])
        c.raises("nothing to list", ex.InvalidPath, kv.list_secrets, "none", mount_point="one")
        c.raises("nothing to read", ex.InvalidPath, kv.read_secret, "none", mount_point="one")

    def kv_v2_versions(self):
        c, kv = self.checks, self.client.secrets.kv.v2
        read = lambda version=None: kv.read_secret_version(
            "app", version=version, mount_point="two", raise_on_deleted_version=True)["data"]
        first = kv.create_or_update_secret("app", {"n": 1}, cas=0, mount_point="two")
        c.equal("first version", first["data"]["version"], 1)
        c.raises("cas 0 means: not there yet", ex.InvalidRequest, kv.create_or_update_secret, "app", {"n": 2},
                 cas=0, mount_point="two")
        c.equal("right cas", kv.create_or_update_secret("app", {"n": 2}, cas=1, mount_point="two")["data"]["version"], 2)
        kv.create_or_update_secret("app", {"n": 3, "keep": "x"}, mount_point="two")
        c.equal("latest", (read()["data"], read()["metadata"]["version"]), ({"n": 3, "keep": "x"}, 3))
        c.equal("an old version", read(1)["data"], {"n": 1})
        c.raises("a version that never was", ex.InvalidPath, read, 9)
        kv.patch("app", {"n": 4}, mount_point="two")
        c.equal("patch through the client", read()["data"], {"n": 4, "keep": "x"})
        c.raises("patch of nothing", ex.InvalidPath, kv.patch, "nothing", {"n": 1}, mount_point="two")
        answer = self.client.session.patch(
            f"{self.url}/v1/two/data/app", json={"data": {"n": None, "m": {"a": 1}}},
            headers={"X-Vault-Token": self.root, "Content-Type": "application/merge-patch+json"})
        c.equal("merge patch", answer.status_code, 200)
        c.equal("null takes a key away", read()["data"], {"keep": "x", "m": {"a": 1}})
        keys = self.client.read("two/subkeys/app")
        c.equal("subkeys hide the values", keys["data"]["subkeys"], {"keep": None, "m": {"a": None}})

    def kv_v2_deletion(self):
        c, kv = self.checks, self.client.secrets.kv.v2
        read = lambda version=None: kv.read_secret_version(
            "app", version=version, mount_point="two", raise_on_deleted_version=True)["data"]
        latest = read()["metadata"]["version"]
        kv.delete_latest_version_of_secret("app", mount_point="two")
        c.raises("latest deleted", ex.InvalidPath, read)
        soft = kv.read_secret_version("app", mount_point="two", raise_on_deleted_version=False)["data"]
        c.that("its metadata says when", soft["data"] is None and soft["metadata"]["deletion_time"], soft)
        kv.undelete_secret_versions("app", [latest], mount_point="two")
        c.equal("undeleted", read()["metadata"]["version"], latest)
        kv.delete_secret_versions("app", [1, 2], mount_point="two")
        c.raises("a deleted version", ex.InvalidPath, read, 1)
        kv.undelete_secret_versions("app", [1], mount_point="two")
        c.equal("one of them is back", read(1)["data"], {"n": 1})
        kv.destroy_secret_versions("app", [2, 3], mount_point="two")
        c.raises("a destroyed version", ex.InvalidPath, read, 3)
        kv.undelete_secret_versions("app", [3], mount_point="two")
        c.raises("destroyed for good", ex.InvalidPath, read, 3)
        versions = kv.read_secret_metadata("app", mount_point="two")["data"]["versions"]
        c.equal("metadata tells destroyed ones", sorted(k for k in versions if versions[k]["destroyed"]), ["2", "3"])

    def kv_v2_metadata(self):
        c, kv = self.checks, self.client.secrets.kv.v2
        kv.configure(max_versions=20, cas_required=False, delete_version_after="0s", mount_point="two")
        config = kv.read_configuration(mount_point="two")["data"]
        c.equal("configuration", (config["max_versions"], config["cas_required"]), (20, False))
        # The larger of the mount's and the key's limit holds.
        kv.configure(max_versions=0, cas_required=False, delete_version_after="0s", mount_point="two")
        kv.update_metadata("meta", max_versions=2, cas_required=True, delete_version_after="1h",
                           custom_metadata={"owner": "ops"}, mount_point="two")
        c.raises("cas is required", ex.InvalidRequest, kv.create_or_update_secret, "meta", {"n": 0}, mount_point="two")
        for n in range(4):
            kv.create_or_update_secret("meta", {"n": n}, cas=n, mount_point="two")
        meta = kv.read_secret_metadata("meta", mount_point="two")["data"]
        c.equal("only two versions are kept", sorted(meta["versions"]), ["3", "4"])
        c.equal("metadata", (meta["current_version"], meta["oldest_version"], meta["custom_metadata"],
                             meta["delete_version_after"]), (4, 3, {"owner": "ops"}, "1h0m0s"))
        got = kv.read_secret_version("meta", mount_point="two", raise_on_deleted_version=True)["data"]
        c.that("the version will expire", got["metadata"]["deletion_time"], got)
        c.equal("custom metadata comes with the data", got["metadata"]["custom_metadata"], {"owner": "ops"})
        c.equal("list", kv.list_secrets("", mount_point="two")["data"]["keys"], ["app", "meta"])
        kv.delete_metadata_and_all_versions("meta", mount_point="two")
        c.raises("all gone", ex.InvalidPath, kv.read_secret_metadata, "meta", mount_point="two")
        c.equal("no longer listed", kv.list_secrets("", mount_point="two")["data"]["keys"], ["app"])

    # ---- policies and tokens -----------------------------------------------------------------------

    def policies(self):
        c, sys_ = self.checks, self.client.sys
        sys_.create_or_update_policy("reader", POLICY)
        sys_.create_or_update_acl_policy("by-json", {"path": {"one/*": {"capabilities": ["read"]}}})
        c.that("listed", {"default", "root", "reader", "by-json"} <= set(sys_.list_policies()["data"]["policies"]))
        c.that("listed as ACL", {"reader", "by-json"} <= set(sys_.list_acl_policies()["data"]["keys"]))
        c.equal("text kept", sys_.read_policy("reader")["data"]["rules"], POLICY)
        c.equal("text kept (acl)", sys_.read_acl_policy("reader")["data"]["policy"], POLICY)
        c.raises("a policy that is no policy", ex.InvalidRequest, sys_.create_or_update_policy, "bad", 'path "x" {')
        c.raises("root cannot be changed", ex.InvalidRequest, sys_.create_or_update_policy, "root", POLICY)
        sys_.delete_acl_policy("by-json")
        c.that("deleted", "by-json" not in sys_.list_policies()["data"]["policies"])
        c.raises("not there", ex.InvalidPath, sys_.read_acl_policy, "by-json")

    def tokens(self):
        c, api = self.checks, self.client.auth.token
        made = api.create(policies=["reader"], ttl="1h", renewable=True, meta={"who": "hvac"}, display_name="x")["auth"]
        token, accessor = made["client_token"], made["accessor"]
        c.equal("made as asked", (made["token_policies"], made["lease_duration"], made["renewable"], made["metadata"]),
                (["default", "reader"], 3600, True, {"who": "hvac"}))
        c.equal("lookup", api.lookup(token)["data"]["accessor"], accessor)
        c.equal("lookup by accessor hides the token", api.lookup_accessor(accessor)["data"]["id"], "")
        c.that("accessor listed", accessor in api.list_accessors()["data"]["keys"])
        user = self.login(token)
        c.equal("lookup-self", user.auth.token.lookup_self()["data"]["id"], token)
        c.equal("may read", user.secrets.kv.v1.read_secret("app/db", mount_point="one")["data"], {"user": "b"})
        c.equal("may read v2", "keep" in user.secrets.kv.v2.read_secret_version(
            "app", mount_point="two", raise_on_deleted_version=True)["data"]["data"], True)
        c.raises("may not write", ex.Forbidden, user.secrets.kv.v1.create_or_update_secret, "app/db", {"a": "b"},
                 mount_point="one")
        c.raises("may not see metadata", ex.Forbidden, user.secrets.kv.v2.read_secret_metadata, "app", mount_point="two")
        caps = user.sys.get_capabilities(["one/x", "two/data/app", "two/data/other"])["data"]
        c.equal("capabilities", (sorted(caps["one/x"]), caps["two/data/app"], caps["two/data/other"]),
                (["list", "read"], ["read"], ["deny"]))
        other = self.client.sys.get_capabilities(["one/x"], accessor=accessor)["data"]
        c.equal("capabilities by accessor", sorted(other["one/x"]), ["list", "read"])
        c.equal("renew", api.renew(token, increment="2h")["auth"]["lease_duration"], 7200)
        c.equal("renew-self", user.auth.token.renew_self(increment="30m")["auth"]["lease_duration"], 1800)
        c.equal("renew by accessor", api.renew_accessor(accessor, increment="1h")["auth"]["lease_duration"], 3600)
        api.revoke_accessor(accessor)
        c.raises("revoked", ex.Forbidden, user.auth.token.lookup_self)
        c.raises("no such token", ex.Forbidden, api.lookup, token)

    def token_trees(self):
        c, api = self.checks, self.client.auth.token
        parent = api.create(policies=["root"])["auth"]["client_token"]
        child = self.login(parent).auth.token.create(policies=["reader"])["auth"]["client_token"]
        orphan = self.login(parent).auth.token.create_orphan(policies=["reader"])["auth"]["client_token"]
        api.revoke(parent)
        c.raises("a child dies with its parent", ex.Forbidden, api.lookup, child)
        c.equal("an orphan does not", api.lookup(orphan)["data"]["orphan"], True)
        parent = api.create(policies=["root"])["auth"]["client_token"]
        child = self.login(parent).auth.token.create(policies=["reader"])["auth"]["client_token"]
        api.revoke_and_orphan_children(parent)
        c.equal("children may be spared", api.lookup(child)["data"]["orphan"], True)
        self.login(child).auth.token.revoke_self()
        c.raises("revoke-self", ex.Forbidden, api.lookup, child)
        few = api.create(policies=["reader"], num_uses=2)["auth"]["client_token"]
        self.login(few).secrets.kv.v1.list_secrets("", mount_point="one")
        self.login(few).secrets.kv.v1.list_secrets("", mount_point="one")
        c.raises("two uses and no third", ex.Forbidden, self.login(few).secrets.kv.v1.list_secrets, "",
                 mount_point="one")
        c.raises("a policy beyond one's own", ex.InvalidRequest,
                 self.login(self.narrow()).auth.token.create, policies=["root"])
        self.kept = api.create(policies=["reader"], ttl="2h")["auth"]["client_token"]

    def narrow(self):
        """A token that may make tokens, but only with its own policies."""
        self.client.sys.create_or_update_policy("maker", 'path "auth/token/create" { capabilities = ["update"] }')
        return self.client.auth.token.create(policies=["maker"])["auth"]["client_token"]

    def userpass(self):
        c, up = self.checks, self.client.auth.userpass
        self.client.sys.enable_auth_method("userpass", path="people")
        up.create_or_update_user("Ann", "correct horse", policies="reader", mount_point="people")
        c.equal("users", up.list_user(mount_point="people")["data"]["keys"], ["ann"])
        c.equal("policies", up.read_user("ann", mount_point="people")["data"]["policies"], ["reader"])
        user = self.login(None)
        auth = user.auth.userpass.login("ann", "correct horse", mount_point="people")["auth"]
        c.equal("a login", (auth["policies"], auth["metadata"], auth["orphan"]),
                (["default", "reader"], {"username": "ann"}, True))
        me = user.auth.token.lookup_self()["data"]
        c.equal("a login's token", (me["display_name"], me["path"]), ("people-ann", "auth/people/login/ann"))
        c.equal("it may read", user.secrets.kv.v1.read_secret("app/db", mount_point="one")["data"], {"user": "b"})
        c.that("it is renewed", user.auth.token.renew_self()["auth"]["lease_duration"] > 0)
        up.update_password_on_user("ann", "battery staple", mount_point="people")
        login = self.login(None).auth.userpass.login
        c.raises("the old password", ex.InvalidRequest, login, "ann", "correct horse", mount_point="people")
        c.raises("nobody", ex.InvalidRequest, login, "nobody", "correct horse", mount_point="people")
        login("ann", "battery staple", mount_point="people")
        for _ in range(5):
            c.raises("a guess", ex.InvalidRequest, login, "ANN", "guess", mount_point="people")
        c.raises("locked", ex.Forbidden, login, "ann", "battery staple", mount_point="people")
        locked = self.client.adapter.get("/v1/sys/locked-users")["data"]["by_namespace"][0]["mount_accessors"][0]
        c.equal("listed", locked["alias_identifiers"], ["ann"])
        self.client.adapter.post(f"/v1/sys/locked-users/{locked['mount_accessor']}/unlock/ann")
        login("ann", "battery staple", mount_point="people")
        up.delete_user("ann", mount_point="people")
        c.raises("deleted", ex.InvalidRequest, login, "ann", "battery staple", mount_point="people")
        c.raises("its token ends with its next renewal", ex.InvalidRequest, user.auth.token.renew_self)

    def approle(self):
        c, ar = self.checks, self.client.auth.approle
        self.client.sys.enable_auth_method("approle")
        ar.create_or_update_approle("Job", token_policies=["reader"], secret_id_num_uses=2, token_ttl="20m")
        c.equal("roles", ar.list_roles()["data"]["keys"], ["job"])
        c.equal("a role", ar.read_role("job")["data"]["token_ttl"], 1200)
        role = ar.read_role_id("job")["data"]["role_id"]
        made = ar.generate_secret_id("job", metadata={"run": "7"})["data"]
        user = self.login(None)
        auth = user.auth.approle.login(role, made["secret_id"])["auth"]
        c.equal("a login", (auth["policies"], auth["metadata"], auth["lease_duration"]),
                (["default", "reader"], {"role_name": "job", "run": "7"}, 1200))
        c.equal("it may read", user.secrets.kv.v1.read_secret("app/db", mount_point="one")["data"], {"user": "b"})
        seen = ar.read_secret_id("job", made["secret_id"])["data"]
        c.equal("a use is gone", seen["secret_id_num_uses"], 1)
        c.equal("accessors", ar.list_secret_id_accessors("job")["data"]["keys"], [made["secret_id_accessor"]])
        ar.update_role_id("job", "job-role")
        login = self.login(None).auth.approle.login
        c.raises("the old role id", ex.InvalidRequest, login, role, made["secret_id"])
        login("job-role", made["secret_id"])
        c.raises("no third use", ex.InvalidRequest, login, "job-role", made["secret_id"])
        made = ar.create_custom_secret_id("job", "my own")["data"]
        ar.destroy_secret_id_accessor("job", made["secret_id_accessor"])
        c.raises("destroyed", ex.InvalidRequest, login, "job-role", "my own")
        ar.delete_role("job")
        c.raises("no such role", ex.InvalidRequest, login, "job-role", "x")

    def cubbyhole(self):
        c = self.checks
        one, two = (self.login(self.client.auth.token.create(policies=["default"])["auth"]["client_token"])
                    for _ in range(2))
        one.write_data("cubbyhole/mine", data={"v": "1"})
        c.equal("one's own", one.read("cubbyhole/mine")["data"], {"v": "1"})
        c.equal("nobody else's", two.read("cubbyhole/mine"), None)

    def transit(self):
        c, tr = self.checks, self.client.secrets.transit
        self.client.sys.enable_secrets_engine("transit", path="transit")
        b64 = lambda text: base64.b64encode(text.encode()).decode()
        hello = b64("hello")
        for kind in ("aes128-gcm96", "aes256-gcm96", "chacha20-poly1305"):
            # hvac's own list of types lacks one.
            self.client.write_data(f"transit/keys/k-{kind}", data={
                "type": kind, "exportable": True, "allow_plaintext_backup": True})
            c.equal(f"{kind}: its type", tr.read_key("k-" + kind)["data"]["type"], kind)
            sealed = tr.encrypt_data("k-" + kind, plaintext=hello)["data"]["ciphertext"]
            c.equal(f"{kind}: there and back", tr.decrypt_data("k-" + kind, ciphertext=sealed)["data"]["plaintext"], hello)
            tr.rotate_key("k-" + kind)
            again = tr.rewrap_data("k-" + kind, ciphertext=sealed)["data"]["ciphertext"]
            c.that(f"{kind}: rewrapped", again.startswith("vault:v2:"), again)
            backup = tr.backup_key("k-" + kind)["data"]["backup"]
            tr.restore_key(backup, name="r-" + kind)
            c.equal(f"{kind}: restored", tr.decrypt_data("r-" + kind, ciphertext=again)["data"]["plaintext"], hello)
        k = "k-aes256-gcm96"
        c.raises("not under another key", ex.InvalidRequest, tr.decrypt_data, "k-aes128-gcm96", ciphertext=again)
        got = tr.encrypt_data(k, batch_input=[{"plaintext": hello}, {"plaintext": "!"}])["data"]["batch_results"]
        c.equal("a batch tells what failed", ["error" in one for one in got], [False, True])
        tr.create_key("convergent", derived=True, convergent_encryption=True)
        one, two = (tr.encrypt_data("convergent", plaintext=hello, context=b64("x"))["data"]["ciphertext"] for _ in "ab")
        c.equal("convergent", one, two)
        c.raises("a derived key needs a context", ex.InvalidRequest, tr.encrypt_data, "convergent", plaintext=hello)
        c.raises("no nonce of the caller's", ex.InvalidRequest, tr.encrypt_data, k, plaintext=hello, nonce=b64("n" * 12))
        key = tr.generate_data_key(k, "plaintext")["data"]
        c.equal("a data key", tr.decrypt_data(k, ciphertext=key["ciphertext"])["data"]["plaintext"], key["plaintext"])
        code = tr.generate_hmac(k, hash_input=hello, algorithm="sha2-512")["data"]["hmac"]
        good = tr.verify_signed_data(k, hash_input=hello, hmac=code, hash_algorithm="sha2-512")["data"]["valid"]
        bad = tr.verify_signed_data(k, hash_input=b64("other"), hmac=code, hash_algorithm="sha2-512")["data"]["valid"]
        c.equal("HMACs", (good, bad), (True, False))
        c.equal("a hash", tr.hash_data(hello, "sha2-256")["data"]["sum"], hashlib.sha256(b"hello").hexdigest())
        c.equal("random bytes", len(base64.b64decode(tr.generate_random_bytes(n_bytes=7)["data"]["random_bytes"])), 7)
        exported = tr.export_key(k, "encryption-key")["data"]["keys"]
        c.equal("exported", {n: len(base64.b64decode(v)) for n, v in exported.items()}, {"1": 32, "2": 32})
        tr.update_key_configuration(k, min_decryption_version=2, deletion_allowed=True)
        tr.update_key_configuration(k, min_encryption_version=2)
        tr.trim_key(k, 2)
        c.equal("trimmed", list(tr.read_key(k)["data"]["keys"]), ["2"])
        tr.delete_key(k)
        c.that("deleted", k not in tr.list_keys()["data"]["keys"])
        self.sealed_text = tr.encrypt_data("kept", plaintext=hello)["data"]["ciphertext"]

    # ---- identity ------------------------------------------------------------------------------------

    def identity(self):
        c, ident, sys_ = self.checks, self.client.secrets.identity, self.client.sys
        sys_.enable_auth_method("userpass", path="staff")
        accessor = sys_.list_auth_methods()["data"]["staff/"]["accessor"]
        self.client.auth.userpass.create_or_update_user("ann", "x", mount_point="staff")
        ann = ident.create_or_update_entity("Ann", policies=["team"], metadata={"site": "hq"})["data"]["id"]
        alias = ident.create_or_update_entity_alias("ann", ann, accessor)["data"]["id"]
        rule = 'path "one/{{identity.entity.metadata.site}}/*" { capabilities = ["read"] }'
        sys_.create_or_update_policy("team", rule)
        self.client.secrets.kv.v1.create_or_update_secret("hq/plan", {"v": "1"}, mount_point="one")

        def login():
            client = self.login(None)
            return client, client.auth.userpass.login("ann", "x", mount_point="staff")["auth"]
        client, auth = login()
        c.equal("a login is its entity", auth["entity_id"], ann)
        c.equal("with its policies", auth["identity_policies"], ["team"])
        read = lambda: client.secrets.kv.v1.read_secret("hq/plan", mount_point="one")["data"]
        c.equal("a templated path is open", read(), {"v": "1"})
        ident.update_entity(ann, metadata={"site": "lab"})
        c.raises("and follows the metadata", ex.Forbidden, read)
        ident.update_entity(ann, metadata={"site": "hq"}, policies=[])
        c.raises("a policy that was taken away", ex.Forbidden, read)
        group = ident.create_or_update_group("hq team", policies=["team"], member_entity_ids=[ann])["data"]["id"]
        c.equal("a group gives it", read(), {"v": "1"})
        c.equal("the entity's groups", ident.read_entity(ann)["data"]["group_ids"], [group])
        c.equal("found by alias", ident.lookup_entity(alias_name="ann", alias_mount_accessor=accessor)["data"]["id"], ann)
        c.equal("found by alias id", ident.lookup_entity(alias_id=alias)["data"]["name"], "Ann")
        c.equal("the group by name", ident.lookup_group(name="hq team")["data"]["id"], group)
        c.equal("lists", (ident.list_entities_by_name()["data"]["keys"].count("Ann"), ident.list_groups()["data"]["keys"],
                          ident.list_entity_aliases()["data"]["key_info"][alias]["mount_path"]),
                (1, [group], "auth/staff/"))
        outside = ident.create_or_update_group("outside", group_type="external")["data"]["id"]
        galias = ident.create_or_update_group_alias("cn=x", mount_accessor=accessor, canonical_id=outside)["data"]["id"]
        c.equal("a group alias", ident.read_group_alias(galias)["data"]["canonical_id"], outside)
        ident.delete_group_alias(galias)
        ident.delete_group(outside)
        other = ident.create_or_update_entity("other")["data"]["id"]
        ident.create_or_update_entity_alias("ann2", other, accessor)
        ident.merge_entities([other], ann)
        merged = ident.read_entity(ann)["data"]
        c.equal("merged", (len(merged["aliases"]), merged["merged_entity_ids"]), (2, [other]))
        c.raises("root is refused", ex.InvalidRequest, ident.update_entity, ann, policies=["ROOT"])
        ident.update_entity(ann, disabled=True)
        c.raises("a disabled entity's token", ex.Forbidden, client.auth.token.lookup_self)
        c.raises("and its login", ex.Forbidden, login)
        ident.update_entity(ann, disabled=False)
        c.equal("enabled again", client.auth.token.lookup_self()["data"]["identity_policies"], ["team"])
        self.person = ann, client.token

    # ---- sealing and starting again ------------------------------------------------------------------

    def seal_again(self):
        c = self.checks
        self.client.sys.seal()
        c.equal("sealed", self.client.sys.is_sealed(), True)
        c.raises("nothing is answered", ex.VaultDown, self.client.secrets.kv.v1.read_secret, "app/db", mount_point="one")
        self.client.sys.submit_unseal_keys(self.keys[:3])
        c.equal("unsealed", self.client.sys.is_sealed(), False)

    def restart(self):
        c = self.checks
        self.srv.stop()
        c.equal("the server ended well", self.srv.proc.returncode, 0)
        self.srv.start()
        self.client = self.login(self.root)
        c.equal("sealed after a start", self.client.sys.is_sealed(), True)
        self.client.sys.submit_unseal_keys(self.keys[2:])
        got = self.client.secrets.kv.v1.read_secret("app/db", mount_point="one")["data"]
        c.equal("v1 data is there", got, {"user": "b"})
        got = self.client.secrets.kv.v2.read_secret_version("app", mount_point="two", raise_on_deleted_version=True)
        c.equal("v2 data is there", got["data"]["data"], {"keep": "x", "m": {"a": 1}})
        got = self.client.secrets.transit.decrypt_data("kept", ciphertext=self.sealed_text)["data"]["plaintext"]
        c.equal("transit keys are there", base64.b64decode(got), b"hello")
        c.equal("policies are there", self.client.sys.read_policy("reader")["data"]["rules"], POLICY)
        c.equal("tokens are there", self.login(self.kept).auth.token.lookup_self()["data"]["id"], self.kept)
        entity, token = self.person
        c.equal("identities are there", self.login(token).auth.token.lookup_self()["data"]["identity_policies"], ["team"])
        self.client.secrets.identity.delete_entity(entity)
        c.raises("the token of a deleted entity", ex.Forbidden, self.login(token).auth.token.lookup_self)
        c.equal("tuning is there", self.client.sys.read_mount_configuration("one")["data"]["max_lease_ttl"], 7200)

    PARTS = [initialize, unseal, keyring, mounts, kv_v1, kv_v2_versions, kv_v2_deletion, kv_v2_metadata, policies,
             tokens, token_trees, userpass, approle, cubbyhole, transit, identity, seal_again, restart]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    a = p.parse_args()
    checks = Checks()
    with workdir("hvac") as base, server(a.bin.absolute(), base) as srv:
        life = Life(checks, srv)
        for part in Life.PARTS:
            checks.section(part.__name__.replace("_", " "), lambda: part(life))
        if checks.failed:
            print("the server's log ends:\n" + log_of(srv)[-2000:])
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
