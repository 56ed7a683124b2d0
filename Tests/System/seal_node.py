"""A server whose seals change between its starts."""
import contextlib, json, os, re, subprocess
from pathlib import Path

from support import Client, Server, free_port, log_of, until

LISTENER = """
listener "tcp" {
  address = "127.0.0.1:%(port)d"
  tls_disable = true
  telemetry { unauthenticated_metrics_access = true }
}
disable_mlock = true
"""
CLEAN = {k: v for k, v in os.environ.items()
         if not re.match(r"(AWS|AZURE|GOOGLE|ALICLOUD|VAULT|GCPCKMS)_|HOME$|SSL_CERT", k)}


class Node(Server):
    """One server whose configuration can change between its starts."""
    storage = 'storage "file" { path = "%(base)s/data" }\n'

    def __init__(self, binary, base, *stanzas, env=None, name="n"):
        self.folder = Path(base) / name
        self.folder.mkdir(parents=True, exist_ok=True)
        super().__init__(f"{binary} server -config={{config}}", "", str(self.folder), free_port(), cluster_port=free_port())
        self.binary = str(Path(binary).resolve())
        self.env = {**CLEAN, "HOME": str(self.folder), **(env or {})}
        self.address = f"http://127.0.0.1:{self.port}"
        self.client = Client(self.port, timeout=60)
        self.root = None
        self.configure(*stanzas)

    def configure(self, *stanzas):
        names = {"base": self.folder, "port": self.port, "node": self.folder.name, "cluster_port": self.cluster_port}
        text = self.storage % names + LISTENER % names + "".join(stanzas)
        Path(self.fields["config"]).write_text(text)

    def restart(self, *stanzas):
        self.stop()
        if stanzas:
            self.configure(*stanzas)
        self.start()

    def stop(self):
        if self.proc and self.proc.poll() is None:
            self.proc.terminate()
            self.proc.wait(timeout=30)
        self.client.close()

    def kill9(self):
        super().kill9()
        self.client.close()

    def cli(self, *args, token=None):
        env = {**self.env, "VAULT_ADDR": self.address, **({"VAULT_TOKEN": token} if token else {})}
        return subprocess.run([self.binary, *args], env=env, capture_output=True, text=True, timeout=90)

    def init(self, *flags):
        out = self.cli("operator", "init", "-format=json", *flags)
        if out.returncode:
            raise RuntimeError(f"init: {out.stderr}")
        keys = json.loads(out.stdout)
        self.root, self.recovery = keys["root_token"], keys["recovery_keys_b64"]
        self.client.token = self.root
        return keys

    def status(self):
        return self.client.call("GET", "sys/seal-status", token="")[1]

    def wait(self, test):
        """The first status that passes; None when none does."""
        return until(lambda: (status := self.status()) and test(status) and status)

    def unsealed(self):
        return self.wait(lambda s: not s["sealed"]) is not None

    def reason(self):
        """Why it stays sealed."""
        status = self.wait(lambda s: s["sealed"] and s.get("sealed_reason"))
        return status["sealed_reason"] if status else "(none)"

    @property
    def text(self):
        return log_of(self)


@contextlib.contextmanager
def node(binary, base, *stanzas, **named):
    n = Node(binary, base, *stanzas, **named)
    try:
        yield n
    finally:
        n.kill9()
