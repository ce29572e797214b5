"""State that the service keeps for a session, by every protocol: a stream whose state is kept gives what it gives when the
client passes the state on by hand.
"""
import json
import urllib.error
import urllib.request

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http

from conftest import ROOT
from service import Reference, Served, to_json
from test_real_models import package

PIECES = 6


def stream(shape):
    """Pieces of a sound, one after another."""
    times = np.arange(PIECES * np.prod(shape)) / 16000
    sound = (0.3 * np.sin(2 * np.pi * (110 + 400 * times) * times)).astype("float32")
    return sound.reshape(PIECES, *shape)


def silero(variant, shape, sizes, output_of):
    """Speech or not: what is kept of its state, whose rows the model leaves free, and what comes with each piece."""
    def case():
        model = package("silero-vad") / "silero_vad" / "data" / f"{variant}.onnx"
        pairs = [{"output": output_of[name], "input": name, "shape": size} for name, size in sizes.items()]
        rest = {"sr": np.array(16000, "int64")} if "sr" in Reference(model).kinds else {}
        return model, pairs, [{"input": piece, **rest} for piece in stream(shape)], sizes
    return case


def layers():
    """A state of two layers for each of two rows, whose number follows from the request."""
    model = ROOT / "fixtures" / "models" / "state.onnx"
    reference = Reference(model)
    output = next(name for name in reference.outputs if "state" in name)
    draw = np.random.default_rng(5)
    pieces = [{"x": draw.uniform(-1, 1, (2, 4)).astype("float32")} for _ in range(PIECES)]
    return model, [{"output": output, "input": "state"}], pieces, {"state": (2, 2, 4)}


CASES = {
    "layers": layers,
    "silero-vad": silero("silero_vad", (1, 512), {"state": (2, 1, 128)}, {"state": "stateN"}),
    "silero-vad-16k": silero("silero_vad_16k_op15", (1, 512), {"state": (2, 1, 128)}, {"state": "stateN"}),
}


def by_hand(model, pairs, pieces, sizes):
    """What ONNX Runtime in Python answers piece by piece, its state passed on; the outputs that aren't state."""
    reference = Reference(model)
    state = {name: np.zeros(size, "float32") for name, size in sizes.items()}
    answers = []
    for piece in pieces:
        answer = reference.run(piece | state)
        state = {pair["input"]: answer.pop(pair["output"]) for pair in pairs}
        answers.append(answer)
    return answers


def over_v1(service, piece, session, start, end):
    headers = {"Nimify-Session": session, "Nimify-Session-Start": str(start).lower(), "Nimify-Session-End": str(end).lower()}
    body = json.dumps({name: to_json(value) for name, value in piece.items()}).encode()
    request = urllib.request.Request(f"http://{service.address}/v1/predict", body, headers | {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise LookupError(f"{error.code} {error.read().decode()}") from error


def over_triton(module, client):
    """As Triton's own clients name sequences."""
    def ask(service, piece, session, start, end):
        inputs = [module.InferInput(name, value.shape, service.inputs[name]) for name, value in piece.items()]
        for tensor, value in zip(inputs, piece.values()):
            tensor.set_data_from_numpy(value)
        try:
            answer = getattr(service, client).infer(
                "m", inputs, sequence_id=session, sequence_start=start, sequence_end=end)
        except tritonclient.utils.InferenceServerException as error:
            raise LookupError(f"{error.status()} {error.message()}") from error
        return {name: answer.as_numpy(name) for name in service.outputs}
    return ask


# By whom it is asked, and the session's name: Triton's clients take numbers too.
ASK = {
    "v1": (over_v1, "a stream"),
    "rest": (over_triton(tritonclient.http, "client"), 7),
    "grpc": (over_triton(tritonclient.grpc, "grpc_client"), "b-2"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_stream_whose_state_is_kept_equals_one_whose_state_is_passed_on(name, nimify, tmp_path):
    model, pairs, pieces, sizes = CASES[name]()
    wanted = by_hand(model, pairs, pieces, sizes)
    with Served(nimify, model, tmp_path / "log", NIMIFY_STATE=json.dumps(pairs)) as service:
        # The streams take turns: each has a state of its own.
        for k, (piece, answer) in enumerate(zip(pieces, wanted)):
            for ask, session in ASK.values():
                got = ask(service, piece, session, k == 0, k == PIECES - 1)
                for output, value in answer.items():
                    np.testing.assert_allclose(np.array(got[output]), value, rtol=1e-4, atol=1e-5, err_msg=output)
        for ask, session in ASK.values():
            with pytest.raises(LookupError, match="no session .* is kept here"):
                ask(service, pieces[1], session, False, False)
        assert over_v1(service, pieces[0], "x", True, False)[pairs[0]["output"]] is None
        # Without a session each request begins anew, and carries its state as ever.
        status, answer = service.post("/v1/predict", {key: to_json(value) for key, value in pieces[0].items()})
        assert status == 200 and np.array(answer[pairs[0]["output"]]).shape == tuple(sizes[pairs[0]["input"]])
        with urllib.request.urlopen(f"http://{service.address}/metrics") as page:
            metrics = page.read().decode()
        assert "\nnimify_sessions 1\n" in metrics
        assert 'nimify_sessions_total{event="ended"} 3' in metrics


def test_a_session_is_kept_for_events_and_told_of_in_the_metadata(nimify, tmp_path):
    model, pairs, pieces, sizes = layers()
    wanted = by_hand(model, pairs, pieces, sizes)
    flags = [f"--state={pair['output']}={pair['input']}" for pair in pairs]
    with Served(nimify, model, tmp_path / "log", flags) as service:
        for k, (piece, answer) in enumerate(zip(pieces, wanted)):
            rows, done = events(service, piece, "s", k == 0)
            # The state's rows are its second dimension: none are proved to be independent, and all of them are one part.
            assert done == {"rows": 1}
            for output, value in answer.items():
                np.testing.assert_allclose(np.array(rows[output]), value, rtol=1e-4, atol=1e-5, err_msg=output)
            assert rows[pairs[0]["output"]] is None
        assert "sequence" in service.client.get_server_metadata()["extensions"]
        assert "sequence" in service.grpc_client.get_server_metadata().extensions


def events(service, piece, session, start):
    """What the two events of a session's request say: its rows, and that they were all."""
    headers = {"Accept": "text/event-stream", "Content-Type": "application/json",
               "Nimify-Session": session, "Nimify-Session-Start": str(start).lower()}
    body = json.dumps({name: to_json(value) for name, value in piece.items()}).encode()
    request = urllib.request.Request(f"http://{service.address}/v1/predict", body, headers)
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    return [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def test_a_service_that_keeps_nothing_says_so(nimify, tmp_path):
    model, _, pieces, sizes = layers()
    piece = pieces[0] | {name: np.zeros(size, "float32") for name, size in sizes.items()}
    with Served(nimify, model, tmp_path / "log") as service:
        for ask, session in ASK.values():
            with pytest.raises(LookupError, match="keeps no state"):
                ask(service, piece, session, True, False)
        assert "sequence" not in service.client.get_server_metadata()["extensions"]
