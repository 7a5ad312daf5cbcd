"""`python:FILE:FUNCTION`: a network that is somebody's function of clips.

The function takes uint8 clips (N, T, H, W, C) of raw pixels, and returns a row of scores for each:
(N, K), or (N,) for a regression. `function.tiem = {"frames": 16, "size": 112}` says what it takes.
"""

import hashlib
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import numpy as np
from onnx import TensorProto

from tiemcli.errors import ClipError, ModelError, first_line
from tiemcli.facts import METADATA_PREFIX, Facts, facts_beside, facts_in_metadata
from tiemcli.scorers.endpoint import Asked
from tiemcli.scorers.session import is_out_of_memory

PREFIX = "python:"
# The function's attribute that carries facts, as an exported network's does.
ATTRIBUTE = "tiem"
_FORM = "give python:FILE.py:FUNCTION"
_OUTPUT = "scores"
# What is known of every such function.
_CONTRACT = Facts(layout="NTHWC", color="rgb", output_name=_OUTPUT)


class Function:
    """A function as an `Endpoint`. name: python:FILE:FUNCTION. identity: the SHA-256 of the file,
    which is all that is seen of what it does, and of the function's name."""

    input = "clips"
    dims = (None,) * 5
    element_type = TensorProto.UINT8
    output = _OUTPUT
    largest_batch = None
    providers = ("python",)
    notes = ()

    def __init__(self, name: str, path: Path, function: Callable[[np.ndarray], Any]) -> None:
        self.name = name
        content = path.read_bytes() + f"\0{name.rpartition(':')[2]}".encode()
        self.identity = hashlib.sha256(content).hexdigest()
        self._path, self._function = path, function
        self._asked = Asked()

    def answers(self, batch: np.ndarray) -> np.ndarray:
        """Floating point (N, ...). Raises ClipError where the function fails or gives no scores."""
        began = time.perf_counter()
        try:
            with redirect_stdout(sys.stderr):
                answer = self._function(batch)
                scores = np.asarray(answer)
        except (Exception, SystemExit) as error:
            if is_out_of_memory(error):
                raise  # fewer clips may do
            hint = f"it was given uint8 clips of shape {list(batch.shape)}"
            raise ClipError(_failure(self.name, self._path, error), hint) from error
        asked, seconds = self._asked, time.perf_counter() - began
        self._asked = Asked(asked.requests + 1, asked.clips + len(batch), asked.seconds + seconds)
        if scores.dtype.kind not in "biuf":
            kind = type(answer).__name__ if scores.dtype.kind == "O" else scores.dtype
            raise ClipError(f"{self.name} returns {kind}, no numbers", "return (N, K) scores")
        if scores.ndim == 0 or len(scores) != len(batch):
            raise ClipError(
                f"{self.name} returns shape {list(scores.shape)} for {len(batch)} clip(s)",
                "return a row of scores for each clip, (N, K), or (N,) for a regression",
            )
        rows = scores.reshape(len(batch), -1) if scores.ndim == 1 else scores
        return rows if rows.dtype.kind == "f" else rows.astype(np.float64)

    def asked(self) -> Asked:
        return self._asked


def load_function(source: str, said: Facts) -> tuple[Function, Facts]:
    """The function that `python:FILE:FUNCTION` names, and what is known of it without the user.

    That is in `net.toml` beside `net.py`, or else in its attribute `tiem`. said: the user's own facts.
    Raises ModelError, also where nobody says how many frames it takes, or of what size.
    """
    file, _, name = source.removeprefix(PREFIX).rpartition(":")
    if not file or not name.isidentifier():
        raise ModelError(f"{source} names no function", _FORM)
    path = Path(file).expanduser()  # no shell does it behind python:
    if not path.is_file():
        raise ModelError(f"{file}: no such file", _FORM)
    try:
        with redirect_stdout(sys.stderr):
            module = _imported(path)
    except (Exception, SystemExit) as error:  # a script without a guard ends the process
        raise ModelError(_failure(source, path, error), "import it in Python by itself") from error
    found: Any = getattr(module, name, None)
    if not callable(found):
        here = [key for key, value in vars(module).items() if _is_own_function(value, module)]
        what = "there is no" if found is None else f"it is {type(found).__name__}, not a function:"
        raise ModelError(
            f"{source}: {what} {name!r}", f"it has {', '.join(here)}" if here else _FORM
        )
    own = facts_beside(path).over(_carried(source, found)).over(_CONTRACT)
    known = said.over(own)
    for flag, fact, what in (
        ("frames", known.frames, "how many frames"),
        ("size", known.size, "what size of frames"),
    ):
        if fact is None:
            example = f'{name}.{ATTRIBUTE} = {{"frames": 16, "size": 112}}'
            raise ModelError(
                f"nobody says {what} {source} takes", f"give --{flag}, or write below it {example}"
            )
    return Function(source, path, found), own


def _imported(path: Path) -> ModuleType:
    """The module of a file, imported once; what lies beside it can be imported there."""
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that it hides no package
    before = sys.modules.get(path.stem)
    if before is not None and getattr(before, "__file__", None) == str(path.resolve()):
        return before
    spec = spec_from_file_location(path.stem, path.resolve())
    if spec is None or spec.loader is None:
        raise ImportError("no file of Python code, whose name ends in .py")
    module = module_from_spec(spec)
    if before is None:  # dataclasses and pickle look a class's module up
        sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        if before is None:
            del sys.modules[path.stem]
        raise
    return module


def _is_own_function(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", "") == module.__name__


def _carried(source: str, function: Any) -> Facts:
    """The facts in a function's attribute."""
    given: Any = getattr(function, ATTRIBUTE, {})
    if not isinstance(given, Mapping):
        raise ModelError(
            f"{source}: its attribute {ATTRIBUTE} is {type(given).__name__}, no facts",
            'give it a dict such as {"frames": 16, "size": 112}',
        )
    try:
        return facts_in_metadata({f"{METADATA_PREFIX}{key}": fact for key, fact in given.items()})
    except ModelError as error:
        message = error.message.replace("the network's metadata: tiem.", f"{ATTRIBUTE}: ")
        raise ModelError(f"{source}: {message}", "mend it there") from error


def _failure(name: str, path: Path, error: BaseException) -> str:
    """What went wrong in somebody's code, with its line there."""
    line = error.lineno if isinstance(error, SyntaxError) else _line_in(path, error)
    where = f"{path.name}, line {line}: " if line else ""
    text, kind = first_line(error), type(error).__name__
    return f"{name} fails: {where}{kind}" + ("" if text == kind else f": {text}")


def _line_in(path: Path, error: BaseException) -> int | None:
    """The innermost line of a file that an error went through."""
    file = str(path.resolve())
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == file]
    return lines[-1] if lines else None
