"""What the tests in this folder stand on: the command line, a Docker Engine, a port."""
import faulthandler
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# Before anything imports it: since 1.29 the library reports on its host unless it is told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
# The scripts that make the fixtures are modules here.
sys.path.append(str(ROOT / "fixtures"))

# Seconds after which a test that still runs has come to a standstill; the longest takes a fraction of it.
LONGEST = 360
# The same for one that compiles: where nothing else has yet, that takes minutes.
LONGEST_BUILD = 1800
# What waits at a socket and names no limit of its own waits so long at most.
socket.setdefaulttimeout(60)


@pytest.fixture(autouse=True)
def comes_to_an_end(request):
    """No test waits without end: one that would fails, and what each thread was at is in its output."""
    def give_up(*_):
        faulthandler.dump_traceback(file=sys.__stderr__)
        pytest.fail("it stood still")

    limit = LONGEST_BUILD if request.node.get_closest_marker("compiles") else LONGEST
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(limit)
    yield
    signal.alarm(0)


def pytest_configure(config):
    config.addinivalue_line("markers", "compiles: a service is compiled in it, and before the first one the runtime")


class Nimify:
    """The command line, with a key store of its own."""

    def __init__(self, home):
        self.path = Path(os.environ.get("NIMIFY", ROOT / "target" / "debug" / "nimify")).resolve()
        assert self.path.is_file(), f"no nimify at {self.path}: build it, or set NIMIFY"
        self.environment = os.environ | {"XDG_CONFIG_HOME": str(home)}

    def __call__(self, *arguments, **more):
        """Runs a command that has to succeed; what it printed."""
        environment = self.environment | more
        command = [self.path, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONGEST_BUILD)
        assert done.returncode == 0, f"nimify {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def start(self, *arguments, log, **more):
        """Starts a command that goes on, its words going to the file `log`; `more` variables beside its own. It goes
        when this process goes, however that ends.
        """
        command = ["setpriv", "--pdeathsig", "TERM", self.path, *arguments]
        return subprocess.Popen(command, env=self.environment | more, stdout=log, stderr=log)


class Engine:
    """A Docker Engine: the one that answers at `host`, or one that was started here and ends with the tests."""

    # Without these it would need a network of its own and a layered file system.
    FLAGS = ["--storage-driver=vfs", "--iptables=false", "--bridge=none", "--ip-forward=false", "--log-level=warn"]

    def __init__(self, home):
        self.home, self.started = home, None
        self.host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if not self.answers():
            self.start()

    def start(self):
        self.host = f"unix://{self.home}/docker.sock"
        folders = [f"--data-root={self.home}/data", f"--exec-root={self.home}/exec", f"--pidfile={self.home}/pid"]
        # It goes when this process goes, however that ends.
        command = ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", self.host, *self.FLAGS, *folders]
        log = self.home / "log"
        with log.open("w") as file:
            self.started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        deadline = time.monotonic() + 60
        while not self.answers():
            if self.started.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"dockerd doesn't start; run tools/setup as root, or start one:\n{log.read_text()}")
            time.sleep(0.05)

    def answers(self):
        return subprocess.run(["docker", "--host", self.host, "version"], capture_output=True).returncode == 0

    def docker(self, *arguments):
        """Runs a `docker` command that has to succeed; all that it printed."""
        done = subprocess.run(["docker", "--host", self.host, *arguments], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"docker {arguments[0]}: {done.stdout}"
        return done.stdout.strip()

    def stop(self):
        if self.started:
            self.started.terminate()
            self.started.wait()
            # It leaves this mounted, and then its folder can't be removed.
            subprocess.run(["umount", f"{self.home}/exec/netns/default"], capture_output=True)
            shutil.rmtree(self.home)


@pytest.fixture(scope="session")
def nimify(tmp_path_factory):
    return Nimify(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    engine = Engine(tmp_path_factory.mktemp("docker"))
    yield engine
    engine.stop()


@pytest.fixture
def port():
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
