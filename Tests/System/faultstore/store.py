"""A server whose disk can fail: compiles and preloads shim.c, and steers it."""
import contextlib, mmap, os, struct, subprocess
from pathlib import Path

from support import Server, free_port, shared_library, workdir

HERE = Path(__file__).resolve().parent

# The words of the control file, as in shim.c.
(OPS, KILL_AT, KILL_WHEN, FULL, ROOM, FAIL_KIND, FAIL_SKIP, FAIL_COUNT, FAIL_LONGER, FAILED, REFUSED,
 SYNCS, STALL) = range(13)
BEFORE, AFTER, MIDDLE = range(3)
WRITE, SYNC, SYNCED_WRITE, READ, RESIZE, NAME = (1 << n for n in range(6))
MOMENTS = {BEFORE: "before", AFTER: "after", MIDDLE: "in the middle of"}

# The storage directory is made by the server, two levels deep, so that making it is tested too.
CONFIG = '''
storage "file" {{ path = "{data}/made/store" }}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
disable_mlock = true
api_addr = "http://127.0.0.1:{port}"
'''


def store_of(server):
    """The storage directory of a server with `CONFIG`."""
    return Path(server.fields["data"]) / "made/store"


@contextlib.contextmanager
def shim():
    """The compiled shim; gone afterwards."""
    with workdir("shim") as folder:
        yield str(shared_library(HERE / "shim.c", folder))


class Control:
    """The words that shim and test share. Setting one takes effect at the next call of the server."""

    def __init__(self, path):
        self.path = str(path)
        with open(path, "wb") as f:
            f.write(bytes(4096))
        with open(path, "r+b") as f:
            self.words = mmap.mmap(f.fileno(), 4096)

    def __getitem__(self, word):
        return struct.unpack_from("<Q", self.words, 8 * word)[0]

    def __setitem__(self, word, value):
        struct.pack_into("<Q", self.words, 8 * word, value)

    def set(self, values):
        for word, value in values.items():
            self[word] = value

    def fail(self, kind, skip=0, count=1 << 60, longer=0):
        self.set({FAIL_SKIP: skip, FAIL_COUNT: count, FAIL_LONGER: longer, FAIL_KIND: kind})

    def heal(self):
        self.set({FAIL_KIND: 0, FAIL_COUNT: 0, FAIL_SKIP: 0, FAIL_LONGER: 0, FULL: 0})


def environment(shim_path, data, control):
    """What a server must find in its environment for its files below `data` to be at the mercy of `control`."""
    return {"LD_PRELOAD": shim_path, "FAULTSTORE_ROOT": data, "FAULTSTORE_CONTROL": control.path}


class FaultyServer(Server):
    """A server of `binary` under `base`; its disk is at the mercy of `control`."""

    def __init__(self, binary, base, shim_path, config=CONFIG, trace=None, control=None):
        os.makedirs(base, exist_ok=True)
        self.control = control or Control(Path(base) / "control")
        env = environment(shim_path, os.path.join(str(base), "data"), self.control)
        if trace:
            env["FAULTSTORE_TRACE"] = str(trace)
        command = subprocess.list2cmdline([str(binary)]) + " server -config={config}"
        super().__init__(command, config, str(base), free_port(), multiplier=1, env=env)

    def heal(self):
        """Starts from here on are without the shim."""
        self.env = {k: v for k, v in self.env.items() if not k.startswith(("LD_PRELOAD", "FAULTSTORE_"))}

    def is_running(self):
        return self.proc is not None and self.proc.poll() is None

    def wait_end(self, seconds=10):
        """The exit status, or None when it still runs."""
        try:
            return self.proc.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
