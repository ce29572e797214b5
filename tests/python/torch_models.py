"""Writes models that PyTorch exported, each with a request and PyTorch's own answer, into the folder that it is given:

    /usr/bin/python3 tests/python/torch_models.py FOLDER

It runs in the distribution's Python, whose PyTorch is built for the CPU alone: the one of the package indexes brings
gigabytes of CUDA along.
"""
import sys
import warnings
from pathlib import Path

import numpy
import torch
from torch import nn


class Image(nn.Module):
    """Convolutions over an image of free height and width."""

    inputs = {"image": {0: "N", 2: "H", 3: "W"}}
    outputs = {"scores": {0: "N"}}
    request = (torch.rand(2, 3, 20, 28),)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.head = nn.Linear(4, 5)

    def forward(self, image):
        return self.head(self.body(image).flatten(1)).softmax(-1)


class Tokens(nn.Module):
    """Ids of tokens and a mask, with attention over them."""

    inputs = {"input_ids": {0: "N", 1: "T"}, "attention_mask": {0: "N", 1: "T"}}
    outputs = {"embedding": {0: "N"}}
    request = (torch.tensor([[3, 7, 1, 0], [2, 2, 9, 9]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]]))

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.query, self.key = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, input_ids, attention_mask):
        x, kept = self.table(input_ids), attention_mask.unsqueeze(-1).float()
        scores = self.query(x) @ self.key(x).transpose(1, 2) - 1e4 * (1 - kept.transpose(1, 2))
        return (scores.softmax(-1) @ x * kept).sum(1) / kept.sum(1)


class Recurrent(nn.Module):
    """A recurrent net: steps of a series in, a number and the state to go on with out."""

    inputs = {"x": {0: "N", 1: "T"}, "h": {1: "N"}, "c": {1: "N"}}
    outputs = {"y": {0: "N"}, "hn": {1: "N"}, "cn": {1: "N"}}
    request = (torch.rand(2, 5, 3), torch.rand(2, 2, 4), torch.rand(2, 2, 4))

    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(3, 4, num_layers=2, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x, h, c):
        steps, (h, c) = self.cells(x, (h, c))
        return self.head(steps[:, -1]), h, c


class Halves(nn.Module):
    """Sixteen bits in and out, and an output of truth values."""

    inputs = {"x": {0: "N"}}
    outputs = {"y": {0: "N"}, "large": {0: "N"}}
    request = (torch.tensor([[1.5, -2.25], [0.125, 3.0], [100.0, -7.0]], dtype=torch.float16),)

    def forward(self, x):
        y = x * 2
        return y, y.sum(-1) > 4


def main(folder):
    for kind in (Image, Tokens, Recurrent, Halves):
        torch.manual_seed(1)
        name, model = kind.__name__.lower(), kind().eval()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = model(*kind.request)
            torch.onnx.export(model, kind.request, folder / f"{name}.onnx", input_names=list(kind.inputs),
                              output_names=list(kind.outputs), dynamic_axes={**kind.inputs, **kind.outputs})
        answer = answer if isinstance(answer, tuple) else (answer,)
        for what, names, values in (("request", kind.inputs, kind.request), ("answer", kind.outputs, answer)):
            numpy.savez(folder / f"{name}.{what}.npz", **{name: v.numpy() for name, v in zip(names, values)})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
