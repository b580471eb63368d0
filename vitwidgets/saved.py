"""Traces in files: safetensors, no pickle, with a version."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitwidgets.check import Check
from vitwidgets.ends import Ends, Readout
from vitwidgets.errors import TraceError
from vitwidgets.geometry import Frame
from vitwidgets.record import Record
from vitwidgets.replay import FromScores, Kept, Weights
from vitwidgets.trace import Trace
from vitwidgets.watch import Scores

VERSION = 1
"""Of the file's layout. A reader takes files of its own version and older ones."""

_KEY = "vitwidgets"


def save(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace to a safetensors file, whole: it needs no model to be read.

    What a live trace computes from its model (MLP units, attention that is no plain softmax) is computed now
    and stored. Nothing is left half-written: the file appears when it is complete.

    Parameters
    ----------
    trace : Trace
        What `Inspector.trace` returned.
    path : path
        Where to; an existing file is replaced.

    Raises
    ------
    RuntimeError
        If the model has changed since the trace.
    """
    record = trace._record.detached()
    tensors: dict[str, Tensor] = {"output": record.output, "pixels": trace._pixels}
    tensors["image"] = _encoded(trace.image)
    scales: dict[str, float] = {}
    for layer, values in record.layers.items():
        tensors[f"tokens.{layer}"] = values
    for layer, parts in record.attention.items():
        for number, part in enumerate(parts):
            if isinstance(part, FromScores):
                scores, name = part.scores, f"{layer}.{number}"
                tensors[f"q.{name}"], tensors[f"k.{name}"] = scores.q, scores.k
                scales[name] = scores.scale
                if scores.bias is not None:
                    tensors[f"bias.{name}"] = scores.bias
            else:
                (tensors[f"attention.{layer}"],) = part.tensors()
    for layer, units in record.units.items():
        (tensors[f"mlp.{layer}"],) = units.tensors()
    ends = trace._ends()
    if not isinstance(ends.filters, str):
        tensors["filters"] = torch.from_numpy(ends.filters)
    if not isinstance(ends.readout, str):
        tensors["readout.weight"] = torch.from_numpy(ends.readout.weight)
        tensors["readout.bias"] = torch.from_numpy(ends.readout.bias)
    facts = {
        "version": VERSION,
        "depth": record.depth,
        "grids": record.grids,
        "widths": record.widths,
        "heads": record.heads,
        "hidden": record.hidden,
        "missing": record.missing,
        "precision": record.precision,
        "scales": scales,
        "prefix": trace.prefix,
        "frame": asdict(trace.frame),
        "model_name": trace.model_name,
        "class_names": trace.class_names,
        "notes": trace._said,
        "ends": {
            "filters": ends.filters if isinstance(ends.filters, str) else None,
            "readout": ends.readout if isinstance(ends.readout, str) else ends.readout.eps,
        },
        "check": None if trace.checked is None else asdict(trace.checked),
    }
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
        save_file(whole, unfinished, metadata={_KEY: json.dumps(facts)})
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Trace:
    """Read a trace that `save` wrote.

    Parameters
    ----------
    path : path
        Of the file.

    Returns
    -------
    Trace
        Without its model: `Trace.check` is not to be had, but what it found before is in `Trace.checked`.

    Raises
    ------
    TraceError
        If the file is missing, damaged, holds no trace, or comes from a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise TraceError(f"there is no file {path} (looked in {Path.cwd()})")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            facts = _facts(path, metadata)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise TraceError(f"{path} is damaged or is no safetensors file: {error}") from error
    try:
        return _trace(facts, tensors)
    except (KeyError, TypeError, ValueError, AssertionError, OSError) as error:
        raise TraceError(
            f"{path} is damaged: it calls itself a trace, but {type(error).__name__}: {error}"
        ) from error


def _facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise TraceError(f"{path} holds no trace; give a file that Trace.save wrote")
    try:
        facts = json.loads(metadata[_KEY])
        version = int(facts["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise TraceError(f"{path} is damaged: its description cannot be read") from error
    if version > VERSION:
        raise TraceError(
            f"{path} was written by a newer vitwidgets (layout {version}; this one reads up to {VERSION}); "
            "update vitwidgets"
        )
    return dict(facts)


def _trace(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Trace:
    depth = int(facts["depth"])
    grids = [(int(rows), int(cols)) for rows, cols in facts["grids"]]
    record = Record(
        depth=depth,
        grids=grids,
        widths=[int(width) for width in facts["widths"]],
        heads=[int(count) for count in facts["heads"]],
        hidden=[int(count) for count in facts["hidden"]],
        output=tensors["output"],
        missing={
            field: {int(layer): str(reason) for layer, reason in reasons.items()}
            for field, reasons in facts["missing"].items()
        },
        precision=facts["precision"],
        prefix=len(facts["prefix"]),
    )
    if not len(record.grids) == len(record.widths) == len(record.heads) == len(record.hidden) == depth + 1:
        raise ValueError(f"its lists do not have one entry for each of the layers 0..{depth}")
    prefix = tuple(str(name) for name in facts["prefix"])
    for layer, (rows, cols) in enumerate(grids):
        count = len(prefix) + rows * cols
        absent = {field for field in record.missing if layer in record.missing[field]}
        if "tokens" not in absent:
            record.layers[layer] = _shaped(tensors[f"tokens.{layer}"], (count, record.widths[layer]))
        if "attention" not in absent:
            record.attention[layer] = _attention(layer, count, record, facts, tensors)
        if "mlp" not in absent:
            record.units[layer] = Kept(_shaped(tensors[f"mlp.{layer}"], (count, record.hidden[layer])))
    frame, ends = facts["frame"], _ends(facts.get("ends"), tensors)
    image = Image.open(BytesIO(tensors["image"].numpy().tobytes()))
    image.load()
    trace = Trace(
        record,
        pixels=tensors["pixels"],
        prefix=prefix,
        frame=Frame(tuple(frame["original"]), tuple(frame["input"]), tuple(frame["box"])),
        preprocessing=None,
        image=image,
        model_name=str(facts["model_name"]),
        class_names=tuple(str(name) for name in facts["class_names"]),
        notes=[str(note) for note in facts["notes"]],
        ends=lambda: ends,
    )
    if facts["check"] is not None:
        attention = {int(layer): float(error) for layer, error in facts["check"]["attention"].items()}
        trace._check = Check(**{**facts["check"], "attention": attention})
    return trace


def _attention(
    layer: int, count: int, record: Record, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[Weights, ...]:
    if f"attention.{layer}" in tensors:
        return (Kept(_shaped(tensors[f"attention.{layer}"], (record.heads[layer], count, count))),)
    parts: list[Weights] = []
    while f"q.{layer}.{len(parts)}" in tensors:
        name = f"{layer}.{len(parts)}"
        q, k = tensors[f"q.{name}"], tensors[f"k.{name}"]
        if q.shape != k.shape or q.shape[2] != count:
            raise ValueError(f"the queries and keys of block {layer} do not fit {count} tokens")
        scale = float(facts["scales"][name])
        parts.append(FromScores(Scores(q, k, scale, tensors.get(f"bias.{name}"))))
    if not parts:
        raise KeyError(f"attention of block {layer}")
    return tuple(parts)


def _ends(facts: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> Ends:
    if facts is None:
        reason = "the file was written by an older vitwidgets, which did not keep it"
        return Ends(reason, reason)
    filters, readout = facts["filters"], facts["readout"]
    return Ends(
        tensors["filters"].numpy() if filters is None else str(filters),
        str(readout)
        if isinstance(readout, str)
        else Readout(tensors["readout.weight"].numpy(), tensors["readout.bias"].numpy(), float(readout)),
    )


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(tensor.shape) != shape:
        raise ValueError(f"an array has shape {tuple(tensor.shape)}, not {shape}")
    return tensor


def _encoded(image: Image.Image) -> Tensor:
    """The picture as the bytes of a PNG file."""
    png = BytesIO()
    image.save(png, "PNG")
    return torch.from_numpy(np.frombuffer(png.getvalue(), np.uint8).copy())
