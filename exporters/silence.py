"""Other frameworks talk while they load and convert; a command's output is not theirs."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that the body prints, logs or warns of is seen, be it Python's or a library's own."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            _nowhere(1, 2),
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


@contextmanager
def _nowhere(*descriptors: int) -> Iterator[None]:
    """Lead what is written to the process's own streams, as C++ does, nowhere."""
    with ExitStack() as undo, open(os.devnull, "wb") as nowhere:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        for descriptor in descriptors:
            try:
                kept = os.dup(descriptor)
            except OSError:  # the caller closed it
                continue
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, descriptor)
            os.dup2(nowhere.fileno(), descriptor)
        yield
