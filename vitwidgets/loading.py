"""The model that a user means, with its weights, or a clear word on why not."""

from __future__ import annotations

import copy
import difflib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from torch import nn

from vitwidgets.errors import ModelError, WeightsError
from vitwidgets.families import anatomy

_FILE_SUFFIXES = frozenset({".safetensors", ".pth", ".pt", ".bin", ".npz", ".tar"})
_NETWORK_PACKAGES = frozenset({"huggingface_hub", "httpx", "requests", "urllib3"})


def find(
    model: str | nn.Module, weights: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, str, tuple[str, ...] | None]:
    """Find the model that a user means.

    Parameters
    ----------
    model : str or nn.Module
        ``"demo"``, a timm name, or a module, which may be wrapped by ``torch.compile`` or ``DataParallel``.
    weights : path, optional
        Goes with a timm name.

    Returns
    -------
    module : nn.Module
    name : str
        The timm name where it is known, else the module's class.
    class_names : tuple of str or None
        Where they come with the model.

    Raises
    ------
    ModelError, WeightsError
        As `load` does.
    ValueError
        If `weights` goes with anything but a timm name.
    TypeError
        If `model` is neither a string nor a module.
    """
    if isinstance(model, nn.Module):
        if weights is not None:
            raise ValueError("weights= goes with a timm name; load them into your module before you pass it")
        module = unwrapped(model)
        _check_eager(module)
        config = getattr(module, "pretrained_cfg", None) or {}
        return module, config.get("architecture") or type(module).__name__, None
    if not isinstance(model, str):
        raise TypeError(
            f'Inspector takes "demo", a timm name or a timm VisionTransformer, not {type(model).__name__}'
        )
    if model == "demo":
        if weights is not None:
            raise ValueError('"demo" has its own weights; give a timm name with weights=')
        from vitwidgets import demo

        embedded, names = demo.load()
        return embedded, "demo", tuple(names)
    return load(model, weights), model, None


def load(name: str, weights: str | os.PathLike[str] | None = None) -> nn.Module:
    """Build a timm model and load its weights through timm.

    Parameters
    ----------
    name : str
        A timm name, with or without the tag of its weights, or a source that timm knows (``"hf-hub:..."``,
        ``"local-dir:..."``).
    weights : path, optional
        A checkpoint (``.safetensors``, ``.pth``, or an original ``.npz``) instead of timm's own weights.

    Returns
    -------
    nn.Module
        In eval mode, on the CPU.

    Raises
    ------
    ModelError
        If timm does not know the name, or the model is no vision transformer that can be traced.
    WeightsError
        If the weights cannot be had, read or fitted.
    """
    if ":" not in name:
        _check_name(name, pretrained=weights is None)
        _check_build(name)
    model = _pretrained(name) if weights is None else _from_file(name, Path(weights))
    return model.eval()


def place(
    module: nn.Module, device: torch.device | str | None, dtype: torch.dtype | str | None, *, copied: bool
) -> nn.Module:
    """Put a module on a device, in a dtype.

    Parameters
    ----------
    module : nn.Module
        The module.
    device : torch.device, str or None
        None: where it is.
    dtype : torch.dtype, str or None
        A floating-point type or its name; None: as it is.
    copied : bool
        Whether to change a copy rather than the module.

    Returns
    -------
    nn.Module
        The module itself where there is nothing to change.

    Raises
    ------
    ValueError
        If `dtype` is no floating-point type.
    ModelError
        If the module has no weights (meta device).
    """
    first = next(module.parameters())
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError('dtype= takes a torch dtype or its name, such as "bfloat16"')
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype= takes a floating-point type, got {dtype}")
    if device is None and first.device.type == "meta":
        raise ModelError(
            "the model is on the meta device: it has no weights; give it some before you pass it"
        )
    wanted = torch.device(device) if device is not None else first.device
    same_place = wanted.type == first.device.type and wanted.index in (None, first.device.index)
    if same_place and dtype in (None, first.dtype):
        return module
    return (copy.deepcopy(module) if copied else module).to(device=wanted, dtype=dtype)


def unwrapped(model: nn.Module) -> nn.Module:
    """Take the module out of `torch.compile` or `DataParallel`: only there can its parts be watched."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if inner is None:
            return model
        model = inner


def _check_eager(model: nn.Module) -> None:
    """Refuse what runs without Python: nothing of it can be watched."""
    if isinstance(model, torch.jit.ScriptModule):
        kind = "a TorchScript module"
    elif isinstance(model, torch.fx.GraphModule):
        kind = "an exported or traced graph"
    else:
        return
    raise ModelError(
        f"{kind} computes its attention where no hook sees it; pass the Python module that it was made from"
    )


def _check_name(name: str, *, pretrained: bool) -> None:
    if not timm.is_model(name):
        file = "; to load a file, name its architecture: Inspector(name, weights=file)"
        raise ModelError(
            f"timm has no model {name!r}{file if Path(name).suffix in _FILE_SUFFIXES else ''}; "
            f"{_suggestions(name)}"
        )
    if pretrained and not timm.is_model_pretrained(name):
        tagged = timm.list_pretrained(f"{name.split('.')[0]}.*")
        others = f"it has {', '.join(tagged)}; or " if tagged else ""
        raise WeightsError(
            f"timm has no pretrained weights {name!r}; {others}give a file with weights=, or pass a module"
        )


def _suggestions(name: str) -> str:
    wanted = name.rsplit("/", 1)[-1].lower().replace("-", "_").replace(" ", "_")
    known = ["demo", *timm.list_models(), *timm.list_pretrained()]
    near = difflib.get_close_matches(wanted, known, n=4, cutoff=0.6)
    near = near or [model for model in known if wanted and wanted in model][:4]
    if near:
        return f"did you mean {' or '.join(repr(one) for one in near)}?"
    return 'timm.list_models("vit*") lists the vision transformers, "demo" is the embedded model'


def _check_build(name: str) -> None:
    """Refuse a model that cannot be traced before its weights are fetched."""
    try:
        with torch.device("meta"):
            shell = timm.create_model(name)
    except Exception:  # some models cannot be built without memory: they are judged once they are loaded
        return
    anatomy(shell)


def _pretrained(name: str) -> nn.Module:
    try:
        with _without_retries():
            return timm.create_model(name, pretrained=True)
    except Exception as error:
        package = type(error).__module__.split(".")[0]
        if not isinstance(error, OSError) and package not in _NETWORK_PACKAGES:
            raise
        raise WeightsError(
            f"the pretrained weights of {name!r} could not be fetched ({type(error).__name__}): is there a "
            f'network? Without one, give a file: Inspector({name!r}, weights="file.safetensors"), or take '
            'the embedded model: Inspector("demo")'
        ) from error


def _from_file(name: str, path: Path) -> nn.Module:
    if not path.is_file():
        raise WeightsError(f"there is no weights file {path} (looked in {Path.cwd()})")
    try:
        return timm.create_model(
            name,
            pretrained=True,
            pretrained_cfg_overlay={"file": str(path), "custom_load": path.suffix == ".npz"},
        )
    except Exception as error:
        raise WeightsError(
            f"the weights in {path} do not fit {name!r} or cannot be read: {_first_lines(error)}. Give a "
            "checkpoint of this architecture and its number of classes; load any other into a module of your "
            "own and pass that: Inspector(module)"
        ) from error


def _first_lines(error: Exception, count: int = 3) -> str:
    """Shorten an error that may list every key of a checkpoint."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    shown = [line if len(line) <= 160 else line[:157] + "..." for line in lines[:count]]
    more = f" ... and {len(lines) - count} more" if len(lines) > count else ""
    return f"{type(error).__name__}: " + " ".join(shown).rstrip(".") + more


@contextmanager
def _without_retries() -> Iterator[None]:
    """Look in the cache only where the weights' host has no address: retrying takes most of a minute."""
    try:
        from huggingface_hub import constants
    except ImportError:
        yield
        return
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _resolves(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolves(url: str) -> bool:
    if getproxies():  # then the proxy resolves names
        return True
    try:
        socket.getaddrinfo(urlsplit(url).hostname, None)
    except OSError:
        return False
    return True
