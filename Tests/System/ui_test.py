#!/usr/bin/env python3
"""The web UI in a real browser: what a person does with it, on a server of its own, through a standby, and on a
node that was never initialised.

  Tests/System/ui_test.py --bin .build/release/holdfast
"""
import argparse, base64, http.client, json, os, re, subprocess, sys, urllib.parse
from browser import Browser
from cluster_test import Cluster
from support import Checks, Client, FILE_CONFIG, certificate, mount, ready, server, wait, workdir

UI_CONFIG = FILE_CONFIG + "ui = true\n"
EVIL = "<img src=x onerror=\"window.hit=1\">"
MARKED = "quiet-otter-7731"          # a value that must not be found after its reader has left


def get(port, path, method="GET", headers=None):
    conn = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    conn.request(method, path, headers=headers or {})
    answer = conn.getresponse()
    body = answer.read()
    conn.close()
    return answer.status, answer.headers, body


def address(s, path="/"):
    return f"http://127.0.0.1:{s.port}{path}"


def sign_in(page, s, token, path="/"):
    page.go(address(s, path))
    page.heading("Sign in to Holdfast")
    page.fill("Token", token)
    page.press("Sign in")


def add_rows(page, pairs):
    """Fills rows of keys and values; the first row is there, empty."""
    for place, (key, value) in enumerate(pairs):
        if place:
            page.press("Add row")
        page.fill("Key", key, place)
        page.fill("Value", value, place)


# MARK: Without a browser

def files_and_headers(checks, binary, base):
    with server(binary, base, UI_CONFIG) as s:
        status, headers, body = get(s.port, "/ui/")
        checks.equal("a node that was not initialised has the page", (status, headers["Cache-Control"]),
                     (200, "no-store"))
        policy = headers["Content-Security-Policy"]
        for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'",
                     "script-src 'self'", "require-trusted-types-for 'script'"):
            checks.that(f"the policy says {part}", part in policy, policy)
        checks.that("and allows nothing unsafe", "unsafe" not in policy, policy)
        checks.equal("not framed, not sniffed, no referrer",
                     [headers[n] for n in ("X-Frame-Options", "X-Content-Type-Options", "Referrer-Policy",
                                           "Set-Cookie")], ["DENY", "nosniff", "no-referrer", None])
        checks.that("nothing is written into the page",
                    not re.search(rb"<style|style=|<script(?! type=\"module\" src)|\son", body), body)
        files = re.findall(rb'(?:src|href)="(/ui/assets/[^"]+)"', body)
        checks.that("it has files", len(files) == 3, files)
        for name in files:
            status, headers, body = get(s.port, name.decode())
            tag = headers["ETag"]
            checks.equal(f"{name} is asked for again each time", (status, headers["Cache-Control"]), (200, "no-cache"))
            for known in (tag, f'"x", W/{tag}'):
                again = get(s.port, name.decode(), headers={"If-None-Match": known})
                checks.equal(f"{name} is not sent twice", again[::2], (304, b""))
            status, headers, nothing = get(s.port, name.decode(), "HEAD")
            checks.equal(f"HEAD of {name}", (status, headers["Content-Length"], nothing), (200, str(len(body)), b""))
        checks.equal("no verb but GET and HEAD", [get(s.port, p, m)[0] for p in ("/ui/", "/ui", "/ui/assets/app.js")
                                                  for m in ("POST", "PUT", "DELETE", "OPTIONS")], [405] * 12)
        for path in ("/", "/ui", "/ui?a=b"):
            status, headers, _ = get(s.port, path)
            checks.equal(f"{path} leads to it", (status, headers["Location"]), (307, "/ui/"))
        checks.equal("a screen's address", [get(s.port, p)[0] for p in (
            "/ui/vault/secrets", "/ui/vault/secrets/team%2Fkv/show/a%20b", "/ui/assets/none.js", "/ui/assets/")],
            [200, 200, 404, 404])
        checks.equal("unclean addresses", [get(s.port, p)[0] for p in (
            "/ui//x", "/ui/../x", "/ui/./x", "/ui/%2e%2e/x", "/ui/a%2f..%2fb", "/ui/%00", "/ui/%zz", "/ui/%ff")],
            [301, 301, 301, 400, 400, 400, 400, 400])
        c = ready(s)
        c.must("POST", "sys/config/ui/headers/Content-Security-Policy", {"values": ["default-src 'self'"]})
        c.must("POST", "sys/config/ui/headers/X-Of-Ours", {"values": ["one", "two"]})
        _, headers, _ = get(s.port, "/ui/")
        checks.equal("operators' headers", (headers.get_all("Content-Security-Policy"), headers.get_all("X-Of-Ours")),
                     (["default-src 'self'"], ["one", "two"]))
        checks.equal("are those of the page alone", get(s.port, "/v1/sys/health")[1]["X-Of-Ours"], None)
        c.must("PUT", "sys/seal", {})
        checks.that("a sealed node has the page, with its own headers",
                    get(s.port, "/ui/")[1]["Content-Security-Policy"] == policy)


def switched_off(checks, binary, base):
    with server(binary, base) as s:
        checks.equal("without `ui = true` there is no page",
                     [get(s.port, p)[0] for p in ("/", "/ui", "/ui/", "/ui/assets/app.js")], [404] * 4)


def over_http2(checks, binary, base):
    pem, key = certificate(base, "server")
    config = UI_CONFIG.replace("tls_disable = true", f'tls_cert_file = "{pem}"\n  tls_key_file = "{key}"')
    with server(binary, os.path.join(base, "s"), config) as s:
        def curl(path, *flags):
            told = "\n%{http_version} %{http_code} %{size_download}"
            return subprocess.run(["curl", "-sk", "--http2", "-o", "-", "-w", told, *flags,
                                   f"https://127.0.0.1:{s.port}{path}"], capture_output=True).stdout.decode()
        page = curl("/ui/vault/auth")
        checks.that("the page by HTTP/2", "<title>Holdfast</title>" in page and "\n2 200 " in page, page[-40:])
        checks.that("HEAD by HTTP/2", curl("/ui/assets/app.js", "-I").endswith("\n2 200 0"))
        checks.that("304 by HTTP/2", curl("/ui/assets/app.js", "-H", "If-None-Match: *").endswith("\n2 304 0"))


# MARK: A server that nobody has initialised

def from_nothing(checks, browser, binary, base):
    with server(binary, base, UI_CONFIG) as s:
        page = browser.page()
        page.go(address(s))
        page.heading("Initialize this server")
        page.fill("Key shares", "3")
        page.fill("Key threshold", "4")
        page.press("Initialize")
        page.wait("document.querySelector('form .alert')", "an impossible threshold is refused")
        page.fill("Key threshold", "2")
        page.press("Initialize")
        page.sees("These are shown once")
        checks.that("keys are masked at first", page.run("[...document.querySelectorAll('.keys .value')].every("
                                                         "e => e.textContent === '••••••••')"))
        page.press("Show values")
        shown = page.run("[...document.querySelectorAll('.keys .value')].map(e => e.textContent)")
        keys, root = shown[:3], shown[3]
        page.downloads(base)
        page.press("Download keys")
        kept = os.path.join(base, "holdfast-keys.txt")
        wait(lambda: os.path.exists(kept), "the file of keys")
        checks.that("the file has the keys", all(k in open(kept).read() for k in shown))
        checks.equal("three keys and a token", (len(set(keys)), len(shown), root.startswith("hvs.")), (3, 4, True))
        page.press("Continue to unseal")
        page.heading("Unseal this node")
        checks.that("nor in the memory of scripts", not any(k in page.heap() for k in shown))
        checks.that("keys are not in the page any more", not any(k in page.run("document.documentElement.outerHTML")
                                                                 for k in shown))
        page.fill("Unseal key portion", keys[0])
        page.press("Unseal")
        page.sees("1 of 2 keys entered · nonce ")
        page.press("Reset")
        page.sees("0 of 2 keys entered")
        for key in (keys[0], base64.b64encode(os.urandom(33)).decode()):
            page.fill("Unseal key portion", key)
            page.press("Unseal")
        page.wait("document.querySelector('form .alert')", "that a key was wrong")
        page.sees("0 of 2 keys entered")
        for key in (keys[2], keys[0]):
            page.fill("Unseal key portion", key)
            page.press("Unseal")
        page.heading("Sign in to Holdfast")
        page.fill("Token", root)
        page.press("Sign in")
        page.heading("Secrets Engines")
        page.press("Cluster")
        page.heading("Cluster")
        page.press("Seal")
        page.press("Seal")                             # of the dialog
        page.heading("Unseal this node")
        checks.equal("the node is sealed", get(s.port, "/v1/sys/health")[0], 503)
        watch(checks, page, s)


def unsealing_itself(checks, browser, binary, base, other):
    """A seal that unseals by itself gives recovery keys, and nobody is asked for one."""
    mount(other, "transit", "transit", {})
    other.must("POST", "transit/keys/unseal", {})
    stanza = f'''seal "transit" {{{{
  address = "http://127.0.0.1:{other.port}"
  token = "{other.token}"
  key_name = "unseal"
  mount_path = "transit/"
}}}}
'''
    with server(binary, base, UI_CONFIG + stanza) as s:
        page = browser.page()
        page.go(address(s))
        page.heading("Initialize this server")
        page.sees("This node unseals itself.")
        page.press("Initialize")
        page.sees("These are shown once")
        page.press("Show values")
        checks.equal("five recovery keys", page.run(
            "[...document.querySelectorAll('.keys dt')].map(e => e.textContent)"),
            [f"Recovery key {n}" for n in range(1, 6)] + ["Initial root token"])
        root = page.run("[...document.querySelectorAll('.keys .value')].at(-1).textContent")
        page.press("Continue to sign in")
        page.heading("Sign in to Holdfast")
        short = Client(s.port, root).must("POST", "auth/token/create", {"ttl": "3s"})["auth"]["client_token"]
        page.fill("Token", short)
        page.press("Sign in")
        page.heading("Secrets Engines")
        page.heading("Sign in to Holdfast")            # when the token's time is over, without a click
        page.sees("Your session has ended")
        watch(checks, page, s)


# MARK: A person's way through

def walk_through(checks, browser, s, c):
    page = browser.page()
    sign_in(page, s, "hvs.nobody")
    page.sees("The server does not know this token")
    checks.that("a wrong token is not kept", page.run("sessionStorage.length") == 0)
    page.fill("Token", c.token)
    page.key("Enter", 13)
    page.heading("Secrets Engines")
    checks.equal("a screen reader begins at the heading", page.run("document.activeElement.tagName"), "H1")
    page.press("Enable new engine +")
    page.heading("Enable a secrets engine")
    page.press("KV")
    page.press("Next")
    page.heading("Enable KV")
    page.fill("Path", "team/kv")
    page.fill("Description", EVIL)
    page.fill("Maximum number of versions", "7")
    page.press("Enable Engine")
    page.heading("team/kv/")
    checks.equal("the number of versions is set", c.must("GET", "team/kv/config")["data"]["max_versions"], 7)
    page.press("Create secret")
    page.heading("Create secret")
    page.fill("Path for this secret", "app/db")
    add_rows(page, [("username", "app"), ("password", MARKED)])
    page.press("Save")
    page.heading("app/db")
    page.sees("Version 1")
    checks.that("values are masked", MARKED not in page.run("document.documentElement.outerHTML"))
    page.press("Show values")
    page.sees(MARKED)
    checks.equal("it is stored", c.must("GET", "team/kv/data/app/db")["data"]["data"],
                 {"username": "app", "password": MARKED})
    page.press("Create new version")
    page.heading("New version of app/db")
    page.fill("Value", "other")
    page.press("Save")
    page.heading("app/db")
    page.sees("Version 2")
    page.press("Policies")
    page.heading("ACL policies")
    page.press("Create ACL policy")
    page.heading("Create ACL policy")
    page.fill("Name", "readonly")
    page.fill("Policy", 'path "secret/*" { capabilities = ["read"] }')
    page.press("Create policy")
    page.heading("readonly")
    page.sees('path "secret/*"')
    checks.equal("the policy is stored", c.must("GET", "sys/policies/acl/readonly")["data"]["policy"],
                 'path "secret/*" { capabilities = ["read"] }')
    page.send("Page.reload")
    page.heading("readonly")
    page.press("Edit policy")
    page.heading("Edit policy readonly")
    page.fill("Policy", "path {")
    page.press("Save")
    page.wait("document.querySelector('form .alert')", "what is wrong with the policy")
    return page


def versions(checks, page, s, c):
    page.go(address(s, "/ui/vault/secrets/team%2Fkv/show/app/db"))
    page.heading("app/db")
    page.press("Version history")
    page.heading("app/db: version history")
    page.press("Delete version 1")
    page.sees("deleted")
    page.press("Undelete version 1")
    page.press("Delete version 1")
    page.press("Undelete version 1")
    page.press("Compare with newest")
    page.heading("app/db: compare")
    page.sees("1 of 2 keys differ.")
    page.press("Show values")
    checks.that("side by side", all(t in page.text() for t in ("app", "other", "changed", "same")), page.text())
    page.press("Version history")
    page.press("Destroy version 1")
    page.press("Cancel")
    page.press("Version 1")
    page.sees("asked for by its number")
    page.press("Destroy version")
    page.press("Destroy")
    page.sees("Version 1 was destroyed.")
    checks.equal("destroyed", c.call("GET", "team/kv/data/app/db?version=1")[0], 404)
    page.press("Metadata")
    page.heading("app/db: metadata")
    page.press("Edit metadata")
    page.fill("Key", "owner")
    page.fill("Value", EVIL)
    page.press("Require check-and-set")
    page.press("Save")
    page.sees("owner")
    kept = c.must("GET", "team/kv/metadata/app/db")["data"]
    checks.equal("metadata", (kept["custom_metadata"], kept["cas_required"]), ({"owner": EVIL}, True))
    page.press("Secret")
    page.heading("app/db")
    page.press("Create new version")
    page.heading("New version of app/db")
    c.must("POST", "team/kv/data/app/db", {"data": {"by": "another"}, "options": {"cas": 2}})
    page.press("Save")
    page.sees("Somebody has written another version in the meantime.")
    checks.equal("nothing is lost", c.must("GET", "team/kv/data/app/db")["data"]["data"], {"by": "another"})


def editors(checks, page, s, c):
    large = '{"account": 12345678901234567890, "list": [1, "two"], "__proto__": {"a": 1.0}}'
    page.go(address(s, "/ui/vault/secrets/team%2Fkv/create/"))
    page.heading("Create secret")
    page.fill("Path for this secret", "numbers")
    page.press("Edit as JSON")
    page.fill("Secret data as JSON", "[1]")
    page.press("Save")
    page.sees("Expected a JSON object")
    page.fill("Secret data as JSON", large)
    page.press("Edit as rows")
    page.sees("Rows hold texts only.")
    page.press("Save")
    page.heading("numbers")
    page.press("Create new version")
    page.heading("New version of numbers")
    page.press("Save")
    page.sees("Version 2")
    status, _, body = get(s.port, "/v1/team/kv/data/numbers", headers={"X-Vault-Token": c.token})
    checks.that("numbers come out as they went in",
                b'"account":12345678901234567890' in body and b'{"a":1.0}' in body, body)
    page.go(address(s, "/ui/vault/secrets/team%2Fkv/create/"))
    page.heading("Create secret")
    page.fill("Path for this secret", "numbers")
    add_rows(page, [("a", "b")])
    page.press("Save")
    page.sees("There is a secret at this path already.")
    mount(c, "old", "kv", {"version": "1"})
    for path in ("old", "cubbyhole"):
        page.go(address(s, f"/ui/vault/secrets/{path}/create/deep/"))
        page.heading("Create secret")
        page.fill("Path for this secret", "deep/ö #?%&+/one")
        add_rows(page, [("a", "b")])
        page.press("Save")
        page.heading("deep/ö #?%&+/one")
        page.press("Edit")
        page.heading("Edit deep/ö #?%&+/one")
        page.fill("Value", "c")
        page.press("Save")
        page.heading("deep/ö #?%&+/one")
        page.press("Show values")
        page.wait("document.querySelector('.value').textContent === 'c'", "the new value")
        page.press("deep")
        page.heading(f"{path}/deep/")
        page.press("ö #?%&+/")
        page.press("one")
        page.press("Delete")
        page.press("Delete")
        page.sees("There is no secret here yet.")


def markup_in_values(checks, page, s, c):
    """CVE-2023-2121: a value was taken for markup where versions are compared."""
    secret = f"x{EVIL}"
    name = urllib.parse.quote(secret, safe="")
    for value in (EVIL, EVIL + EVIL):
        c.must("POST", f"team/kv/data/{name}", {"data": {EVIL: value, "nested": {EVIL: [EVIL]}}})
    c.must("POST", "sys/policies/acl/evil", {"policy": f'# {EVIL}\npath "a/*" {{ capabilities = ["read"] }}'})

    def harmless(where):
        got = page.run("[window.hit ?? null, document.querySelectorAll('main img, main [onerror]').length]")
        checks.equal(f"text stays text: {where}", got, [None, 0])
        return checks.that(f"and is shown as it is: {where}", EVIL in page.text() or page.run(
            "[...document.querySelectorAll('textarea, input')].some(e => e.value.includes('onerror'))"), page.text())

    page.go(address(s, "/ui/vault/secrets"))
    page.heading("Secrets Engines")
    harmless("engines")
    page.press("team/kv/")
    page.heading("team/kv/")
    harmless("folder")
    page.press(secret)
    page.heading(secret)
    page.press("Show values")
    page.press("JSON")
    page.press("Show the whole secret as JSON")
    harmless("secret")
    for view in ("edit", "versions", "compare", "metadata"):
        page.go(address(s, f"/ui/vault/secrets/team%2Fkv/{view}/{name}"))
        page.wait("document.querySelector('h1')", view)
        if view == "compare":
            page.press("Show values")
        harmless(view)
    page.go(address(s, "/ui/vault/policy/acl/evil"))
    page.heading("evil")
    harmless("policy")
    page.go(address(s, "/ui/vault/nowhere/" + name))
    page.heading("Not found")
    page.go(address(s, "/ui/vault/auth?why=" + name + "&next=javascript:window.hit=1"))
    page.heading("Sign in to Holdfast")
    checks.equal("an address is no script", page.run("window.hit ?? null"), None)


def values_between_sessions(checks, browser, s, c):
    """CVE-2021-38554: values of one session were kept for the next one in the same browser."""
    c.must("POST", "team/kv/data/left", {"data": {"password": MARKED}})
    c.must("POST", "sys/policies/acl/little", {"policy": 'path "team/kv/metadata/*" { capabilities = ["list"] }'})
    other = c.must("POST", "auth/token/create", {"policies": ["little"]})["auth"]["client_token"]
    page = browser.page()
    sign_in(page, s, c.token, "/ui/vault/secrets/team%2Fkv/show/left")
    page.heading("left")
    page.press("Show values")
    page.sees(MARKED)
    page.press("Copy password")
    page.sees("The clipboard is emptied in 30 seconds.")
    checks.equal("the value was copied", page.clipboard(), MARKED)
    page.press("Create new version")
    page.heading("New version of left")
    page.press("Sign out")
    page.heading("Sign in to Holdfast")
    page.sees("You have signed out.")
    checks.equal("and is taken out of the clipboard", page.clipboard(), "")
    page.run("void setTimeout(() => history.back())")
    page.wait("location.search.startsWith('?next=') && !document.querySelector('main[aria-busy]')", "the sign-in again")
    page.heading("Sign in to Holdfast")
    page.go(address(s, "/ui/vault/secrets/team%2Fkv/show/left"))
    page.heading("Sign in to Holdfast")
    page.fill("Token", other)
    page.press("Sign in")
    page.heading("left")
    page.sees("Permission denied: the policies of your token do not let it read team/kv/data/left.")
    checks.equal("who may not read stays signed in", page.run("sessionStorage.length"), 1)
    kept = page.run("""(async () => JSON.stringify([document.documentElement.outerHTML,
        [...document.querySelectorAll('input, textarea')].map(e => e.value), {...sessionStorage}, {...localStorage},
        document.cookie, history.state, await (window.caches ? caches.keys() : []),
        (await indexedDB.databases()).map(d => d.name)]))()""")
    checks.that("the value is nowhere", MARKED not in kept, kept)
    checks.that("nor is the first token", c.token not in kept)
    heap = page.heap()
    checks.that("the heap was read", "Permission denied: the policies" in heap, len(heap))
    checks.that("the value is not in the scripts' memory either", MARKED not in heap)
    checks.that("nor the first token", c.token not in heap)
    c.must("POST", "auth/token/revoke", {"token": other})
    page.press("Policies")
    page.heading("Sign in to Holdfast")
    page.sees("Your session has ended")
    checks.equal("nothing is kept", page.run("sessionStorage.length"), 0)
    return page


def other_screens(checks, browser, s, c):
    page = browser.page(width=360)                     # a telephone
    shown_token = "[...document.querySelectorAll('.value')].map(e => e.textContent).find(t => t.startsWith('hvs.'))"
    sign_in(page, s, c.token)
    page.heading("Secrets Engines")
    page.press("Access")
    page.heading("Auth methods")
    page.press("Enable new method +")
    page.heading("Enable an auth method")
    page.choose("Type", "userpass")
    page.fill("Path", "people")
    page.press("Show it at sign-in to everybody")
    page.press("Enable Method")
    page.heading("Auth methods")
    c.must("POST", "auth/people/users/ann", {"password": "a long one", "token_policies": "readonly"})
    page.press("Tools")
    page.fill("Data as JSON", json.dumps({"a": MARKED, "b": EVIL}))
    page.press("Wrap data")
    page.sees("Lives for")
    page.press("Show the wrapping token")
    token = page.wait(shown_token, "a token")
    page.press("Rewrap")
    page.fill("Wrapping token", token)
    page.press("Rewrap token")
    page.press("Show the wrapping token")
    token = page.wait(shown_token, "a token")
    page.press("Lookup")
    page.fill("Wrapping token", token)
    page.press("Look up token")
    page.sees("sys/wrapping/wrap")
    page.press("Unwrap")
    page.fill("Wrapping token", token)
    page.press("Unwrap data")
    page.press("Show the unwrapped data")
    page.sees(MARKED)
    checks.equal("text stays text: unwrapping", page.run(
        "[window.hit ?? null, document.querySelectorAll('main img').length]"), [None, 0])
    page.press("Random")
    page.press("Generate")
    page.press("Show the random bytes")
    page.press("Hash")
    page.fill("Input", "abc")
    page.click("document.querySelector('main form button[type=submit]')", "the form's button")
    page.sees("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    store = "secrets/team%2Fkv"
    for path in ("secrets", f"{store}/list/", f"{store}/show/left", f"{store}/compare/numbers", f"{store}/create/",
                 f"{store}/configuration", "policies/acl", "access", "token", "cluster", "tools/wrap"):
        page.go(address(s, f"/ui/vault/{path}"))
        page.wait("document.querySelector('h1')", path)
        checks.that(f"{path} fits a telephone", page.run("document.documentElement.scrollWidth") <= 360)
        nameless = page.run("""[...document.querySelectorAll('input, select, textarea, button, a')].filter(e =>
            !(e.labels && e.labels.length) && !e.getAttribute('aria-label') && !e.textContent.trim()).length""")
        checks.equal(f"{path}: everything has a name", nameless, 0)
    page.go(address(s, "/ui/vault/secrets"))
    page.press("Disable old/")
    page.sees("Type old to confirm")
    page.key("Escape", 27)
    page.wait("!document.querySelector('dialog')", "the end of the dialog")
    page.press("Disable old/")
    page.fill("Type old to confirm", "old")
    page.press("Disable engine")
    page.wait("!document.querySelector('main').innerText.includes('old/')", "the engine is gone")
    checks.equal("disabled", c.call("GET", "sys/mounts/old")[0], 400)
    page.press("Sign out")
    page.heading("Sign in to Holdfast")
    checks.that("methods that may be seen are offered", page.run(
        "document.querySelector('select option').textContent") == "Username and password (people/)")
    page.fill("Username", "ann")
    page.fill("Password", "wrong")
    page.press("Sign in")
    page.wait("document.querySelector('form .alert')", "a wrong password is told")
    page.fill("Password", "a long one")
    page.press("Sign in")
    page.heading("Secrets Engines")
    page.press("people-ann")
    page.heading("Your token")
    page.sees("readonly")
    page.press("Renew token")
    page.sees("The token is renewed.")
    page.press("Policies")
    page.sees("Permission denied: the policies of your token do not let it list sys/policies/acl.")
    page.fill("Name", "default")
    page.press("Open policy")
    page.sees("Permission denied: the policies of your token do not let it read sys/policies/acl/default.")
    page.press("people-ann")
    page.press("Revoke token and sign out")
    page.heading("Sign in to Holdfast")
    return page


# MARK: A cluster

def through_a_standby(checks, browser, binary, base):
    c = Cluster(binary, base, {"VAULT_UI": "true"})
    try:
        for node in c.nodes:
            node.env["VAULT_UI"] = "true"
        first, standby, third = c.nodes
        first.start()
        first.init()
        c.keys, c.root = first.keys, first.root
        first.unseal(c.keys)
        first.wait_active()
        third.start()
        standby.start()
        page = browser.page()
        page.go(address(standby))
        page.heading("Initialize this server")
        page.fill("Address of a member", f"http://127.0.0.1:{first.port}")
        page.press("Join cluster")
        page.heading("Unseal this node")
        page.fill("Unseal key portion", c.keys[0])
        page.press("Unseal")
        page.heading("Sign in to Holdfast")
        checks.equal("it joined by its page, and is a standby", c.health(1), 429)
        Client(third.port, timeout=20).must("POST", "sys/storage/raft/join",
                                            {"leader_api_addr": f"http://127.0.0.1:{first.port}"})
        third.unseal(c.keys)
        wait(c.has_three_voters, "three voters")
        page.sees("this node: standby")
        page.fill("Token", c.root)
        page.press("Sign in")
        page.heading("Secrets Engines")
        page.press("Enable new engine +")
        page.press("Next")
        page.heading("Enable KV")
        page.fill("Path", "secret")
        page.choose("Version", "1")
        page.press("Enable Engine")
        page.heading("secret/")
        page.press("Create secret")
        page.heading("Create secret")
        page.fill("Path for this secret", "Rabbitmq")
        add_rows(page, [("username", MARKED)])
        page.press("Save")
        page.heading("Rabbitmq")
        page.press("Show values")
        page.sees(MARKED)
        page.press("Read it elsewhere")
        page.sees('property: "username"')
        checks.equal("what was written through a standby, on the leader",
                     c.client(0).must("GET", "secret/Rabbitmq")["data"], {"username": MARKED})
        page.press("Cluster")
        page.heading("Cluster")
        checks.that("the cluster's page", page.run(
            "[...document.querySelectorAll('table')].map(t => t.querySelectorAll('tbody tr').length).join()") == "3,3,3"
            and "leader" in page.text() and "Healthy" in page.text(), page.text())
        page.sees(f"Stepping down is for the active one, http://127.0.0.1:{first.port}.")
        leader = browser.page()
        sign_in(leader, first, c.root)
        leader.heading("Secrets Engines")
        leader.press("Cluster")
        leader.press("Step down")
        leader.press("Step down")                      # of the dialog
        leader.sees("Done.")
        watch(checks, leader, first)
        wait(lambda: c.settled() and c.active() != [0], "another leader")
        page.go(address(standby, "/ui/vault/secrets/secret/show/Rabbitmq"))
        page.heading("Rabbitmq")
        watch(checks, page, standby)
    finally:
        c.stop()


def watch(checks, page, s):
    """What must never happen, whatever was done before."""
    own = (f"http://127.0.0.1:{s.port}/", "about:", "data:", "blob:")
    checks.equal("no request has left the origin", [u for u in page.requests if not u.startswith(own)], [])
    checks.that("the page was there", len(page.requests) > 20, page.requests)
    checks.equal("nothing was complained of", page.complaints, [])


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True)
    binary = os.path.abspath(p.parse_args().bin)
    checks = Checks()
    with workdir("ui") as base:
        sub = lambda name: os.path.join(base, name)
        os.makedirs(sub("tls"))
        checks.section("files and headers", lambda: files_and_headers(checks, binary, sub("files")))
        checks.section("switched off", lambda: switched_off(checks, binary, sub("off")))
        checks.section("over HTTP/2", lambda: over_http2(checks, binary, sub("tls")))
        browser = Browser(sub("browser"))
        try:
            checks.section("from nothing", lambda: from_nothing(checks, browser, binary, sub("nothing")))
            with server(binary, sub("one"), UI_CONFIG) as s:
                c = ready(s)
                pages = []
                checks.section("walk-through", lambda: pages.append(walk_through(checks, browser, s, c)))
                page = pages[0] if pages else browser.page()
                checks.section("versions", lambda: versions(checks, page, s, c))
                checks.section("editors", lambda: editors(checks, page, s, c))
                checks.section("markup in values", lambda: markup_in_values(checks, page, s, c))
                checks.section("values between sessions",
                               lambda: pages.append(values_between_sessions(checks, browser, s, c)))
                checks.section("unsealing itself", lambda: unsealing_itself(
                    checks, browser, binary, sub("itself"), c))
                checks.section("other screens", lambda: pages.append(other_screens(checks, browser, s, c)))
                for used in pages:
                    watch(checks, used, s)
            checks.section("through a standby", lambda: through_a_standby(checks, browser, binary, sub("cluster")))
        finally:
            browser.close()
    return checks.close()


if __name__ == "__main__":
    sys.exit(main())
