"""What the system tests share: counted checks, a server process, throwaway certificates."""
import contextlib, os, shutil, subprocess, sys, tempfile, time, traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "faults"))
from ports import Ports  # noqa: E402
from vclient import Client, FILE_CONFIG, Refused, Server, Unknown, mount  # noqa: E402,F401

PORTS = Ports.of_stage()

# Seconds that tests wait for what must come: only to end one that hangs, for on a busy machine much takes long.
PATIENCE = 120


class Checks:
    """Counts what was checked; prints what failed; closes with the line that CI reads."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def that(self, name, condition, detail=""):
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAIL  {name}" + (f": {str(detail)[:400]}" if detail != "" else ""), flush=True)
        return bool(condition)

    def equal(self, name, got, want):
        return self.that(name, got == want, f"wanted {want!r}, got {got!r}")

    def skip(self, name, why):
        self.skipped += 1
        print(f"skip  {name}: {why}", flush=True)

    def raises(self, name, kind, call, *args, **named):
        try:
            got = call(*args, **named)
        except kind:
            return self.that(name, True)
        except Exception as e:
            return self.that(name, False, f"wanted {kind.__name__}, got {type(e).__name__}: {e}")
        return self.that(name, False, f"wanted {kind.__name__}, got {got!r}")

    def section(self, title, body):
        """Runs one part; an exception in it is one failed check, and the next part still runs."""
        before = self.failed
        try:
            body()
        except Exception as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            self.that(title, False, f"{type(e).__name__}: {e} (line {where.lineno} of {Path(where.filename).name})")
        print(f"{'ok   ' if self.failed == before else 'FAIL '} {title}", flush=True)

    def close(self):
        print(f"{self.passed} passed, {self.failed} failed" + (f", {self.skipped} skipped" if self.skipped else ""))
        return 1 if self.failed or not self.passed else 0


def free_port():
    """One that this process has not had before, nor any other stage."""
    return PORTS.block()


def until(condition, past=()):
    """What the condition gives as soon as that is something; None when it does not come. Goes on past exceptions."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except past:
            pass
        time.sleep(0.02)
    return None


def wait(condition, what):
    """The same of servers that may be away meanwhile. What does not come ends the test."""
    if found := until(condition, (Refused, Unknown, RuntimeError, KeyError)):
        return found
    raise RuntimeError(f"never came: {what}")


@contextlib.contextmanager
def workdir(prefix):
    path = tempfile.mkdtemp(prefix=prefix + "-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def server(binary, base, config=FILE_CONFIG, port=None, start=True):
    """A server of `binary` with its data under `base`; killed at the end whatever happens."""
    command = subprocess.list2cmdline([str(binary)]) + " server -config={config}"
    s = Server(command, config, str(base), port or free_port(), multiplier=1)
    try:
        if start:
            try:
                s.start()
            except RuntimeError as e:
                raise RuntimeError(f"{e}; it ends:\n{log_of(s)[-1500:]}") from None
        yield s
    finally:
        s.kill9()


def ready(s, shares=1, threshold=1):
    """Initializes and unseals a new server; returns a client with the root token."""
    s.init(shares, threshold)
    s.unseal(s.keys[:threshold])
    s.wait_active()
    return Client(s.port, s.root, 10)


def certificate(folder, name, signer=None, days=2):
    """Makes NAME.pem and NAME.key for 127.0.0.1; self-signed, or signed by `signer` (a name used before)."""
    base = Path(folder) / name
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", str(days), "-keyout", f"{base}.key", "-out", f"{base}.pem", *subject]
    if signer:
        command += ["-CA", f"{Path(folder) / signer}.pem", "-CAkey", f"{Path(folder) / signer}.key",
                    "-addext", "basicConstraints=critical,CA:FALSE"]
    subprocess.run(command, check=True, capture_output=True)
    return f"{base}.pem", f"{base}.key"


def shared_library(source, folder, *flags):
    """Compiles one C file. Any C compiler does: the one beside Swift, or the system's."""
    compiler = next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), None)
    if compiler is None:
        raise SystemExit("no C compiler found (cc, gcc or clang): scripts/bootstrap installs one")
    made = Path(folder) / (Path(source).stem + ".so")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", made, source, *flags], check=True)
    return made


def log_of(s):
    try:
        return Path(s.log).read_text(errors="replace")
    except OSError:
        return ""
