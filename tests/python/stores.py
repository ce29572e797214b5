"""Servers that speak as the object stores of three clouds do, and MLflow's own, each a package of its own, on ports of this machine.

    moto_server        S3; once it is told to, it holds every signature against the keys that it gave out
    fake-gcs-server    Google Cloud Storage, which asks nobody who they are
    azurite-blob       Azure Blob Storage, with the key that its documentation gives everyone
    mlflow             a tracking server with its registry of models

What MLflow asks its users' names with wants all that models are trained with: a StandIn is before it and asks instead.
"""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from email.utils import formatdate
from pathlib import Path

import pytest

# On a machine that does much else.
PATIENCE = 120


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """A program that listens on a port, and ends with the tests."""

    def __init__(self, home, *command, **environment):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [part.format(port=self.port) for part in command]
        assert shutil.which(command[0]), f"no {command[0]}: run tools/setup"
        self.log_path = home / f"{command[0]}.log"
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment or None, cwd=home)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{command[0]} doesn't listen:\n{self.log()}")
                time.sleep(0.05)

    def log(self):
        return self.log_path.read_text()

    def ask(self, method, path, body=b"", headers=None):
        """The answer to a request that has to be granted."""
        headers = {"Content-Type": "application/octet-stream"} | (headers or {}) if body else headers or {}
        request = urllib.request.Request(f"http://{self.address}{path}", body or None, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.headers, answer.read()

    def stop(self):
        self.process.kill()
        self.process.wait()


class S3(Server):
    # A role of the account that the server is for.
    ROLE = "arn:aws:iam::123456789012:role/reader"
    # Which of its services is meant, the server reads off a signature, whose value counts for nothing yet.
    UNCHECKED = "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/{}/aws4_request, SignedHeaders=host, Signature=x"

    def __init__(self, home):
        super().__init__(home, "moto_server", "-H", "127.0.0.1", "-p", "{port}")
        self.versions = {}
        self.unchecked("s3", "PUT", "/models")
        versioned = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        self.unchecked("s3", "PUT", "/models?versioning", versioned)

    def unchecked(self, service, method, path, body=b"", **headers):
        return self.ask(method, path, body, {"Authorization": self.UNCHECKED.format(service), **headers})

    def put(self, key, content):
        """Writes an object, whose versions are remembered."""
        version = self.unchecked("s3", "PUT", f"/models/{key}", content)[0]["x-amz-version-id"]
        self.versions.setdefault(key, []).append(version)

    def give_keys(self):
        """A user who may do all, and from now on nothing goes without signatures."""

        def ask(service, version, action, **parameters):
            body = urllib.parse.urlencode({"Action": action, "Version": version, **parameters}).encode()
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            return self.unchecked(service, "POST", "/", body, **form)[1].decode()

        def iam(action, **parameters):
            return ask("iam", "2010-05-08", action, **parameters)

        iam("CreateUser", UserName="ada")
        policy = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
        iam("PutUserPolicy", UserName="ada", PolicyName="all", PolicyDocument=policy)
        trust = policy.replace('"Action":"*","Resource":"*"', '"Action":"sts:AssumeRole","Principal":{"AWS":"*"}')
        iam("CreateRole", RoleName="reader", AssumeRolePolicyDocument=trust)
        iam("PutRolePolicy", RoleName="reader", PolicyName="all", PolicyDocument=policy)
        answer = iam("CreateAccessKey", UserName="ada")
        # It takes no token of a web identity any more once it holds signatures against keys.
        self.identity = ask("sts", "2011-06-15", "AssumeRoleWithWebIdentity", RoleArn=self.ROLE, RoleSessionName="nimify",
                            WebIdentityToken="t0ken").encode()
        self.ask("POST", "/moto-api/reset-auth", b"0")

        def parts(text, *names):
            return [re.search(f"<{name}>(.*?)</{name}>", text).group(1) for name in names]

        self.role_keys = parts(self.identity.decode(), "AccessKeyId", "SecretAccessKey", "SessionToken")
        return parts(answer, "AccessKeyId", "SecretAccessKey")


class GoogleStorage(Server):
    def __init__(self, home):
        super().__init__(home, "fake-gcs-server", "-scheme", "http", "-host", "127.0.0.1", "-port", "{port}",
                         "-backend", "memory", "-public-host", "127.0.0.1")
        self.ask("POST", "/storage/v1/b?project=test", b'{"name":"models"}', {"Content-Type": "application/json"})

    def put(self, key, content):
        name = urllib.parse.quote(key, safe="")
        self.ask("POST", f"/upload/storage/v1/b/models/o?uploadType=media&name={name}", content)


class Azure(Server):
    ACCOUNT = "devstoreaccount1"
    KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    def __init__(self, home):
        super().__init__(home, "azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", "{port}",
                         "--inMemoryPersistence", "--silent", "--skipApiVersionCheck")
        self.signed("PUT", "/models", "restype:container", "?restype=container")
        public = {"x-ms-blob-public-access": "container"}
        self.signed("PUT", "/public", "restype:container", "?restype=container", **public)

    def signed(self, method, path, query="", shown="", body=b"", **more):
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2023-11-03", **more}
        own = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        length = str(len(body)) if body else ""
        kind = "application/octet-stream" if body else ""
        path = f"/{self.ACCOUNT}{path}"
        resource = f"/{self.ACCOUNT}{path}" + (f"\n{query}" if query else "")
        text = f"{method}\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n{own}{resource}"
        signature = hmac.new(base64.b64decode(self.KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(signature).decode()}"
        self.ask(method, path + shown, body, headers)

    def put(self, key, content, container="models"):
        self.signed("PUT", f"/{container}/{key}", body=content, **{"x-ms-blob-type": "BlockBlob"})

    def shared_access(self):
        """A signature of the account's: to read and to list blobs, for as long as these tests may last."""
        said = {"sv": "2020-08-04", "ss": "b", "srt": "sco", "sp": "rl", "se": "2099-01-01T00:00:00Z"}
        parts = [self.ACCOUNT, said["sp"], said["ss"], said["srt"], "", said["se"], "", "", said["sv"], ""]
        text = "".join(f"{part}\n" for part in parts[:-1])
        signature = hmac.new(base64.b64decode(self.KEY), text.encode(), hashlib.sha256).digest()
        return urllib.parse.urlencode(said | {"sig": base64.b64encode(signature).decode()})

    def connection(self, key=KEY):
        endpoint = f"http://{self.address}/{self.ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={self.ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"


class Mlflow(Server):
    """A tracking server that hands out artifacts itself."""

    def __init__(self, home):
        # Its jobs would be started and started again: what they are made of is not installed.
        path = f"{Path(shutil.which('mlflow')).resolve().parent}:{os.environ['PATH']}"
        own = os.environ | {"PATH": path, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "HOME": str(home)}
        # gunicorn serves the registry alone; the server's own choice wants all that models are trained with.
        super().__init__(home, "mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1",
                         "--gunicorn-opts", "--timeout 120",
                         "--backend-store-uri", f"sqlite:///{home}/mlflow.db",
                         "--artifacts-destination", f"{home}/artifacts", **own)
        experiment = self.api("experiments/create", name="models")["experiment_id"]
        self.run = self.api("runs/create", experiment_id=experiment, start_time=0)["run"]["info"]
        self.models = set()

    def api(self, path, **body):
        headers = {"Content-Type": "application/json"}
        return json.loads(self.ask("POST", f"/api/2.0/mlflow/{path}", json.dumps(body).encode(), headers)[1])

    def keep(self, name, contents):
        """Logs files under a name."""
        # `mlflow-artifacts:/EXPERIMENT/RUN/artifacts`
        place = self.run["artifact_uri"].partition(":")[2].lstrip("/")
        for path, content in contents.items():
            self.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{place}/{name}/{path}", content)

    def log(self, name, source):
        """A model of its own, as MLflow 3 logs them, for which the run has its identifier alone."""
        made = self.api("logged-models", experiment_id=self.run["experiment_id"], name=name,
                        source_run_id=self.run["run_id"])["model"]["info"]
        for path, content in source.items():
            place = made["artifact_uri"].partition(":")[2].lstrip("/")
            self.ask("PUT", f"/api/2.0/mlflow-artifacts/artifacts/{place}/{path}", content)
        models = [{"model_id": made["model_id"], "step": 0}]
        self.api("runs/outputs", run_id=self.run["run_id"], models=models)
        return made["model_id"]

    def register(self, model, name):
        """A version of a registered model: of what the run has logged under a name, or of what is at an address."""
        if model not in self.models:
            self.api("registered-models/create", name=model)
            self.models.add(model)
        source = name if ":" in name else f"{self.run['artifact_uri']}/{name}"
        made = self.api("model-versions/create", name=model, source=source, run_id=self.run["run_id"])
        return made["model_version"]["version"]

    def alias(self, model, alias, version):
        self.api("registered-models/alias", name=model, alias=alias, version=version)


class StandIn:
    """What nobody has at home, made up: `answer(method, path, headers)` gives a status, a body and more headers, or nothing,
    and then the request goes on to a server as it came.
    """

    def __init__(self, answer, server=None):
        stand_in, self.asked = self, []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def pass_on(self):
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                stand_in.asked.append((self.command, self.path, self.headers))
                status, content, more = answer(self.command, self.path, self.headers) or (None, b"", {})
                if status is None:
                    assert server, f"nobody is there for {self.path}"
                    there = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
                    there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        there.putheader(name, value)
                    there.endheaders(body)
                    found = there.getresponse()
                    status, content, more = found.status, found.read(), dict(found.getheaders())
                self.send_response(status)
                more = {name: value for name, value in more.items() if name.lower() not in DROPPED}
                more.setdefault("Content-Length", str(len(content)))
                for name, value in more.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = pass_on

            def log_message(self, *_):
                pass

        self.listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.listener.daemon_threads = True
        self.port = self.listener.server_port
        self.address = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.listener.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown()
        self.listener.server_close()


# Headers of the connection to a server, which say nothing of the one to us.
DROPPED = {"connection", "transfer-encoding", "server", "date"}


def asking(server, *shown):
    """A way to a server for those who show what it is to be shown, and for nobody else."""
    refusal = b'{"error_code": "UNAUTHENTICATED", "message": "You are not authenticated."}'
    return StandIn(lambda _, __, headers: None if headers["Authorization"] in shown else (401, refusal, {}), server)


class CutOff:
    """A way to a server that passes on so many bytes of each answer, and then closes the connection."""

    def __init__(self, server, most):
        self.server, self.most = server, most
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:{}".format(self.listener.getsockname()[1])
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.carry, args=(client,), daemon=True).start()

    def carry(self, client):
        with client, socket.create_connection(("127.0.0.1", self.server.port)) as there:
            threading.Thread(target=self.back, args=(there, client), daemon=True).start()
            while data := self.read(client):
                there.sendall(data)

    def back(self, there, client):
        left = self.most
        while left > 0 and (data := self.read(there)):
            client.sendall(data[:left])
            left -= len(data)
        for side in (client, there):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def read(side):
        try:
            return side.recv(1 << 16)
        except OSError:
            return b""

    def stop(self):
        self.listener.close()
