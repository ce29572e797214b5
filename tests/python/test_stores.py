"""Models from the object stores of three clouds and from MLflow: files, folders, versions, credentials, downloads that break off.

The servers are programs that other people test with: see stores.py.
"""
import base64
import hashlib
import json
import os
import subprocess
import urllib.parse

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from conftest import ROOT, Nimify
from stores import S3, Azure, CutOff, GoogleStorage, Mlflow, StandIn, asking

DIGITS = (ROOT / "fixtures" / "digits" / "digits.onnx").read_bytes()
MODELS = ROOT / "fixtures" / "models"
# The exit codes where the network is the reason, and where a setting is.
REFUSED, UNFIT = 9, 4


# As `mlflow.onnx.log_model` writes it, less what only Python reads.
ONNX_MODEL = """artifact_path: model
flavors:
  onnx:
    code: null
    data: model.onnx
    onnx_version: 1.23.2
    providers:
    - CUDAExecutionProvider
    - CPUExecutionProvider
  python_function:
    data: model.onnx
    loader_module: mlflow.onnx
mlflow_version: 3.17.2
"""


EXTERNAL = {name: (MODELS / name).read_bytes() for name in ("external.onnx", "external.bin")}
DIGITS_LOGGED = {"MLmodel": ONNX_MODEL.encode(), "model.onnx": DIGITS, "requirements.txt": b"onnx\n"}
EXTERNAL_LOGGED = {"MLmodel": ONNX_MODEL.replace("model.onnx", "data/external.onnx").encode(),
                   **{f"data/{name}": content for name, content in EXTERNAL.items()}}


class Desk:
    """A user with a home and a cache of their own, and nobody else's credentials."""

    def __init__(self, home):
        self.home = home
        ours = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_EMULATOR", "GCE_", "CLOUDSDK_", "MLFLOW_")
        plain = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.environment = plain | {"HOME": str(home), "NIMIFY_CACHE": str(home / "cache")}
        self.path = Nimify(home).path

    def run(self, *arguments, **variables):
        return subprocess.run([self.path, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              env=self.environment | variables)

    def inspect(self, source, *more, **variables):
        """What is said of a model."""
        done = self.run("inspect", source, "--format", "json", *more, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, source, **variables):
        """The words with which a model is refused."""
        done = self.run("inspect", source, **variables)
        assert done.returncode != 0, done.stdout
        return done.stderr


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Each kind of store, with the same three models in its bucket `models`, and what leads there."""
    home = tmp_path_factory.mktemp("stores")
    s3, gs, az = S3(home), GoogleStorage(home), Azure(home)
    for store in (s3, gs, az):
        store.put("digits.onnx", DIGITS)
        for name in ("external.onnx", "external.bin"):
            store.put(f"some/folder/{name}", (MODELS / name).read_bytes())
        store.put("some/notes.txt", b"no model")
    s3.put("replaced.onnx", b"not yet a model")
    s3.put("replaced.onnx", DIGITS)
    for path, content in EXTERNAL_LOGGED.items():
        s3.put(f"logged/{path}", content)
    az.put("digits.onnx", DIGITS, "public")
    identifier, secret = s3.give_keys()
    keys = {"AWS_ACCESS_KEY_ID": identifier, "AWS_SECRET_ACCESS_KEY": secret}
    yield {
        "s3": (s3, {"AWS_ENDPOINT_URL": f"http://{s3.address}", **keys}),
        "gs": (gs, {"STORAGE_EMULATOR_HOST": gs.address}),
        "az": (az, {"AZURE_STORAGE_CONNECTION_STRING": az.connection()}),
    }
    for store in (s3, gs, az):
        store.stop()


@pytest.fixture(params=["s3", "gs", "az"])
def store(request, servers):
    """The scheme and the variables of each."""
    return request.param, servers[request.param][1]


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def test_an_object_and_a_folder_are_models(desk, store):
    scheme, variables = store
    assert desk.inspect(f"{scheme}://models/digits.onnx", **variables)["digest"] == digest(DIGITS)
    wanted = digest((MODELS / "external.onnx").read_bytes())
    # A folder, with and without a stroke at its end; and one file, whose tensors are in another beside it.
    for place in ("some/folder/", "some/folder", "some/folder/external.onnx"):
        found = desk.inspect(f"{scheme}://models/{place}", **variables)
        assert found["digest"] == wanted, place
    # Without a network it is what it was.
    assert desk.inspect(f"{scheme}://models/some/folder", "--offline")["digest"] == wanted


def test_what_is_not_there_is_said(desk, store):
    scheme, variables = store
    words = desk.refused(f"{scheme}://models/none.onnx", **variables)
    assert "is not there: neither an object of that name, nor one below it" in words, words
    words = desk.refused(f"{scheme}://other/none.onnx", **variables)
    assert "list what is below" in words and "other/none.onnx`" in words and "answered" in words, words
    words = desk.refused(f"{scheme}://models/some/notes.txt", **variables)
    assert "holds no model" in words, words


def test_a_version_stays_when_the_object_is_replaced(desk, servers):
    s3, variables = servers["s3"]
    first, second = s3.versions["replaced.onnx"]
    assert desk.inspect("s3://models/replaced.onnx", **variables)["digest"] == digest(DIGITS)
    for version, content in ((first, b"not yet a model"), (second, DIGITS)):
        done = desk.run("inspect", f"s3://models/replaced.onnx?versionId={version}", "--format", "json", **variables)
        assert (done.returncode == 0) == (content == DIGITS), done.stderr
    words = desk.refused("s3://models/replaced.onnx?versionId=none", **variables)
    assert "s3://models/replaced.onnx" in words, words


def test_keys_are_found_and_never_told(desk, servers):
    s3, variables = servers["s3"]
    identifier, secret = variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
    place = {"AWS_ENDPOINT_URL": variables["AWS_ENDPOINT_URL"]}
    words = desk.refused("s3://models/digits.onnx", **place)
    assert "refuses a request without credentials" in words and "AWS_PROFILE" in words, words
    wrong = variables | {"AWS_SECRET_ACCESS_KEY": "hunter2hunter2"}
    words = desk.refused("s3://models/digits.onnx", **wrong)
    assert "refuses the keys from `AWS_ACCESS_KEY_ID`" in words and "hunter2" not in words, words

    (desk.home / ".aws").mkdir()
    (desk.home / ".aws" / "config").write_text(f"[profile ml]\nregion = eu-west-1\nendpoint_url = {place['AWS_ENDPOINT_URL']}\n")
    (desk.home / ".aws" / "credentials").write_text(
        f"[ml]\naws_access_key_id = {identifier}\naws_secret_access_key = {secret}\n")
    assert desk.inspect("s3://models/digits.onnx", AWS_PROFILE="ml")["digest"] == digest(DIGITS)
    words = desk.refused("s3://models/digits.onnx", AWS_PROFILE="other")
    assert "the profile `other` can't be used" in words, words

    az, _ = servers["az"]
    connection = az.connection("aHVudGVyMg==")
    words = desk.refused("az://models/digits.onnx", AZURE_STORAGE_CONNECTION_STRING=connection)
    assert "refuses the credentials from `AZURE_STORAGE_CONNECTION_STRING`" in words, words
    assert "aHVudGVyMg" not in words and "Signature" not in words, words
    words = desk.refused("az://models/digits.onnx")
    assert "it names no account" in words, words


def profiles(desk, text):
    (desk.home / ".aws").mkdir(exist_ok=True)
    (desk.home / ".aws" / "config").write_text(text)


def test_roles_and_programs_of_profiles_give_keys(desk, servers):
    s3, variables = servers["s3"]
    identifier, secret = variables["AWS_ACCESS_KEY_ID"], variables["AWS_SECRET_ACCESS_KEY"]
    place = {"AWS_ENDPOINT_URL": variables["AWS_ENDPOINT_URL"]}
    keys = json.dumps({"Version": 1, "AccessKeyId": identifier, "SecretAccessKey": secret})
    (desk.home / "keys.json").write_text(keys)
    profiles(desk, f"""[profile base]
aws_access_key_id = {identifier}
aws_secret_access_key = {secret}
[profile program]
credential_process = cat {desk.home}/keys.json
[profile reader]
role_arn = {s3.ROLE}
source_profile = base
external_id = digits
[profile chain]
role_arn = {s3.ROLE}
source_profile = reader
[profile by-program]
role_arn = {s3.ROLE}
source_profile = program
duration_seconds = 900
[profile stranger]
role_arn = {s3.ROLE}
source_profile = guessed
[profile guessed]
aws_access_key_id = {identifier}
aws_secret_access_key = hunter2hunter2
[profile single]
sso_session = corporate
""")
    # The way notes who signed with what.
    with StandIn(lambda *_: None, s3) as way:
        for number, name in enumerate(("program", "reader", "chain", "by-program")):
            way.asked.clear()
            found = desk.inspect("s3://models/digits.onnx", AWS_PROFILE=name, AWS_ENDPOINT_URL=f"http://{way.address}",
                                 NIMIFY_CACHE=str(desk.home / f"cache{number}"))
            assert found["digest"] == digest(DIGITS), name
            roles = sum("Action=AssumeRole&" in path for _, path, _ in way.asked)
            assert roles == {"program": 0, "reader": 1, "chain": 2, "by-program": 1}[name]
            # Keys of a role come with a token.
            assert all(bool(headers["x-amz-security-token"]) == bool(roles) for _, path, headers in way.asked[roles:])
    done = desk.run("inspect", "s3://models/digits.onnx", AWS_PROFILE="stranger", **place)
    assert done.returncode == REFUSED and "hunter2" not in done.stderr, done.stderr
    assert f"could not assume the role `{s3.ROLE}` of the profile `stranger`" in done.stderr, done.stderr
    assert "refuses the credentials from the profile `guessed`" in done.stderr, done.stderr
    words = desk.refused("s3://models/digits.onnx", AWS_PROFILE="single", **place)
    assert "`aws configure export-credentials --profile single --format env` gives them" in words, words


def test_a_web_identity_is_exchanged_for_a_role(desk, servers):
    s3, variables = servers["s3"]
    token = desk.home / "token"
    token.write_text("hunter2")
    place = {"AWS_ENDPOINT_URL": variables["AWS_ENDPOINT_URL"], "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    said = f"RoleArn={urllib.parse.quote_plus(s3.ROLE)}", "WebIdentityToken=hunter2", "Action=AssumeRoleWithWebIdentity"
    with StandIn(lambda _, path, __: (200 if all(part in path for part in said) else 400, s3.identity, {})) as way:
        found = desk.inspect("s3://models/digits.onnx", AWS_ROLE_ARN=s3.ROLE, **place,
                             AWS_ENDPOINT_URL_STS=f"http://{way.address}")
    assert found["digest"] == digest(DIGITS)
    refusal = b"<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>No.</Message></Error></ErrorResponse>"
    with StandIn(lambda *_: (403, refusal, {})) as way:
        words = desk.refused("s3://models/digits.onnx", AWS_ROLE_ARN=s3.ROLE, **place | {
            "AWS_ENDPOINT_URL_STS": f"http://{way.address}", "NIMIFY_CACHE": str(desk.home / "other")})
    assert f"refuses the role `{s3.ROLE}`: InvalidIdentityToken: No." in words and "hunter2" not in words, words


def test_containers_and_machines_are_handed_keys(desk, servers):
    s3, variables = servers["s3"]
    place = {"AWS_ENDPOINT_URL": variables["AWS_ENDPOINT_URL"]}
    keys = dict(zip(("AccessKeyId", "SecretAccessKey", "Token"), s3.role_keys)) | {"Expiration": "2099-01-01T00:00:00Z"}
    role = "/latest/meta-data/iam/security-credentials/"

    def metadata(method, path, headers):
        if path == "/container":
            return (200, json.dumps(keys).encode(), {}) if headers["Authorization"] == "hunter2" else (403, b"", {})
        if (method, path) == ("PUT", "/latest/api/token") and headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            return 200, b"t0ken", {}
        if headers["X-aws-ec2-metadata-token"] != "t0ken":
            return 401, b"", {}
        return {role: (200, b"reader", {}), f"{role}reader": (200, json.dumps(keys).encode(), {})}.get(path, (404, b"", {}))

    with StandIn(metadata) as host:
        there = f"http://{host.address}"
        full = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{there}/container"}
        (desk.home / "token").write_text("hunter2\n")
        for number, login in enumerate((
            full | {"AWS_CONTAINER_AUTHORIZATION_TOKEN": "hunter2"},
            full | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(desk.home / "token")},
            {"AWS_EC2_METADATA_SERVICE_ENDPOINT": there},
        )):
            cache = str(desk.home / f"cache{number}")
            found = desk.inspect("s3://models/digits.onnx", **place, **login, NIMIFY_CACHE=cache)
            assert found["digest"] == digest(DIGITS), login
        words = desk.refused("s3://models/digits.onnx", **place, **full, AWS_CONTAINER_AUTHORIZATION_TOKEN="hunter3")
        assert "could not ask for the container's credentials" in words and "hunter" not in words, words
    elsewhere = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://keys.example.com/"}
    words = desk.refused("s3://models/digits.onnx", **place, **elsewhere)
    assert "`AWS_CONTAINER_CREDENTIALS_FULL_URI` can't be used: it should be an `https://` address" in words, words


def test_a_bucket_in_another_region_is_followed_there_once(desk, servers):
    s3, variables = servers["s3"]

    def elsewhere(region):
        redirect = b"<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>"
        return lambda _, __, headers: (
            None if f"/{region}/s3/" in headers["Authorization"] else (301, redirect, {"x-amz-bucket-region": "eu-central-1"}))

    for source in ("s3://models/digits.onnx", "s3://models/some/folder/"):
        with StandIn(elsewhere("eu-central-1"), s3) as way:
            desk.inspect(source, **variables | {"AWS_ENDPOINT_URL": f"http://{way.address}"})
    with StandIn(elsewhere("nowhere"), s3) as way:
        words = desk.refused("s3://models/digits.onnx", NIMIFY_CACHE=str(desk.home / "other"),
                             **variables | {"AWS_ENDPOINT_URL": f"http://{way.address}"})
        assert "answered 301" in words and len(way.asked) == 2, words


def test_who_pays_is_told(desk, servers):
    s3, variables = servers["s3"]
    with StandIn(lambda *_: None, s3) as way:
        place = {"AWS_ENDPOINT_URL": f"http://{way.address}", "AWS_REQUEST_PAYER": "requester"}
        desk.inspect("s3://models/digits.onnx", **variables | place)
        assert all(headers["x-amz-request-payer"] == "requester" for *_, headers in way.asked)
    gs, _ = servers["gs"]
    with StandIn(lambda *_: None, gs) as way:
        desk.inspect("gs://models/digits.onnx", STORAGE_EMULATOR_HOST=way.address, GOOGLE_CLOUD_QUOTA_PROJECT="payer")
        assert all(headers["x-goog-user-project"] == "payer" for *_, headers in way.asked)


def test_what_is_public_needs_no_credentials(desk, servers):
    az, _ = servers["az"]
    stamp = {"ETag": '"1"', "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
    # What S3 stands behind here falls over a request without a signature.
    with StandIn(lambda _, __, headers: (403, b"", {}) if headers["Authorization"] else (200, DIGITS, stamp)) as public:
        found = desk.inspect("s3://models/public.onnx", AWS_ENDPOINT_URL=f"http://{public.address}")
    assert found["digest"] == digest(DIGITS)
    place = {"AZURE_STORAGE_ENDPOINT": f"http://{az.address}/{az.ACCOUNT}"}
    assert desk.inspect(f"az://public@{az.ACCOUNT}/digits.onnx", **place)["digest"] == digest(DIGITS)


def test_azures_keys_and_signatures_are_taken_from_where_its_tools_have_them(desk, servers):
    az, _ = servers["az"]
    endpoint = f"http://{az.address}/{az.ACCOUNT}"
    account = {"AZURE_STORAGE_ACCOUNT": az.ACCOUNT, "AZURE_STORAGE_ENDPOINT": endpoint}
    signature = az.shared_access()
    shared = f"BlobEndpoint={endpoint};AccountName={az.ACCOUNT};SharedAccessSignature={signature}"
    for number, login in enumerate((
        account | {"AZURE_STORAGE_KEY": az.KEY},
        account | {"AZURE_STORAGE_SAS_TOKEN": signature},
        account | {"AZURE_STORAGE_SAS_TOKEN": f"?{signature}"},
        {"AZURE_STORAGE_CONNECTION_STRING": shared},
    )):
        cache = str(desk.home / f"cache{number}")
        assert desk.inspect("az://models/some/folder", **login, NIMIFY_CACHE=cache), login
    forged = signature.replace("sp=rl", "sp=rlw")
    words = desk.refused("az://models/digits.onnx", **account, AZURE_STORAGE_SAS_TOKEN=forged)
    assert "refuses the shared access signature from the environment" in words, words
    assert "sig" not in words.replace("signature", "") and "sp=" not in words, words


def test_googles_accounts_users_and_machines_are_asked_as_whom_they_say(desk, servers):
    gs, _ = servers["gs"]
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "private_key": pem, "private_key_id": "k1",
               "client_email": "reader@project.example.com", "token_uri": "https://oauth2.example.com/token"}
    (desk.home / "account.json").write_text(json.dumps(account))

    def bearer(_, path, headers):
        token = (headers["Authorization"] or "").removeprefix("Bearer ")
        if path.startswith("/computeMetadata/v1/instance/service-accounts/default/token"):
            assert headers["Metadata-Flavor"] == "Google"
            return 200, b'{"access_token": "machine", "expires_in": 3600, "token_type": "Bearer"}', {}
        if token in ("machine", "given"):
            return None
        try:
            said, _, signature = token.rpartition(".")
            decoded = base64.urlsafe_b64decode(signature + "==")
            private.public_key().verify(decoded, said.encode(), PKCS1v15(), SHA256())
            claims = json.loads(base64.urlsafe_b64decode(said.split(".")[1] + "=="))
            assert claims["iss"] == account["client_email"]
        except Exception:
            return 401, b'{"error": {"code": 401, "message": "Invalid Credentials"}}', {}

    with StandIn(bearer, gs) as way:
        place = {"STORAGE_EMULATOR_HOST": way.address}
        for number, login in enumerate((
            {"GOOGLE_APPLICATION_CREDENTIALS": str(desk.home / "account.json")},
            {"GOOGLE_SERVICE_ACCOUNT": str(desk.home / "account.json")},
            {"CLOUDSDK_AUTH_ACCESS_TOKEN": "given"},
            {"GCE_METADATA_HOST": way.address},
        )):
            cache = str(desk.home / f"cache{number}")
            found = desk.inspect("gs://models/digits.onnx", **place, **login, NIMIFY_CACHE=cache)
            assert found["digest"] == digest(DIGITS), login
        words = desk.refused("gs://models/digits.onnx", **place, CLOUDSDK_AUTH_ACCESS_TOKEN="hunter2")
        assert "refuses the credentials from `CLOUDSDK_AUTH_ACCESS_TOKEN`" in words, words
        assert "hunter2" not in words
        words = desk.refused("gs://models/digits.onnx", **place)
        assert "refuses a request without credentials" in words, words
    for text, reason in (('{"type": "external_account", "hush": "hunter2"}', "neither a `service_account` nor an `authorized_user`"),
                         ('{"type": "service_account", "private_key": "hunter2"}', "not the JSON that they should be"),
                         ('"hunter2"', "not the JSON that they should be")):
        (desk.home / "account.json").write_text(text)
        words = desk.refused("gs://models/digits.onnx",
                             GOOGLE_APPLICATION_CREDENTIALS=str(desk.home / "account.json"))
        assert reason in words and "hunter2" not in words, words


def test_settings_that_stand_nowhere_are_refused_untold(desk):
    azure = {"AZURE_STORAGE_ACCOUNT": "a", "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1"}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for source, variable, value, more in (
        ("gs://models/a.onnx", "CLOUDSDK_AUTH_ACCESS_TOKEN", "hunter2\nx", {"STORAGE_EMULATOR_HOST": "127.0.0.1:1"}),
        ("az://models/a.onnx", "AZURE_STORAGE_TOKEN", "hunter2\nx", azure),
        ("az://models/a.onnx", "AZURE_STORAGE_ACCOUNT", "hunter2\nx", azure | {"AZURE_STORAGE_KEY": "aGk="}),
        ("s3://models/a.onnx", "AWS_ENDPOINT_URL", "hunter2 x", keys),
        ("s3://models/a.onnx", "AWS_ENDPOINT_URL", "http://ada:hunter2@127.0.0.1:1", keys),
        ("s3://models/a.onnx", "AWS_REGION", "hunter2\nx", keys),
        ("s3://models/a.onnx", "AWS_SESSION_TOKEN", "hunter2\nx", keys | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}),
    ):
        done = desk.run("inspect", source, **more | {variable: value})
        assert done.returncode == UNFIT, (variable, done)
        assert "can't be used: " in done.stderr and "hunter2" not in done.stderr, done.stderr


@pytest.mark.parametrize("source", [
    "s3://AKIA:hunter2@models/a.onnx",
    "oci://ada:hunter2@r.example.com/a",
    "https://ada:hunter2@models.example.com/a.onnx?sig=hunter2",
    "az://models/../a.onnx?versionId=hunter2",
])
def test_a_source_that_is_none_tells_no_secret(desk, source):
    done = desk.run("inspect", source)
    assert done.returncode == 2 and "can't be a source" in done.stderr, done
    assert "hunter2" not in done.stderr, done.stderr


KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def listing(*objects, more="", tag="x"):
    """A page of S3's, of names and sizes."""
    entries = "".join(f"<Contents><Key>{name}</Key><LastModified>2026-11-01T00:00:00Z</LastModified><ETag>{tag}</ETag>"
                      f"<Size>{size}</Size></Contents>" for name, size in objects)
    return f"<ListBucketResult>{more}{entries}</ListBucketResult>".encode()


@pytest.mark.parametrize("page, reason", [
    (listing(("m/../../a.onnx", 1)), "could not list what is below `s3://models/m`"),
    (listing(("m/a.onnx", 1), ("m//b.onnx", 1)), "could not list what is below `s3://models/m`"),
    (listing(("m/a.onnx", 200 << 30), ("m/b.bin", 200 << 30)), "has objects of more than"),
    (listing(("m/a.onnx", -1)), "could not list what is below `s3://models/m`"),
    (listing(("m/a.onnx", 1), ("m/a.onnx/b.onnx", 1)), "has both `a.onnx` and `a.onnx/b.onnx`"),
    (listing(*((f"m/{n}.onnx", 1) for n in range(10_001))), "has more than 10000 files"),
    (listing(more="<IsTruncated>true</IsTruncated><NextContinuationToken>on</NextContinuationToken>"),
     "leads on from page to page without end"),
    (b"<" * (17 << 20), "which is no listing"),
    (b"<a>" * 100_000, "could not list what is below `s3://models/m`"),
    (b"\xff\x00", "could not list what is below `s3://models/m`"),
], ids=["upwards", "empty part", "huge", "negative", "file and folder", "many", "endless pages", "long", "deep",
        "no text"])
def test_a_hostile_listing_is_refused(desk, page, reason):
    with StandIn(lambda _, path, __: (200, page if "list-type" in path else b"x", {})) as way:
        done = desk.run("inspect", "s3://models/m/", AWS_ENDPOINT_URL=f"http://{way.address}", **KEYS)
    assert done.returncode not in (0, 1, 101) and reason in done.stderr, done
    assert not list(desk.home.glob("**/a.onnx"))


@pytest.mark.parametrize("names, tag", [
    ((("m/1", 0), ("m/1/digits.onnx", len(DIGITS))), "x"),
    ((("m/digits.onnx", len(DIGITS)),), "a&#10;b"),
], ids=["a folder that a console made", "a tag that fits into no header"])
def test_an_odd_listing_is_understood(desk, names, tag):
    stamp = {"ETag": "x", "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}
    with StandIn(lambda _, path, __: (200, listing(*names, tag=tag) if "list-type" in path else DIGITS, stamp)) as way:
        found = desk.inspect("s3://models/m/", AWS_ENDPOINT_URL=f"http://{way.address}", **KEYS)
    assert found["digest"] == digest(DIGITS)


@pytest.mark.parametrize("role, keys", [
    ("reader\nwriter", {"Token": "t"}),
    ("reader", {"Token": "hunter2\nx"}),
    ("reader", {"Token": "hunter2", "expires_in": (1 << 64) - 1}),
], ids=["role of two lines", "token of two lines", "endless life"])
def test_keys_that_fit_into_no_request_are_refused_untold(desk, role, keys):
    keys = {"AccessKeyId": "a", "SecretAccessKey": "hunter2", "Expiration": "2099-01-01T00:00:00Z"} | keys

    def metadata(_, path, __):
        return 200, (role if path.endswith("/") else "t0ken" if "token" in path else json.dumps(keys)).encode(), {}

    with StandIn(metadata) as host:
        place = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{host.address}"}
        done = desk.run("inspect", "s3://models/a.onnx", AWS_ENDPOINT_URL="http://127.0.0.1:1", **place)
    assert done.returncode == REFUSED and "credentials that fit into no request" in done.stderr, done
    assert "hunter2" not in done.stderr


def test_no_proxy_is_between_this_machine_and_itself(desk, servers):
    _, variables = servers["s3"]
    with StandIn(lambda *_: (502, b"", {})) as proxy:
        through = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"http://{proxy.address}")
        assert desk.inspect("s3://models/digits.onnx", **variables | through)["digest"] == digest(DIGITS)
        assert not proxy.asked


def test_a_version_of_the_same_name_on_another_server_is_another_model(desk, mlflow):
    def elsewhere(_, path, __):
        if path.startswith("/api/2.0/mlflow/"):
            return 200, json.dumps({"artifact_uri": "mlflow-artifacts:/other"}).encode(), {}
        name = path.rsplit("/", 1)[1]
        return 200, EXTERNAL_LOGGED.get(f"data/{name}", EXTERNAL_LOGGED.get(name)), {}

    place = f"http://{mlflow.address}"
    assert desk.inspect("models:/numbers/1", MLFLOW_TRACKING_URI=place)["digest"] == digest(DIGITS)
    with StandIn(elsewhere) as way:
        found = desk.inspect("models:/numbers/1", MLFLOW_TRACKING_URI=f"http://{way.address}")
    assert found["digest"] == digest(EXTERNAL["external.onnx"])


@pytest.mark.parametrize("answer, reason", [
    # What is said of an object, and what comes then.
    (lambda method, length: (200, DIGITS, {} if method == "GET" else {"Content-Length": str(length - 1)}), "more bytes than"),
    (lambda method, length: (200, DIGITS, {} if method == "GET" else {"Content-Length": str(length + 1)}), "fewer bytes than"),
    (lambda method, length: (200, DIGITS, {} if method == "GET" else {"Content-Length": str(1 << 50)}), "more than 274877906944"),
    (lambda method, length: (200, b"", {"Content-Length": "-1"}), "could not look for"),
    (lambda method, length: (302, b"", {"Location": "file:///etc/passwd"}), "answered 302"),
    (lambda method, length: (307, b"", {"Location": "http://127.0.0.1:1/elsewhere"}), "answered 307"),
    (lambda method, length: (301, b"", {"x-amz-bucket-region": "evil.example.com/"}), "answered 301"),
], ids=["longer", "shorter", "huge", "negative", "redirect to a file", "redirect elsewhere", "no region"])
def test_a_hostile_object_is_refused(desk, answer, reason):
    stamp = {"ETag": '"1"', "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT"}

    def hostile(method, path, _):
        status, body, more = answer(method, len(DIGITS))
        return status, body, stamp | more

    with StandIn(hostile) as way:
        done = desk.run("inspect", "s3://models/digits.onnx", AWS_ENDPOINT_URL=f"http://{way.address}", **KEYS)
    assert done.returncode not in (0, 1, 101) and reason in done.stderr, done


@pytest.mark.parametrize("source, reason", [
    ("file:///etc", "is kept where only the tracking server reaches it"),
    ("s3://models/../..", "is kept badly"),
    ("http://elsewhere.example.com/", "is kept where only the tracking server reaches it"),
    ("mlflow-artifacts:/../../etc", "404"),
    ("mlflow-artifacts://elsewhere.example.com/a", "is kept by another server, `elsewhere.example.com`"),
    ("gs://models/1/model#2", "a folder has no version"),
    (17, "is kept where only the tracking server reaches it"),
])
def test_a_hostile_tracking_server_leads_nowhere(desk, source, reason):
    def hostile(_, path, headers):
        if path.startswith("/api/2.0/mlflow/"):
            return 200, json.dumps({"artifact_uri": source}).encode(), {}
        return 404, b"", {}

    with StandIn(hostile) as way:
        done = desk.run("inspect", "models:/numbers/1", MLFLOW_TRACKING_URI=f"http://{way.address}")
    assert done.returncode not in (0, 1, 101) and reason in done.stderr, done


def test_without_tls_nobody_elsewhere_is_asked(desk):
    words = desk.refused("s3://models/digits.onnx", AWS_ENDPOINT_URL="http://s3.example.com")
    assert "`s3.example.com` is not asked without TLS unless `--plain-http` is given" in words, words
    words = desk.refused("s3://models/digits.onnx", AWS_ENDPOINT_URL="http://s3.example.com", AWS_ALLOW_HTTP="true")
    assert "unless `--plain-http` is given" in words, words
    words = desk.refused("hf://org/repository", HF_ENDPOINT="http://hub.example.com", HF_TOKEN="hunter2")
    assert "is not encrypted" in words and "--plain-http" in words and "hunter2" not in words, words


def test_a_download_goes_on_where_it_broke_off(desk, servers):
    gs, _ = servers["gs"]
    # Side files are taken as they are: what is in this one, nobody looks at.
    gs.put("large/digits.onnx", DIGITS)
    gs.put("large/weights.bin", os.urandom(3_000_000))
    way = CutOff(gs, 1_000_000)
    found = desk.inspect("gs://models/large/", STORAGE_EMULATOR_HOST=way.address)
    way.stop()
    assert found["digest"] == digest(DIGITS)
    # None of the connections carried the file whole.
    (listing,) = desk.home.glob("cache/models/*/digests.json")
    assert len(json.loads(listing.read_text())) == 2


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory, servers):
    """A tracking server with four versions of `numbers`: digits, external, another flavor, and digits in a store of S3."""
    server = Mlflow(tmp_path_factory.mktemp("mlflow"))
    server.keep("digits", DIGITS_LOGGED)
    server.keep("external", EXTERNAL_LOGGED)
    server.keep("forest", {"MLmodel": b"flavors:\n  python_function: {}\n  sklearn: {}\n"})
    versions = [server.register("numbers", name) for name in ("digits", "external", "forest", "s3://models/logged")]
    assert versions == ["1", "2", "3", "4"]
    yield server
    server.stop()


def test_a_version_of_an_mlflow_registry_is_a_model(desk, mlflow):
    place = {"MLFLOW_TRACKING_URI": f"http://{mlflow.address}"}
    first, second = digest(DIGITS), digest(EXTERNAL["external.onnx"])
    assert desk.inspect("mlflow://models/numbers/1", **place)["digest"] == first
    # As MLflow's own tools write it; both are the same model, with or without a network.
    assert desk.inspect("models:/numbers/1", "--offline")["digest"] == first
    assert desk.inspect("models:/numbers/2", **place)["digest"] == second
    for written in ("mlflow://runs/{}/digits", "runs:/{}/digits"):
        assert desk.inspect(written.format(mlflow.run["run_id"]), **place)["digest"] == first
    for version, wanted in (("1", first), ("2", second)):
        mlflow.alias("numbers", "champion", version)
        assert desk.inspect("models:/numbers@champion", **place)["digest"] == wanted
    mlflow.api("model-versions/transition-stage", name="numbers", version="2", stage="Staging")
    assert desk.inspect("models:/numbers/staging", **place)["digest"] == second
    words = desk.refused("models:/numbers/Production", **place)
    assert "leads to no version: none is in the stage `Production`" in words, words
    words = desk.refused("mlflow://models/numbers/3", **place)
    assert "is no ONNX model, but of the flavors `python_function`, `sklearn`" in words, words
    words = desk.refused("mlflow://models/numbers/9", **place)
    assert "404" in words and "not found" in words, words
    words = desk.refused("mlflow://models/numbers/1")
    assert "`MLFLOW_TRACKING_URI` can't be used: it is not set" in words, words


def test_a_model_that_mlflow_3_logged_is_found_by_its_run_its_identifier_and_its_version(desk, mlflow):
    place = {"MLFLOW_TRACKING_URI": f"http://{mlflow.address}"}
    identifier = mlflow.log("digits3", DIGITS_LOGGED)
    for source in (f"models:/{identifier}", f"runs:/{mlflow.run['run_id']}/digits3"):
        assert desk.inspect(source, **place)["digest"] == digest(DIGITS), source
    words = desk.refused(f"runs:/{mlflow.run['run_id']}/digits4", **place)
    assert "could not fetch `MLmodel` of `mlflow://runs/" in words and "404" in words, words


def test_a_version_whose_files_are_in_an_object_store(desk, mlflow, servers):
    _, variables = servers["s3"]
    place = {"MLFLOW_TRACKING_URI": f"http://{mlflow.address}"}
    assert desk.inspect("models:/numbers/4", **place, **variables)["digest"] == digest(EXTERNAL["external.onnx"])
    # The one listing of both: what the lock pins doesn't depend on who handed the files out.
    assert desk.inspect("models:/numbers/2", **place)["digest"] == digest(EXTERNAL["external.onnx"])
    (_,) = desk.home.glob("cache/models/*/digests.json")
    elsewhere = type(desk)(desk.home / "elsewhere")
    words = elsewhere.refused("models:/numbers/4", **place, AWS_ENDPOINT_URL=variables["AWS_ENDPOINT_URL"])
    assert "refuses a request without credentials" in words and "AWS_ACCESS_KEY_ID" in words, words


def test_a_tracking_server_is_shown_who_asks_and_nobody_is_told(desk, mlflow):
    basic = "Basic " + base64.b64encode(b"ada:hunter2").decode()
    way = asking(mlflow, basic, "Bearer t0ken")
    place = {"MLFLOW_TRACKING_URI": f"http://{way.address}"}
    user, wrong = {"MLFLOW_TRACKING_USERNAME": "ada"}, {"MLFLOW_TRACKING_PASSWORD": "hunter3"}
    for number, login in enumerate((
        user | {"MLFLOW_TRACKING_PASSWORD": "hunter2", "MLFLOW_TRACKING_TOKEN": "passed over"},
        {"MLFLOW_TRACKING_TOKEN": "t0ken"},
        {"MLFLOW_TRACKING_URI": f"http://ada:hunter2@{way.address}"},
    )):
        cache = str(desk.home / f"cache{number}")
        assert desk.inspect("models:/numbers/1", **place | login, NIMIFY_CACHE=cache)["digest"] == digest(DIGITS)
    for login, who in (({}, "a request without credentials"),
                       (user | wrong, "the credentials from `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`"),
                       ({"MLFLOW_TRACKING_TOKEN": "hunter3"}, "the credentials from `MLFLOW_TRACKING_TOKEN`")):
        done = desk.run("inspect", "models:/numbers/1", **place | login)
        assert done.returncode == REFUSED, done
        assert f"refuses {who}: You are not authenticated." in done.stderr, done.stderr
        assert "set `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`" in done.stderr, done.stderr
        assert "hunter3" not in done.stderr and base64.b64encode(b"ada:hunter3").decode() not in done.stderr
    (desk.home / ".mlflow").mkdir()
    (desk.home / ".mlflow" / "credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = hunter2\n")
    assert desk.inspect("models:/numbers/1", **place)["digest"] == digest(DIGITS)
    way.__exit__()
    assert desk.inspect("models:/numbers/1", "--offline")["digest"] == digest(DIGITS)
