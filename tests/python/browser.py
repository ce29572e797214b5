"""A real Chromium without a window, driven over a pipe: pages as people see them."""
import base64
import itertools
import json
import os
import shutil
import subprocess
import time

import pytest


class Browser:
    """One browser with one page, whose faults and refused requests are kept."""

    def __init__(self, home, dark=False, size=(1280, 940)):
        self.numbers, self.faults, self.requests = itertools.count(1), [], []
        path = shutil.which("chromium") or pytest.fail("no chromium: run tools/setup")
        command_in, self.write = os.pipe()
        self.read, command_out = os.pipe()
        # Chromium reads commands at 3 and answers at 4.
        command = ["bash", "-c", f'exec "$@" 3<&{command_in} 4>&{command_out}', "-", path, "--headless=new", "--no-sandbox",
                   "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe", "--disable-dev-shm-usage",
                   f"--user-data-dir={home}", f"--window-size={size[0]},{size[1]}", "about:blank"]
        log = open(home / "log", "w")
        self.process = subprocess.Popen(command, pass_fds=(command_in, command_out), stdout=log, stderr=log)
        os.close(command_in)
        os.close(command_out)
        self.rest = b""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(target["targetId"] for target in targets if target["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        width, height = size
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.write)
        self.process.terminate()
        self.process.wait()
        os.close(self.read)

    def call(self, method, **parameters):
        """Sends a command and waits for its answer; what happens meanwhile is kept."""
        message = {"id": next(self.numbers), "method": method, "params": parameters}
        if hasattr(self, "session"):
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == message["id"]:
                assert "error" not in answer, answer
                return answer["result"]
            self.note(answer)

    def receive(self):
        while b"\0" not in self.rest:
            more = os.read(self.read, 1 << 16)
            assert more, "the browser ended"
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def note(self, event):
        """Exceptions, messages of the policy and failed requests are faults of a page."""
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.faults.append(parameters["exceptionDetails"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.faults.append(parameters["entry"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def ask(self, expression):
        """The value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression, seconds=30):
        """Until a JavaScript expression is true."""
        deadline = time.monotonic() + seconds
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"never: {expression}; {self.faults}"
            time.sleep(0.1)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
