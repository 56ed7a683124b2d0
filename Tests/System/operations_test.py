#!/usr/bin/env python3
"""What an operator does with the binary beside serving: diagnose, migrate (interrupted, too), debug, completion,
keepers who hand in shares at a terminal.

  Tests/System/operations_test.py --bin .build/release/holdfast
"""
import argparse, json, os, pty, select, signal, subprocess, sys, tarfile, time
from pathlib import Path

from support import Checks, certificate, free_port, ready, server, workdir


class CLI:
    """The binary as a client of one server."""

    def __init__(self, binary, home, address="", token=""):
        self.binary = str(binary)
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "VAULT_ADDR": address, "VAULT_TOKEN": token}

    def __call__(self, *args, stdin="", env=None):
        return subprocess.run([self.binary, *args], input=stdin, capture_output=True, text=True, timeout=60,
                              env={**self.env, **(env or {})}, cwd=self.env["HOME"])


def outcome(report, name):
    """The status of one check in the JSON of `operator diagnose`."""
    if report["name"].startswith(name):
        return report["status"], report["message"]
    found = (outcome(child, name) for child in report.get("children", []))
    return next((f for f in found if f), None)


def diagnose(c, binary, base):
    base = Path(base) / "diagnose"
    base.mkdir()
    cli = CLI(binary, base)
    pem, key = certificate(base, "good", days=90)
    soon, soon_key = certificate(base, "soon", days=2)

    def look(text, *more):
        (base / "s.hcl").write_text(text)
        ran = cli("operator", "diagnose", "-config=s.hcl", "-format=json", *more)
        return ran.returncode, json.loads(ran.stdout)

    def listener(port, pem, key):
        return f'listener "tcp" {{\n address="127.0.0.1:{port}"\n tls_cert_file="{pem}"\n tls_key_file="{key}"\n}}\n'

    storage = f'storage "file" {{ path = "{base}/data" }}\n'
    code, report = look(listener(free_port(), pem, key) + storage, "-skip=system")
    c.equal("a sound configuration: exit status", code, 0)
    c.that("nothing is made by looking", not (base / "data").exists())
    code, report = look(listener(free_port(), soon, soon_key) + storage, "-skip=system")
    c.equal("a certificate that ends soon: exit status", code, 2)
    c.that("it is told", "expires soon" in outcome(report, "Check Listener 127")[1])
    code, report = look(listener(free_port(), pem, soon_key) + storage, "-skip=system")
    c.equal("a key that is not the certificate's: exit status", code, 1)
    code, report = look("storage {", "-skip=system")
    c.equal("a file that cannot be read: exit status", code, 1)
    c.equal("it is the configuration", outcome(report, "Parse Configuration")[0], "failure")
    with server(binary, base / "running") as s:
        ran = cli("operator", "diagnose", f"-config={s.fields['config']}", "-format=json")
        report = json.loads(ran.stdout)
        c.equal("a storage in use: exit status", ran.returncode, 1)
        c.that("its user is named", str(s.proc.pid) in outcome(report, "Open Storage")[1])


def migrate(c, binary, base):
    base = Path(base) / "migrate"
    base.mkdir()
    with server(binary, base / "old") as old:
        client = ready(old)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        for i in range(300):
            client.must("POST", f"kv/k{i}", {"v": f"{i} " + "x" * 100_000})
        config = base / "m.hcl"
        config.write_text(f'storage_source "file" {{ path = "{old.fields["data"]}" }}\n'
                          f'storage_destination "file" {{ path = "{base}/new/data" }}\n')
        (base / "new").mkdir()
        cli = CLI(binary, base)
        ran = cli("operator", "migrate", "-config=m.hcl")
        c.that("a running server's storage is refused", ran.returncode == 2 and "in use" in ran.stderr, ran.stderr)
        old.stop()
        keys, root = old.keys, old.root

        # Killed in the middle: what is there must not be taken for a server's data.
        child = subprocess.Popen([cli.binary, "operator", "migrate", "-config=m.hcl"], cwd=base, env=cli.env,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = next(l for l in child.stderr if "up to key" in l)
        child.kill()
        child.wait()
        c.that("it was still under way", "300" not in line)
        with server(binary, base / "half", start=False) as half:
            text = Path(half.fields["config"]).read_text().replace(half.fields["data"], f"{base}/new/data")
            Path(half.fields["config"]).write_text(text)
            try:
                half.start()
                ran = CLI(binary, base, f"http://127.0.0.1:{half.port}")("operator", "init", "-format=json")
                c.that("half a copy cannot be initialized", ran.returncode == 2, ran.stdout)
            except RuntimeError:
                c.that("half a copy does not start", True)
        ran = cli("operator", "migrate", "-config=m.hcl")
        c.that("run again, it is whole", ran.returncode == 0 and ran.stdout.startswith("Success!"), ran.stderr)
        ran = cli("operator", "migrate", "-config=m.hcl")
        c.that("a destination with data is left alone", ran.returncode == 2 and "holds data" in ran.stderr)
        ran = cli("operator", "migrate", "-config=m.hcl", "-reset")
        c.that("and is not reset either", ran.returncode == 2)
        with server(binary, base / "again", start=False) as new:
            text = Path(new.fields["config"]).read_text().replace(new.fields["data"], f"{base}/new/data")
            Path(new.fields["config"]).write_text(text)
            new.start()
            new.unseal(keys)
            cli = CLI(binary, base, f"http://127.0.0.1:{new.port}", root)
            wrong = [i for i in range(300) if cli("read", "-field=v", f"kv/k{i}").stdout != f"{i} " + "x" * 100_000]
            c.equal("every secret is in the copy", wrong, [])


def bundle(c, binary, base):
    home = Path(base) / "debug"
    home.mkdir()
    with server(binary, home / "s") as s:
        client = ready(s)
        client.must("POST", "sys/mounts/kv", {"type": "kv"})
        client.must("POST", "kv/a", {"password": "correct-horse-battery"})
        cli = CLI(binary, home, f"http://127.0.0.1:{s.port}", s.root)
        ran = cli("debug", "-duration=2s", "-interval=1s", "-metrics-interval=1s", "-output=b.tar.gz")
        c.equal("debug: exit status", ran.returncode, 0)
        c.equal("its owner alone reads it", (home / "b.tar.gz").stat().st_mode & 0o777, 0o600)
        with tarfile.open(home / "b.tar.gz") as tar:
            names = {Path(n).name for n in tar.getnames()}
            whole = b"".join(tar.extractfile(m).read() for m in tar.getmembers())
        c.that("states and index are in it", {"server_status.json", "config.json", "index.json"} <= names, names)
        for secret in [s.root, *s.keys, "correct-horse-battery"]:
            c.that("no secret is in it", secret.encode() not in whole)
        ran = cli("debug", "-duration=2s", "-output=b.tar.gz")
        c.equal("a bundle is never overwritten", ran.returncode, 1)
        child = subprocess.Popen([cli.binary, "debug", "-duration=60s", "-output=c.tar.gz"], cwd=home, env=cli.env,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        child.stderr.readline()
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=20)
        c.that("Ctrl-C keeps what is there", child.returncode == 0 and (home / "c.tar.gz").exists())


def at_terminal(cli, args, answer):
    """Runs with a terminal, types one line when something is asked; gives the exit status and all that was shown."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(cli.binary, [cli.binary, *args], cli.env)
    shown, typed, end = b"", False, time.monotonic() + 30
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                piece = os.read(terminal, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        if not typed and b"hidden" in shown:
            os.write(terminal, answer.encode() + b"\n")
            typed = True
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def keepers(c, binary, base):
    home = Path(base) / "keepers"
    home.mkdir()
    with server(binary, home / "s") as s:
        ready(s)
        share = s.keys[0]
        cli = CLI(binary, home, f"http://127.0.0.1:{s.port}", s.root)
        started = json.loads(cli("operator", "rekey", "-init", "-n", "2", "-t", "2", "-format=json").stdout)
        code, shown = at_terminal(cli, ["operator", "rekey"], share)
        c.equal("rekey at a terminal: exit status", code, 0)
        c.that("the nonce is shown", started["nonce"] in shown)
        c.that("the share is not", share not in shown)
        new = [l.split(": ")[1].strip() for l in shown.splitlines() if l.startswith("Key ")]
        c.equal("new shares come out", len(new), 2)
        begun = json.loads(cli("operator", "generate-root", "-init", "-format=json").stdout)
        cli("operator", "generate-root", f"-nonce={begun['nonce']}", "-", stdin=new[0] + "\n")
        last = json.loads(cli("operator", "generate-root", f"-nonce={begun['nonce']}", "-format=json", "-",
                              stdin=new[1]).stdout)
        token = cli("operator", "generate-root", "-decode=-", f"-otp={begun['otp']}",
                    stdin=last["encoded_root_token"]).stdout
        ran = cli("token", "lookup", "-field=policies", env={"VAULT_TOKEN": token})
        c.equal("the new root token is one", ran.stdout, "[root]")
        cli("operator", "seal")
        ran = cli("read", "cubbyhole/x")
        c.that("a sealed server's error has its hint", "operator\nunseal" in ran.stderr or "operator unseal" in ran.stderr)


def completion(c, binary, base):
    home = Path(base) / "completion"
    home.mkdir()
    with server(binary, home / "s") as s:
        client = ready(s)
        client.must("POST", "sys/mounts/team", {"type": "kv", "options": {"version": "1"}})
        client.must("POST", "team/app/db", {"v": "1"})
        cli = CLI(binary, home, f"http://127.0.0.1:{s.port}", s.root)
        ask = lambda line: cli(env={"COMP_LINE": line}).stdout.split()
        c.equal("mounts", ask("holdfast kv get te"), ["team/"])
        c.equal("folders", ask("holdfast kv get team/"), ["team/app/"])
        c.equal("keys", ask("holdfast read team/app/"), ["team/app/db"])
        (home / ".bashrc").write_text("# mine\n")
        os.symlink(binary, home / "holdfast")
        c.equal("installed", cli("-autocomplete-install").returncode, 0)
        script = 'COMP_LINE="holdfast kv me" COMP_POINT=14; source .bashrc; _holdfast holdfast; echo "${COMPREPLY[@]}"'
        ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=home,
                             env={**cli.env, "PATH": f"{home}:{cli.env['PATH']}"})
        c.equal("bash completes", ran.stdout.strip(), "metadata")
        c.equal("removed", cli("-autocomplete-uninstall").returncode, 0)
        c.equal("nothing is left behind", (home / ".bashrc").read_text(), "# mine\n")
        s.send(signal.SIGSTOP)
        began = time.monotonic()
        c.equal("a server that hangs", ask("holdfast kv get te"), [])
        c.that("is not waited for", time.monotonic() - began < 20)
        s.send(signal.SIGCONT)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bin", required=True, type=Path)
    binary = p.parse_args().bin.absolute()
    c = Checks()
    with workdir("operations") as base:
        for title, part in [("diagnose", diagnose), ("migrate", migrate), ("debug", bundle),
                            ("shares at a terminal", keepers), ("completion", completion)]:
            c.section(title, lambda: part(c, binary, base))
    return c.close()


if __name__ == "__main__":
    sys.exit(main())
