"""The kinds of seal, each with its cloud and what a test can do to it."""
import contextlib, os, subprocess, time, urllib.request
from pathlib import Path

from Fakes import alicloud, aws, azure, google, transit
from support import HERE, Client, free_port, mount, ready, server, shared_library


class Kind:
    """`stanza(...)` gives settings; every attribute that a cloud lacks is None and its test is left out."""
    type = ""
    secrets = ()            # what must never be in a log
    env = {}
    sees_clock = True       # the cloud refuses requests of another time

    def stanza(self, **changes):
        settings = {**self.settings(), **changes}
        lines = "".join(f'  {k} = "{v}"\n' for k, v in settings.items() if v is not None)
        return f'seal "{self.type}" {{\n{lines}}}\n'

    def settings(self):
        raise NotImplementedError

    services = ()           # the fakes whose faults and latency hit the KMS itself

    def fault(self, status, body="", headers=None):
        for service in self.services:
            service.fault = (status, body, headers) if status else None

    def latency(self, seconds):
        for service in self.services:
            service.latency = seconds

    def skew(self, seconds):
        for service in self.clocks:
            service.skew = seconds

    clocks = ()

    @property
    def is_measured(self):
        """Its KMS can be made to answer in 20 ms."""
        return bool(self.services)

    def measured_stanza(self):
        return self.stanza()

    def close(self):
        for service in (*self.services, *self.clocks):
            with contextlib.suppress(Exception):
                service.close()


class Static(Kind):
    type = "static"
    sees_clock = False

    def __init__(self, folder):
        self.keys = [os.urandom(32).hex(), os.urandom(32).hex()]
        self.secrets = tuple(self.keys)
        self.number = 0
        self.folder = Path(folder)
        (self.folder / "k0").write_text(self.keys[0] + "\n")
        (self.folder / "k1").write_text(self.keys[1])

    def settings(self):
        if self.number == 0:
            return {"current_key_id": "k0", "current_key": f"file://{self.folder}/k0"}
        both = {"current_key_id": "k1", "current_key": f"file://{self.folder}/k1"}
        if self.number == 1:
            both |= {"previous_key_id": "k0", "previous_key": f"file://{self.folder}/k0"}
        return both

    def rotate(self):
        self.number = 1             # takes effect with a new configuration

    def lose_old(self):
        self.number = 2

    def find_old(self):
        self.number = 1

    wrong_key = {"current_key": os.urandom(32).hex()}
    wrong_key_says = "does not open the stored key"


class AWS(Kind):
    type = "awskms"

    def __init__(self, venv_python):
        import boto3
        port = free_port()
        env = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.moto = subprocess.Popen([venv_python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                                     env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.base = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(self.base + "/moto-api/data.json", timeout=2).read()
                break
            except OSError:
                time.sleep(0.1)
        named = dict(endpoint_url=self.base, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")
        self.kms, iam = boto3.client("kms", **named), boto3.client("iam", **named)
        self.keys = [self.kms.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
        self.kms.create_alias(AliasName="alias/unseal", TargetKeyId=self.keys[0])
        iam.create_user(UserName="sealer")
        iam.put_user_policy(UserName="sealer", PolicyName="unseal", PolicyDocument=(
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:Encrypt","kms:Decrypt"],"Resource":"*"}]}'))
        pair = iam.create_access_key(UserName="sealer")["AccessKey"]
        self.access_key, self.secret_key = pair["AccessKeyId"], pair["SecretAccessKey"]
        iam.create_user(UserName="admin")
        iam.put_user_policy(UserName="admin", PolicyName="all", PolicyDocument=(
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'))
        self.role = iam.create_role(RoleName="unsealer", AssumeRolePolicyDocument=(
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"*"}}]}'))["Role"]["Arn"]
        iam.put_role_policy(RoleName="unsealer", PolicyName="unseal", PolicyDocument=(
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["kms:Encrypt","kms:Decrypt"],"Resource":"*"}]}'))
        iam.create_user(UserName="assumer")
        iam.put_user_policy(UserName="assumer", PolicyName="assume", PolicyDocument=(
            '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}'))
        self.assumer = iam.create_access_key(UserName="assumer")["AccessKey"]
        key = iam.create_access_key(UserName="admin")["AccessKey"]
        named |= dict(aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
        self.kms, self.sts = boto3.client("kms", **named), boto3.client("sts", **named)
        # From now on moto checks signatures and policies.
        urllib.request.urlopen(urllib.request.Request(self.base + "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})).read()
        self.gate = aws.Gate(port)
        self.services = self.clocks = (self.gate,)
        self.secrets = (self.secret_key,)

    def assume(self, session):
        """Credentials of a role that may use the key, and nothing else."""
        return self.sts.assume_role(RoleArn=self.role, RoleSessionName=session)["Credentials"]

    def settings(self):
        return {"region": "eu-west-1", "kms_key_id": "alias/unseal", "access_key": self.access_key,
                "secret_key": self.secret_key, "endpoint": self.gate.url}

    def rotate(self):
        self.kms.update_alias(AliasName="alias/unseal", TargetKeyId=self.keys[1])

    def lose_old(self):
        self.kms.schedule_key_deletion(KeyId=self.keys[0], PendingWindowInDays=7)
        self.gate.gone.add(self.keys[0])        # moto goes on to decrypt

    def find_old(self):
        self.kms.cancel_key_deletion(KeyId=self.keys[0])
        self.kms.enable_key(KeyId=self.keys[0])
        self.gate.gone.clear()

    def deny(self, *operations):
        self.gate.denied = {{"wrap": "Encrypt", "unwrap": "Decrypt"}[o] for o in operations}

    wrong_key = {"kms_key_id": "alias/other"}
    wrong_key_says = "no such key"
    wrong_credential = {"secret_key": "wrong-secret"}
    busy = (400, {"__type": "ThrottlingException", "message": "You have exceeded the rate"})

    def close(self):
        super().close()
        self.moto.kill()
        self.moto.wait()


class Azure(Kind):
    type = "azurekeyvault"

    def __init__(self, certificate):
        self.login = azure.Login(certificate)
        self.vault = azure.KeyVault(self.login, certificate)
        self.env = {"SSL_CERT_FILE": certificate[0]}
        self.services, self.clocks = (self.vault,), (self.login, self.vault)
        self.secrets = ("s3cret",)

    def settings(self):
        return {"tenant_id": azure.TENANT, "client_id": "app-1", "client_secret": "s3cret", "vault_name": "demo",
                "key_name": "unseal", "endpoint": self.vault.url, "auth_endpoint": self.login.url}

    def rotate(self):
        self.vault.rotate("unseal")

    def lose_old(self):
        self.vault.disabled.add(self.vault.keys["unseal"][0][0])

    def find_old(self):
        self.vault.disabled.clear()

    def deny(self, *operations):
        self.vault.denied = {o + "Key" for o in operations}

    wrong_key = {"key_name": "other"}
    wrong_key_says = "no such key"
    wrong_credential = {"client_secret": "wrong-secret"}
    busy = (429, {"error": {"code": "Throttled", "message": "Request was not processed because too many requests"}},
            {"Retry-After": "1"})


class Google(Kind):
    type = "gcpckms"

    def __init__(self, folder):
        import json
        self.identity = google.Identity()
        self.kms = google.CloudKMS(self.identity)
        self.file = Path(folder) / "google.json"
        self.file.write_text(json.dumps(self.identity.credentials()))
        other = {**self.identity.credentials(), "private_key": google.pem(google.new_rsa())}
        (Path(folder) / "wrong.json").write_text(json.dumps(other))
        self.wrong_credential = {"credentials": str(Path(folder) / "wrong.json")}
        self.services, self.clocks = (self.kms,), (self.identity, self.kms)
        self.secrets = (self.identity.credentials()["private_key"].splitlines()[3],)

    def settings(self):
        return {"credentials": self.file, "project": "demo", "region": "europe-west1", "key_ring": "ring",
                "crypto_key": "unseal", "endpoint": self.kms.url}

    def rotate(self):
        self.kms.rotate()

    def lose_old(self):
        self.kms.states[(google.KEY, 1)] = "DESTROYED"

    def find_old(self):
        del self.kms.states[(google.KEY, 1)]

    def deny(self, *operations):
        self.kms.denied = {{"wrap": "encrypt", "unwrap": "decrypt"}[o] for o in operations}

    wrong_key = {"crypto_key": "other"}
    wrong_key_says = "no such key"
    busy = (429, {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}})


class AliCloud(Kind):
    type = "alicloudkms"

    def __init__(self):
        self.kms = alicloud.KMS()
        self.kms.aliases["alias/unseal"] = self.kms.key
        self.services = self.clocks = (self.kms,)
        self.secrets = ("ali-s3cret",)

    def settings(self):
        return {"region": "eu-central-1", "access_key": "LTAI-test", "secret_key": "ali-s3cret",
                "kms_key_id": "alias/unseal", "endpoint": self.kms.url}

    def rotate(self):
        self.kms.rotate()

    def lose_old(self):
        self.old = self.kms.keys[self.kms.key].pop(0)

    def find_old(self):
        self.kms.keys[self.kms.key].insert(0, self.old)

    def deny(self, *operations):
        self.kms.denied = {{"wrap": "Encrypt", "unwrap": "Decrypt"}[o] for o in operations}

    wrong_key = {"kms_key_id": "alias/other"}
    wrong_key_says = "no such key"
    wrong_credential = {"secret_key": "wrong-secret"}
    busy = (400, {"Code": "Throttling.User", "Message": "Request was denied due to user flow control.",
                  "RequestId": "r", "HostId": "h"})


class Transit(Kind):
    """A second Holdfast."""
    type = "transit"
    sees_clock = False

    def __init__(self, binary, folder):
        self.stack = contextlib.ExitStack()
        self.server = self.stack.enter_context(server(binary, Path(folder) / "kms"))
        self.root = ready(self.server)
        mount(self.root, "transit", "transit")
        self.root.must("POST", "transit/keys/unseal", {})
        self.deny()
        self.gate = transit.Gate(self.server.port)
        self.services = (self.gate,)
        self.token = self.new_token()
        self.secrets = (self.token,)

    def back(self):
        """Starts and unseals the KMS again."""
        if self.server.proc.poll() is not None:
            self.server.start()
        self.server.unseal(self.server.keys)
        self.server.wait_active()
        self.root = Client(self.server.port, self.server.root, 10)

    def new_token(self, **more):
        body = {"policies": ["unseal"], "no_parent": True, "ttl": "1h", **more}
        return self.root.must("POST", "auth/token/create", body)["auth"]["client_token"]

    def settings(self):
        return {"address": self.gate.url, "token": self.token, "key_name": "unseal", "mount_path": "transit/"}

    def rotate(self):
        self.root.must("POST", "transit/keys/unseal/rotate")

    def lose_old(self):
        self.root.must("POST", "transit/keys/unseal/config", {"min_decryption_version": 2})

    def find_old(self):
        self.root.must("POST", "transit/keys/unseal/config", {"min_decryption_version": 1})

    def deny(self, *operations):
        paths = {"wrap": "encrypt", "unwrap": "decrypt"}
        rules = [f'path "transit/{paths[o]}/unseal" {{ capabilities = ["update"] }}' for o in paths if o not in operations]
        self.root.must("PUT", "sys/policies/acl/unseal", {"policy": "\n".join(rules) or 'path "x" { capabilities = ["read"] }'})

    wrong_key = {"key_name": "other"}
    wrong_key_says = "'other'"
    wrong_credential = {"token": "s.wrong-secret"}
    busy = (429, {"errors": ["request path \"transit/\": rate limit quota exceeded"]})

    def close(self):
        super().close()
        self.stack.close()


class PKCS11(Kind):
    """SoftHSM 2, with a token that is made here."""
    type = "pkcs11"
    sees_clock = False
    pin = "8421-pin-of-the-test"
    modules = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
               "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so")

    def __init__(self, folder):
        self.folder = Path(folder) / "hsm"
        self.tokens = self.folder / "tokens"
        self.tokens.mkdir(parents=True)
        config = self.folder / "softhsm2.conf"
        config.write_text(f"directories.tokendir = {self.tokens}\nobjectstore.backend = file\nlog.level = ERROR\n")
        self.control = self.folder / "control"
        self.env = {"SOFTHSM2_CONF": str(config), "HSM_CONTROL": str(self.control)}
        self.module = next(m for m in self.modules if os.path.exists(m))    # scripts/bootstrap --test installs it
        self.env["HSM_MODULE"] = self.module
        self.gate = shared_library(HERE / "Fakes/hsm.c", self.folder, "-ldl")     # slow or ill, as `behave` says
        self.behave()
        self.util("--init-token", "--free", "--label", "holdfast", "--so-pin", "so-" + self.pin, "--pin", self.pin)
        self.aes("unseal", "0102")
        self.label = "unseal"
        self.secrets = (self.pin,)

    def util(self, *args):
        out = subprocess.run(["softhsm2-util", *map(str, args)], env={**os.environ, **self.env}, capture_output=True, text=True)
        if out.returncode:
            raise RuntimeError(f"softhsm2-util {args}: {out.stdout}{out.stderr}")
        return out.stdout

    def aes(self, label, key_id):
        path = self.folder / f"{label}-{key_id}.key"
        if not path.exists():
            path.write_bytes(os.urandom(16).hex().encode())     # the tool cuts a key at some bytes
        self.util("--import", path, "--aes", "--token", "holdfast", "--label", label, "--id", key_id, "--pin", self.pin)

    def rsa(self, label, key_id):
        path = self.folder / "rsa.pem"
        subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path],
                       check=True, capture_output=True)
        self.util("--import", path, "--token", "holdfast", "--label", label, "--id", key_id, "--pin", self.pin)

    def behave(self, seconds=0, opens=0, encrypts=0, decrypts=0, logins=0):
        """How long calls through the gate take, and with which CKR_ number they fail."""
        fresh = self.folder / "control.new"
        fresh.write_text(f"{seconds * 1000:.0f} {opens} {encrypts} {decrypts} {logins}\n")
        fresh.rename(self.control)

    is_measured = True

    def measured_stanza(self):
        return self.stanza(lib=self.gate)

    def latency(self, seconds):
        self.behave(seconds)

    def slot(self):
        current = None
        for line in self.util("--show-slots").splitlines():
            if line.startswith("Slot "):
                current = line.split()[1]
            elif line.split(":", 1)[0].strip() == "Label" and line.split(":", 1)[1].strip() == "holdfast":
                return current

    def settings(self):
        return {"lib": self.module, "token_label": "holdfast", "pin": self.pin, "key_label": self.label}

    def rotate(self):
        self.aes("unseal-2", "0304")
        self.label = "unseal-2"         # takes effect with a new configuration

    def lose_old(self):
        """SoftHSM's tool deletes whole tokens only: another takes this one's place, with the new key."""
        self.tokens.rename(self.folder / "first")
        self.tokens.mkdir()
        self.util("--init-token", "--free", "--label", "holdfast", "--so-pin", "so-" + self.pin, "--pin", self.pin)
        self.aes("unseal-2", "0304")

    def find_old(self):
        self.tokens.rename(self.folder / "second")
        (self.folder / "first").rename(self.tokens)

    # A name that fits no key leaves what is stored readable by the key that wrapped it: so another PIN.
    wrong_key = {"pin": "wrong-pin-of-the-test"}
    wrong_key_says = "CKR_PIN_INCORRECT"
