"""Headless Chromium, driven through chromedriver's WebDriver protocol (https://www.w3.org/TR/webdriver2/) with nothing but urllib."""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import weirtest

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's own name for a reference
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "ArrowLeft": "\ue012", "ArrowRight": "\ue014", "ArrowDown": "\ue015",
        "Space": "\ue00d", "Shift": "\ue008", "Backspace": "\ue003", "Control": "\ue009"}


def missing():
    """Why there is no browser to test with, or None."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: chromium, chromium-driver)"
    return None


class Browser:
    """One window. Close it: everything it started ends with its own process group."""

    def __init__(self, accept_insecure_certs=False, width=1280, height=900):
        self.dir = tempfile.mkdtemp(prefix="weir-browser-")
        self.port = weirtest.free_port()
        self.session = None
        with open(os.path.join(self.dir, "chromedriver.log"), "wb") as log:
            self.driver = subprocess.Popen(["chromedriver", f"--port={self.port}", "--allowed-ips=127.0.0.1"], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, start_new_session=True,
                                           env={**os.environ, "HOME": self.dir, "TMPDIR": self.dir})
        try:
            weirtest.wait_for("chromedriver", lambda: self.call("GET", "/status", None, "")["ready"])
            self.begin(accept_insecure_certs, width, height)
        except BaseException:
            self.close()
            raise

    def begin(self, accept_insecure_certs, width, height):
        """chromedriver gives Chromium a minute to start, which on a busy machine may not be enough: once more, then."""
        try:
            self.new_session(accept_insecure_certs, width, height)
        except AssertionError:
            self.new_session(accept_insecure_certs, width, height)

    def new_session(self, accept_insecure_certs, width, height):
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                     "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--disable-dev-shm-usage",
                     "--hide-scrollbars", "--no-proxy-server", f"--window-size={width},{height}",
                     "--user-data-dir=" + tempfile.mkdtemp(prefix="profile-", dir=self.dir)]
        answer = self.call("POST", "/session", {"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "acceptInsecureCerts": accept_insecure_certs, "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": arguments}}}}, "", timeout=weirtest.DEADLINE_S)
        self.session = answer["sessionId"]
        self.call("POST", "/timeouts", {"script": 60000, "pageLoad": 90000})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.session:
            try:
                self.call("DELETE", "")
            except (OSError, AssertionError):
                pass
        # Chromium's processes are in chromedriver's session, which is ours alone.
        try:
            os.killpg(self.driver.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.driver.wait()
        for _ in range(20):  # its last writes
            shutil.rmtree(self.dir, ignore_errors=True)
            if not os.path.exists(self.dir):
                break
            time.sleep(0.05)

    def call(self, method, path, body=None, session=None, timeout=weirtest.DEADLINE_S):
        where = f"/session/{self.session}" if session is None else session
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{where}{path}", data=data, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as r:
                return json.load(r)["value"]
        except urllib.error.HTTPError as e:
            value = json.load(e)["value"]
            raise AssertionError(f"{path}: {value['error']}: {value['message']}") from None

    # ---- what tests do ------------------------------------------------------------------------------------------------

    def open(self, url):
        self.call("POST", "/url", {"url": url})

    def js(self, script, *args):
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def text(self, selector):
        """The texts of all elements that are shown, as they are read."""
        return self.js("return [...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility()).map(e => e.innerText.trim())", selector)

    def wait(self, what, script, *args, deadline_s=None):
        """Until the script gives something true, which is returned."""
        try:
            return weirtest.wait_for(what, lambda: self.js(script, *args), deadline_s)
        except AssertionError as e:
            raise AssertionError(f"{e}\nthe page says: {self.js('return document.body.innerText')[:3000]}\nconsole: {self.console()}") from None

    def find(self, selector):
        return self.call("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def on(self, selector, act):
        """act(element), again where the page has drawn that one anew meanwhile."""
        def acted():
            try:
                act(self.find(selector))
                return True
            except AssertionError as e:
                if "stale element reference" not in str(e):
                    raise
        weirtest.wait_for(f"{selector} to stay", acted)

    def click(self, selector):
        self.on(selector, lambda element: self.call("POST", f"/element/{element}/click"))

    def type(self, selector, text):
        self.on(selector, lambda element: self.fill(element, text))

    def fill(self, element, text):
        self.call("POST", f"/element/{element}/clear")
        self.call("POST", f"/element/{element}/value", {"text": text})

    def keys(self, *names, held=None):
        """Presses keys one after the other, wherever the focus is."""
        actions = [{"type": "keyDown", "value": KEYS[held]}] if held else []
        for name in names:
            value = KEYS.get(name, name)
            actions += [{"type": "keyDown", "value": value}, {"type": "keyUp", "value": value}]
        if held:
            actions.append({"type": "keyUp", "value": KEYS[held]})
        self.call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def cdp(self, command, **params):
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def size(self, width, height):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def prefer(self, **features):
        """prefer(color_scheme="dark")"""
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-" + k.replace("_", "-"), "value": v} for k, v in features.items()])

    def screenshot(self, path, full=False):
        png = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=full)["data"]
        with open(path, "wb") as f:
            f.write(base64.b64decode(png))

    def console(self):
        """What the console has said since it was last asked: errors, and what the policy stopped."""
        return [f"{e['level']}: {e['message']}" for e in self.call("POST", "/se/log", {"type": "browser"})]
