"""What is installed, what imports what, and what works without torch."""

import ast
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = {"tiemcli": "tiemcli", "kernels": "tiemcli.kernels", "exporters": "tiemcli.exporters"}
# Where torch may be imported: the interpreter, the backend that runs it, and what makes networks.
TORCH = (
    "tiemcli.gradients",
    "tiemcli.extremal.autograd",
    "tiemcli.extremal.published",
    "tiemcli.extremal.pyramid",
    "tiemcli.extremal.smooth_max",
    "tiemcli.extremal.smoothness",
    "tiemcli.extremal.torch_clip",
    "tiemcli.methods.ceb_r",
    "tiemcli.methods.class_feature_pyramids",
    "tiemcli.methods.grad_cam",
    "tiemcli.methods.grad_cam_plus_plus",
    "tiemcli.methods.integrated_gradients",
    "tiemcli.methods.layer",
    "tiemcli.methods.layers",
    "tiemcli.methods.saliency_tubes",
    "tiemcli.bench.paper.classifiers",
    "tiemcli.bench.paper.training",
    "tiemcli.exporters",
    "tiemcli.samples",
)
# What the extra `remote` is for.
REMOTE = (
    "tiemcli.scorers.open_inference",
    "tiemcli.scorers.remote.over_grpc",
    "tiemcli.scorers.remote.over_http",
)


def modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Every module of the package with its file."""
    for folder, package in (PLACES | {"samples": "tiemcli.samples"}).items():
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            yield name, path


def imports(path: Path, *, outer: bool = False) -> set[str]:
    """The modules that a file imports, or those that importing it would import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = top_level(tree) if outer else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements that importing the module runs: those in no function and no TYPE_CHECKING."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not typing_only and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            waiting.extend(ast.iter_child_nodes(node))


def within(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def test_every_package_folder_is_listed(root: Path) -> None:
    """An unlisted folder imports in an editable install and is missing from the wheel."""
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {name for name, path in modules(root) if path.name == "__init__.py"}
    assert set(listed) == found


def test_kernels_depend_on_numpy_and_onnx_alone(root: Path) -> None:
    """The arithmetic knows nothing of the program around it."""
    allowed = (*sys.stdlib_module_names, "numpy", "onnx", "tiemcli.kernels")
    for name, path in modules(root):
        if within(name, ("tiemcli.kernels",)):
            assert all(within(i, allowed) for i in imports(path)), name


def test_torch_is_imported_in_its_places_only(root: Path) -> None:
    """Elsewhere it may be asked for inside a function that copes with its absence."""
    for name, path in modules(root):
        if not within(name, TORCH):
            found = imports(path, outer=True)
            assert not any(within(i, ("torch", "torchvision")) for i in found), name


def test_imports_run_one_way(root: Path) -> None:
    """cli → explain → methods → extremal, temporal → scorers → kernels; exporters from two commands
    alone."""
    outside = (
        "tiemcli.exporters",
        "tiemcli.samples",
        "tiemcli.exporting",
        "tiemcli.cli_networks",
        "tiemcli.bench",
    )
    layers = {
        "tiemcli.scorers": (
            "tiemcli.extremal",
            "tiemcli.temporal",
            "tiemcli.pipeline",
            "tiemcli.batch",
        ),
        "tiemcli.temporal": ("tiemcli.extremal", "tiemcli.pipeline", "tiemcli.batch"),
        "tiemcli.extremal": (
            "tiemcli.methods",
            "tiemcli.pipeline",
            "tiemcli.batch",
            "tiemcli.outputs",
        ),
        "tiemcli.methods": (
            "tiemcli.metrics",
            "tiemcli.pipeline",
            "tiemcli.batch",
            "tiemcli.outputs",
        ),
        "tiemcli.metrics": (
            "tiemcli.methods",
            "tiemcli.pipeline",
            "tiemcli.batch",
            "tiemcli.outputs",
        ),
        "tiemcli.gradients": ("tiemcli.extremal", "tiemcli.scorers", "tiemcli.pipeline"),
        "tiemcli.pipeline": ("tiemcli.batch", "tiemcli.outputs", "tiemcli.terminal"),
        "tiemcli.outputs": ("tiemcli.batch", "tiemcli.api", "tiemcli.terminal", "tiemcli.cli"),
        "tiemcli": ("tiemcli.exporters",),
    }
    for name, path in modules(root):
        for place, above in layers.items():
            if within(name, (place,)) and not within(name, outside):
                wrong = {i for i in imports(path) if within(i, above)}
                assert not wrong, f"{name} imports {wrong}"


def test_the_process_that_supervises_a_run_is_light(tmp_path: Path) -> None:
    """What may crash or grow, as decoders and the runtime, is imported by workers alone."""
    heavy = {"av", "cv2", "jinja2", "onnx", "onnxruntime", "PIL", "ray", "torch"}
    code = (
        "import sys, tiemcli.cli, tiemcli.command, tiemcli.command_explain, tiemcli.runs.local\n"
        f"assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_all_but_gradients_works_without_torch(root: Path, tmp_path: Path) -> None:
    """In a fresh environment with the base package alone every module but those of gradients and
    export imports, help prints, and the demo explains its clip by queries."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    binaries = folder / ("Scripts" if sys.platform == "win32" else "bin")

    def run(*command: object, code: int = 0) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    run(binaries / "pip", "install", "--quiet", root)
    left_out = (*TORCH, *REMOTE, "tiemcli.__main__")
    names = [name for name, _ in modules(root) if not within(name, left_out)]
    code = f"import importlib\nfor name in {names}:\n    importlib.import_module(name)\n"
    run(binaries / "python", "-c", code)
    run(binaries / "python", "-c", "import importlib.util as u; assert not u.find_spec('torch')")
    for command in (
        (),
        ("explain",),
        ("compare",),
        ("evaluate",),
        ("export",),
        ("inspect",),
        ("demo",),
        ("report",),
        ("doctor",),
        ("schema",),
        ("bench",),
        ("bench", "whitebox"),
        ("bench", "networks"),
        ("bench", "paper"),
        ("bench", "speed"),
    ):
        assert "Usage" in run(binaries / "tiem", *command, "--help")
    assert "temporal importance falls there" in run(binaries / "tiem", "demo")
    assert '"backend": "finite-difference"' in (tmp_path / "tiem-demo/clip.tiem.json").read_text()
    explain = (binaries / "tiem", "explain", root / "samples" / "clip.mp4", "-m")
    assert "pip install 'tiem[remote]'" in run(*explain, "grpc://localhost:1/net", code=3)
    network = root / "samples" / "net.onnx"
    assert "pip install 'tiem[ray]'" in run(*explain, network, "--engine", "ray", code=2)
