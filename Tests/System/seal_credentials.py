"""Where the credentials of clouds may come from, and what is said when they are of no use."""
import json, re, subprocess, time
from pathlib import Path

import seal_kinds
from Fakes import aws as aws_fakes
from seal_node import node


def aws(c, binary, base, kind):
    """Where AWS's credentials may come from."""
    bare = kind.stanza(access_key=None, secret_key=None)
    pair = {"AWS_ACCESS_KEY_ID": kind.access_key, "AWS_SECRET_ACCESS_KEY": kind.secret_key}
    home = Path(base) / "aws"
    home.mkdir()
    (home / "credentials").write_text(f"[other]\naws_access_key_id = x\naws_secret_access_key = y\n[seal]\n"
                                      f"aws_access_key_id = {kind.access_key}\naws_secret_access_key = {kind.secret_key}\n")
    (home / "config").write_text(f"[profile role]\nrole_arn = {kind.role}\nsource_profile = assumer\nrole_session_name = by-profile\n"
                                 f"[profile assumer]\naws_access_key_id = {kind.assumer['AccessKeyId']}\n"
                                 f"aws_secret_access_key = {kind.assumer['SecretAccessKey']}\n"
                                 f"[profile machine]\nrole_arn = {kind.role}\ncredential_source = EcsContainer\n")
    metadata = aws_fakes.Metadata({"AccessKeyId": kind.access_key, "SecretAccessKey": kind.secret_key})
    container = aws_fakes.Container(kind.assume)
    (home / "container").write_text(container.token + "\n")
    as_container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url + "v1/credentials"}
    profiles = {"AWS_CONFIG_FILE": str(home / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"),
                "AWS_STS_ENDPOINT": kind.base}
    ways = {
        "environment": pair,
        "environment before the file": {**pair, "AWSKMS_WRAPPER_KEY_ID": "alias/unseal"},
        "profile": {"AWS_SHARED_CREDENTIALS_FILE": str(home / "credentials"), "AWS_PROFILE": "seal"},
        "instance metadata": {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url},
        "the container, a token": {**as_container, "AWS_CONTAINER_AUTHORIZATION_TOKEN": container.token},
        "the container, a token's file": {**as_container, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(home / "container")},
        "a role of a profile": {**profiles, "AWS_PROFILE": "role"},
    }
    for name, env in ways.items():
        stanza = kind.stanza(kms_key_id="alias/nope", access_key=None, secret_key=None) if "before" in name else bare
        with node(binary, base, stanza, env=env, name="aws-" + re.sub(r"\W+", "-", name)) as n:
            n.start()
            n.init("-recovery-shares=1", "-recovery-threshold=1")
            n.restart()
            c.that(f"credentials from {name}", n.unsealed())
    with node(binary, base, bare, env={"AWS_EC2_METADATA_DISABLED": "true"}, name="aws-none") as n:
        n.start()
        out = n.cli("operator", "init")
        c.that("no credentials: says so", out.returncode != 0 and "no credentials were found" in out.stderr, out.stderr)
    for name, env, word in (
            ("a wrong token of the container", {**as_container, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "wrong-secret"}, "answers 401"),
            ("a container's endpoint elsewhere", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://kms.example.org/c"}, "expected https"),
            ("a profile without a source", {**profiles, "AWS_PROFILE": "nobody"}, "has no credentials"),
            ("a role by keys that may not", {**profiles, "AWS_PROFILE": "role", "AWS_STS_ENDPOINT": kind.base, "AWS_CONFIG_FILE": str(home / "denied")}, "AWS STS")):
        (home / "denied").write_text(f"[profile role]\nrole_arn = {kind.role}\nsource_profile = seal\n")
        with node(binary, base, bare, env=env, name="aws-" + re.sub(r"\W+", "-", name)) as n:
            n.start()
            out = n.cli("operator", "init")
            c.that(f"{name}: init is refused", out.returncode != 0 and word in out.stderr, out.stderr)
            c.that(f"{name}: no secret in the log", "wrong-secret" not in n.text)
    metadata.close()
    container.close()
    web_identity(c, binary, base, kind, bare, home)


def web_identity(c, binary, base, kind, bare, home):
    """IRSA: a pod's token becomes a role's credentials."""
    sts = aws_fakes.STS(kind.role, kind.assume)
    token = home / "token"
    token.write_text(sts.token() + "\n")
    env = {"AWS_ROLE_ARN": kind.role, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_STS_ENDPOINT": sts.url}
    with node(binary, base, bare, env=env, name="aws-irsa") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart()
        c.that("credentials from a web identity", n.unsealed(), n.status())
        for name, text, code in (("an expired token", sts.token(exp=time.time() - 5), "ExpiredTokenException"),
                                 ("another's token", aws_fakes.sign_jwt(aws_fakes.new_rsa(), {"exp": time.time() + 60}), "InvalidIdentityToken"),
                                 ("another pod's token", sts.token(sub="system:serviceaccount:vault:other"), "AccessDenied")):
            token.write_text(text)
            n.restart()
            reason = n.reason()
            c.that(f"{name}: the reason", "AWS STS refuses the credential" in reason and code in reason, reason)
            c.that(f"{name}: not in the log", text not in n.text)
            token.write_text(sts.token())
            c.that(f"{name}: a renewed one is read", n.unsealed())
        stale = sts.token()
        token.write_text(stale)
        n.stop()
        sts.skew = 2 * 86400
        n.start()
        reason = n.reason()
        c.that("clock skew of STS: the reason", "2880 minutes behind" in reason, reason)
        sts.skew = 0
        c.that("clock skew of STS: unseals", n.unsealed())
        n.stop()
        sts.fault = (503, "busy", None)
        n.start()
        reason = n.reason()
        c.that("STS is away: the reason", "AWS STS answers 503" in reason, reason)
        sts.fault = None
        c.that("STS is back: unseals", n.unsealed())
        sts.lifetime = 1                    # credentials that end at once are not kept
        n.restart()
        c.that("short credentials: unseals", n.unsealed())
        before = len(sts.requests)
        c.equal("short credentials are renewed", n.client.must("POST", "sys/sealwrap/rewrap")["data"]["fully_wrapped"], True)
        c.that("short credentials: asked anew", len(sts.requests) > before)
    sts.close()


def azure(c, binary, base, kind):
    token = Path(base) / "federated"
    bare = dict(client_secret=None)
    ways = {
        "a workload identity": (kind.stanza(**bare), {"AZURE_FEDERATED_TOKEN_FILE": str(token)}),
        "the machine": (kind.stanza(client_secret=None, client_id=None, tenant_id=None), {}),
        "the machine's other identity": (kind.stanza(client_secret=None, client_id="identity-1", tenant_id=None), {}),
        "the environment": (kind.stanza(client_secret="nonsense"), {"AZURE_CLIENT_SECRET": "s3cret"}),
    }
    for name, (stanza, env) in ways.items():
        token.write_text(kind.login.assertion() + "\n")
        with node(binary, base, stanza, env={**kind.env, **env}, name="azure-" + re.sub(r"\W+", "-", name)) as n:
            n.start()
            n.init("-recovery-shares=1", "-recovery-threshold=1")
            n.restart()
            c.that(f"credentials from {name}", n.unsealed(), n.status())
            if "workload" in name:
                token.write_text(kind.login.assertion(exp=time.time() - 5))
                n.restart()
                reason = n.reason()
                c.that("an expired token is refused", "refuses the credential" in reason, reason)
                token.write_text(kind.login.assertion())
                c.that("a renewed token is read", n.unsealed())
                # The vault judges tokens by nbf and exp; whose clock is off shows in its answer's date.
                for skew, word in ((7200, "120 minutes behind"), (-7200, "120 minutes ahead of")):
                    n.stop()
                    kind.vault.skew = skew
                    n.start()
                    reason = n.reason()
                    c.that(f"the vault's clock, {skew} s: the reason", "refuses the credential" in reason and word in reason, reason)
                    kind.vault.skew = 0
                    c.that(f"the vault's clock, {skew} s: unseals", n.unsealed())
                # The login service judges the assertion.
                n.stop()
                token.write_text(kind.login.assertion())
                kind.login.skew = kind.vault.skew = 7200
                n.start()
                reason = n.reason()
                c.that("Azure's clock: the reason", "refuses the credential" in reason and "120 minutes behind" in reason, reason)
                kind.login.skew = kind.vault.skew = 0
                c.that("Azure's clock: unseals", n.unsealed())
    app = seal_kinds.azure.AppService(kind.login)
    for name, client, lifetime in (("App Service", None, 3600), ("App Service's other identity", "identity-1", 1)):
        kind.login.lifetime = lifetime
        env = {**kind.env, "IDENTITY_ENDPOINT": app.url + "msi/token", "IDENTITY_HEADER": app.header}
        with node(binary, base, kind.stanza(client_secret=None, client_id=client, tenant_id=None), env=env,
                  name="azure-" + re.sub(r"\W+", "-", name)) as n:
            n.start()
            n.init("-recovery-shares=1", "-recovery-threshold=1")
            n.restart()
            c.that(f"credentials from {name}", n.unsealed(), n.status())
            before = len(app.requests)
            n.client.must("POST", "sys/sealwrap/rewrap")
            c.equal(f"{name}: tokens are kept while they are good", len(app.requests) == before, lifetime > 1)
            c.that(f"{name}: its header is in no log", app.header not in n.text)
            n.stop()
            n.env["IDENTITY_HEADER"] = "wrong-secret"
            n.start()
            reason = n.reason()
            c.that(f"{name}, a wrong header: the reason", "refuses the credential" in reason, reason)
    app.close()
    kind.login.lifetime = 1         # a token that ends at once is not kept
    with node(binary, base, kind.stanza(), env=kind.env, name="azure-short") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        time.sleep(1.2)
        out = n.client.must("POST", "sys/sealwrap/rewrap")
        c.equal("tokens are renewed", out["data"]["fully_wrapped"], True)
    kind.login.lifetime = 3600
    stanza = kind.stanza(subscription_id="123")
    with node(binary, base, stanza, env=kind.env, name="azure-subscription") as n:
        n.start()
        c.that("subscription_id is taken with a warning", "subscription_id" in n.text)
    other = f"{base}/other"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other",
                    "-addext", "subjectAltName=DNS:vault.example", "-keyout", f"{other}.key", "-out", f"{other}.pem"],
                   check=True, capture_output=True)
    stranger = seal_kinds.azure.KeyVault(kind.login, (f"{other}.pem", f"{other}.key"))
    Path(f"{other}.roots").write_text(Path(f"{other}.pem").read_text() + Path(kind.env["SSL_CERT_FILE"]).read_text())
    with node(binary, base, kind.stanza(endpoint=stranger.url), env={"SSL_CERT_FILE": f"{other}.roots"}, name="azure-name") as n:
        n.start()
        out = n.cli("operator", "init")
        c.that("a certificate of another name is refused", out.returncode != 0 and "certificate" in out.stderr, out.stderr)
        c.equal("a certificate of another name: nothing was asked", stranger.requests, [])
    stranger.close()
    with node(binary, base, kind.stanza(), name="azure-root") as n:
        n.start()
        out = n.cli("operator", "init")
        c.that("a certificate of an unknown root is refused", out.returncode != 0 and "certificate" in out.stderr, out.stderr)


def google(c, binary, base, kind):
    subject = Path(base) / "subject"
    for name, impersonate in (("a federation", False), ("a federation that impersonates", True)):
        subject.write_text(kind.identity.subject_token() + "\n")
        file = Path(base) / f"federation-{impersonate}.json"
        file.write_text(json.dumps(kind.identity.federation(str(subject), impersonate)))
        with node(binary, base, kind.stanza(credentials=file), name=f"google-{impersonate}") as n:
            n.start()
            n.init("-recovery-shares=1", "-recovery-threshold=1")
            n.restart()
            c.that(f"credentials from {name}", n.unsealed(), n.status())
            subject.write_text(kind.identity.subject_token(exp=time.time() - 5))
            n.restart()
            reason = n.reason()
            c.that(f"{name}, an expired token: the reason", "refuses the credential" in reason, reason)
            subject.write_text(kind.identity.subject_token())
            c.that(f"{name}, an expired token: a renewed one is read", n.unsealed())
    with node(binary, base, kind.stanza(credentials=None, auth_endpoint=kind.identity.url), name="google-metadata") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart()
        c.that("credentials from the metadata server", n.unsealed())
        kind.identity.tokens.clear()        # as if Google had revoked it
        out = n.client.must("POST", "sys/sealwrap/rewrap")
        c.equal("a revoked token is replaced", out["data"]["fully_wrapped"], True)


def alicloud(c, binary, base, kind):
    metadata = seal_kinds.alicloud.Metadata()
    kind.kms.metadata = metadata
    with node(binary, base, kind.stanza(access_key=None, secret_key=None, auth_endpoint=metadata.url), name="ali-role") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart()
        c.that("credentials from the RAM role", n.unsealed())
    metadata.close()
    service_account(c, binary, base, kind)


def service_account(c, binary, base, kind):
    """RRSA: a pod's token becomes a role's credentials."""
    sts = seal_kinds.alicloud.STS()
    kind.kms.metadata = sts
    token = Path(base) / "oidc"
    token.write_text(sts.token() + "\n")
    env = {"ALIBABA_CLOUD_ROLE_ARN": sts.role, "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": sts.provider,
           "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(token)}
    stanza = kind.stanza(access_key=None, secret_key=None, auth_endpoint=sts.url)
    with node(binary, base, stanza, env=env, name="ali-rrsa") as n:
        n.start()
        n.init("-recovery-shares=1", "-recovery-threshold=1")
        n.restart()
        c.that("credentials from a service account", n.unsealed(), n.status())
        for name, text, code in (("an expired token", sts.token(exp=time.time() - 5), "AuthenticationFail.OIDCToken.Expired"),
                                 ("another pod's token", sts.token(sub="system:serviceaccount:vault:other"), "AuthenticationFail.NoPermission")):
            token.write_text(text)
            n.restart()
            reason = n.reason()
            c.that(f"{name}: the reason", "refuses the credential" in reason and code in reason, reason)
            c.that(f"{name}: not in the log", text not in n.text)
            token.write_text(sts.token())
            c.that(f"{name}: a renewed one is read", n.unsealed())
        n.stop()
        sts.fault = (503, {"Code": "ServiceUnavailable", "Message": "busy"}, None)
        n.start()
        reason = n.reason()
        c.that("the token service is away: the reason", "token service answers 503" in reason, reason)
        sts.fault = None
        c.that("the token service is back: unseals", n.unsealed())
        sts.lifetime = 1
        n.restart()
        c.that("short credentials: unseals", n.unsealed())
        c.equal("short credentials are renewed", n.client.must("POST", "sys/sealwrap/rewrap")["data"]["fully_wrapped"], True)
    del env["ALIBABA_CLOUD_OIDC_PROVIDER_ARN"]
    with node(binary, base, stanza, env=env, name="ali-half") as n:
        out = subprocess.run(n.argv, env=n.env, capture_output=True, text=True, timeout=20)
        c.that("half a role is refused", out.returncode == 1 and "oidc_provider_arn" in out.stderr, out.stderr[-500:])
    sts.close()
