"""A real browser, driven as a person would drive it: it is clicked and typed into. Chromium speaks its DevTools
protocol over two pipes (--remote-debugging-pipe), so that neither a port nor a library is needed.
"""
import itertools, json, os, queue, shutil, subprocess, sys, threading
from support import until

# Puts the pipes where Chromium looks for them: 3 to hear, 4 to speak.
STARTER = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 10) for n in sys.argv[1:3]]
for place, end in zip((3, 4), ends): os.dup2(end, place)
os.execvp(sys.argv[3], sys.argv[3:])
"""

# What a person sees: elements by their role and the words on them, fields by their labels.
FINDERS = """
(() => {
  const words = (e) => (e.getAttribute('aria-label') || e.textContent).replace(/\\s+/g, ' ').trim();
  const seen = (e) => e.getClientRects().length > 0 && !e.closest('[hidden]');
  const top = () => document.querySelector('dialog[open]') || document;
  const pick = (list, text) => list.find((e) => words(e) === text) || list.find((e) => words(e).startsWith(text));
  window.__find = {
    press: (text) => pick([...top().querySelectorAll('a, button, summary, .choice, .check label')].filter(seen), text),
    field: (text, nth) => {
      const label = pick([...top().querySelectorAll('label')].filter(seen), text);
      const named = label && (label.control || label.querySelector('input, textarea, select'));
      const own = [...top().querySelectorAll('input, textarea, select')].filter(seen)
        .filter((e) => e.getAttribute('aria-label') === text);
      return named && !nth ? named : own[nth || 0];
    },
  };
})()
"""


class Gone(RuntimeError):
    """The browser did not do what was asked, in the time that it had."""


def executable():
    return next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


class Browser:
    def __init__(self, folder):
        program = executable()
        if program is None:
            raise Gone("no Chromium found: scripts/bootstrap --test installs one")
        hear, say = os.pipe(), os.pipe()             # as Chromium sees them
        arguments = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
                     "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync", "--mute-audio", "--window-size=1200,900",
                     "about:blank"]
        if os.geteuid() == 0:
            arguments.insert(0, "--no-sandbox")      # root cannot have one
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(hear[0]), str(say[1]), program, *arguments],
            pass_fds=(hear[0], say[1]), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        os.close(hear[0])
        os.close(say[1])
        self.out, self.inp = os.fdopen(hear[1], "wb", buffering=0), os.fdopen(say[0], "rb", buffering=0)
        self.ids, self.waiting, self.pages, self.lock = itertools.count(1), {}, {}, threading.Lock()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        rest = b""
        while chunk := self.inp.read(1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    self.waiting[message["id"]].put(message)
                elif page := self.pages.get(message.get("sessionId")):
                    page.event(message["method"], message["params"])
        for one in list(self.waiting.values()):
            one.put({"error": {"message": "the browser is gone"}})

    def send(self, method, params=None, session=None, timeout=30):
        number, answer = next(self.ids), queue.Queue()
        self.waiting[number] = answer
        message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        try:
            with self.lock:
                self.out.write(json.dumps(message).encode() + b"\0")
            got = answer.get(timeout=timeout)
        except (queue.Empty, BrokenPipeError):
            raise Gone(f"{method}: no answer") from None
        finally:
            del self.waiting[number]
        if "error" in got:
            raise Gone(f"{method}: {got['error']['message']}")
        return got["result"]

    def page(self, width=1200):
        """A page with a storage of its own, as in a private window."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = self.pages[session] = Page(self, session, context)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.send(f"{domain}.enable")
        # As in a window in front, whose user lets pages use the clipboard.
        page.send("Emulation.setFocusEmulationEnabled", {"enabled": True})
        self.send("Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"],
                                               "browserContextId": context})
        page.send("Page.addScriptToEvaluateOnNewDocument", {"source": FINDERS})
        page.send("Emulation.setDeviceMetricsOverride",
                  {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
        return page

    def close(self):
        try:
            self.send("Browser.close", timeout=5)
            self.process.wait(10)
        except (Gone, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()


class Page:
    def __init__(self, browser, session, context):
        self.browser, self.session, self.context = browser, session, context
        self.requests, self.complaints, self.snapshot = [], [], []

    def send(self, method, params=None, **more):
        return self.browser.send(method, params, self.session, **more)

    def event(self, method, params):
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "HeapProfiler.addHeapSnapshotChunk":
            self.snapshot.append(params["chunk"])
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(" ".join(str(a.get("description", a.get("value"))) for a in params["args"]))
        elif method == "Log.entryAdded":
            entry = params["entry"]
            # A status of 400 and above is in here too, and is no fault of the page.
            if entry["level"] in ("error", "warning") and entry["source"] != "network":
                self.complaints.append(entry["text"])

    def run(self, script):
        """The value of an expression, which may be a promise."""
        got = self.send("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in got:
            raise Gone(f"{script[:80]}: {got['exceptionDetails'].get('exception', {}).get('description')}")
        return got["result"].get("value")

    def downloads(self, folder):
        """What is downloaded from now on goes to this folder."""
        self.browser.send("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder),
                                                          "browserContextId": self.context})

    def clipboard(self):
        return self.run("navigator.clipboard.readText()")

    def heap(self):
        """Everything that scripts can still reach in this browser process, as text."""
        self.snapshot.clear()
        self.send("HeapProfiler.collectGarbage")
        self.send("HeapProfiler.takeHeapSnapshot", {"reportProgress": False}, timeout=60)
        return "".join(self.snapshot)

    def wait(self, script, what):
        got = until(lambda: self.run(f"((v) => v instanceof Node ? true : v)({script})"), past=Gone)  # between two pages
        if not got:
            raise Gone(f"never came: {what}; the page says: {self.text()[:600]}")
        return got

    def go(self, address):
        self.send("Page.navigate", {"url": address})
        self.wait("document.readyState === 'complete' && !document.querySelector('main[aria-busy]')", address)

    def text(self):
        return self.run("document.body ? document.body.innerText : ''")

    def sees(self, text):
        return bool(self.wait(f"document.body && document.body.innerText.includes({json.dumps(text)})", text))

    def heading(self, text):
        """Waits for the screen that has this heading."""
        self.wait("document.querySelector('h1') && !document.querySelector('main[aria-busy]') && "
                  f"document.querySelector('h1').textContent.trim() === {json.dumps(text)}", f"heading {text!r}")

    def path(self):
        return self.run("location.pathname + location.search")

    def point(self, finder, what):
        """The middle of an element, which is in view, or comes into it."""
        found = self.wait(
            f"(() => {{ const e = {finder}; if (!e || e.disabled) return null;"
            " e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getClientRects()[0];"
            " const x = r.x + r.width / 2, y = r.y + r.height / 2, hit = document.elementFromPoint(x, y);"
            " return hit && (e.contains(hit) || hit.contains(e)) ? {x, y} : null; })()", what)
        return found["x"], found["y"]

    def click(self, finder, what):
        x, y = self.point(finder, what)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", {
                "type": kind, "x": x, "y": y, "button": "none" if kind == "mouseMoved" else "left", "clickCount": 1})

    def press(self, text):
        """Clicks the link or button with these words on it."""
        self.click(f"window.__find.press({json.dumps(text)})", f"button {text!r}")

    def key(self, name, code):
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", {"type": kind, "key": name, "code": name,
                                                 "windowsVirtualKeyCode": code,
                                                 **({"text": "\r"} if name == "Enter" and kind == "keyDown" else {})})

    def fill(self, label, text, nth=0):
        """Clicks a field and types, in place of what is in it."""
        finder = f"window.__find.field({json.dumps(label)}, {nth})"
        self.click(finder, f"field {label!r}")
        self.run(f"{finder}.select()")
        self.send("Input.insertText", {"text": text})

    def choose(self, label, value):
        """Takes an entry of a list. (A list's own window is not in the page: it cannot be clicked from here.)"""
        finder = f"window.__find.field({json.dumps(label)})"
        self.point(finder, f"list {label!r}")
        self.run(f"(() => {{ const e = {finder}; e.value = {json.dumps(value)};"
                 " e.dispatchEvent(new Event('change', {bubbles: true})); })()")
