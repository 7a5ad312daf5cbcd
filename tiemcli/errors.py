"""What a user can get wrong: one line that says what happened, one hint that says what to type."""

import re
import traceback

_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class TiemError(Exception):
    """The root of every error that is the input's fault, not the program's.

    `message` says what happened, with the value; `hint` what to do about it (may be empty).
    `exit_code` is what the command ends with when this error ends it.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = shown(message), shown(hint)
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ClipError(TiemError):
    """A clip that cannot be read or explained; a run over several goes on."""


class OutputError(TiemError):
    """A result that cannot be written."""

    exit_code = 2


class UsageError(TiemError):
    """An option, or a combination of them, that makes no sense."""

    exit_code = 2


class ModelError(TiemError):
    """A network that cannot be loaded, or of which something must be known that is not."""

    exit_code = 3


class DeviceError(TiemError):
    """A device that was asked for and does not come up."""

    exit_code = 3


class Bug(TiemError):
    """What is nobody's mistake but the program's. trace: where it happened, for whoever mends it."""

    trace = ""


def bug(error: BaseException) -> Bug:
    """An error that nothing else accounts for, to be told where it cannot be raised."""
    found = Bug(f"{type(error).__name__}: {first_line(error)}", "a bug of tiem: please report it")
    found.trace = "".join(traceback.format_exception(error))
    return found


def first_line(error: BaseException) -> str:
    """What a person can use of a library's error: one line, without ONNX Runtime's preamble."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)[:300]


def shown(text: str) -> str:
    """A stranger's text with what a terminal would obey, or that turns its direction, escaped."""
    return _OBEYED.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
