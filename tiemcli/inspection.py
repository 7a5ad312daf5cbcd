"""All that can be found out about a network before it explains anything."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import onnx

from tiemcli.axes import Dims
from tiemcli.errors import ModelError, TiemError, first_line
from tiemcli.facts import Facts, facts_beside, facts_in_metadata
from tiemcli.file_summary import summarise, summary, without_functions
from tiemcli.inspection_document import (
    Batch,
    CutReport,
    Feeding,
    Inspection,
    Origin,
    Output,
    PrefixReport,
    Problem,
)
from tiemcli.kernels.arrays import Floats
from tiemcli.kernels.free_batch import dims_of
from tiemcli.kernels.prefix import find_prefix
from tiemcli.kernels.work import Run, multiply_adds, value_shapes
from tiemcli.model import Model, OnnxModel, load_model
from tiemcli.model_file import read_network
from tiemcli.pipeline import read_clip
from tiemcli.running_cost import measure
from tiemcli.scorers.network import OnnxNetwork, load_network
from tiemcli.scorers.session import make_session
from tiemcli.settings import Settings

PREPROCESSING = ("size", "color", "resize", "scale", "mean", "std")

Sources = dict[Origin, Facts]


def inspect(path: Path, said: Facts, device: str, custom_ops: tuple[Path, ...] = ()) -> Inspection:
    """Find out what can be found out. said: the user's own facts. custom_ops: as for `load_model`.

    Raises ModelError where the file cannot be read, DeviceError where the device does not come up.
    What else keeps the network from being explained is among the inspection's `problems`.
    """
    proto, sha256 = read_network(path)
    problems: list[TiemError] = []
    sources: Sources = {"flag": said}
    with noted(problems):
        sources["toml"] = facts_beside(path)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        sources["metadata"] = facts_in_metadata(metadata)
    models, networks, refusals = _load(path, proto, sources, device, custom_ops)
    network = next(iter(networks.values()), None)
    model = network.model if network else next(iter(models.values()), None)
    if network is None:
        problems += refusals.values()
    elif len(networks) + len(refusals) > 1:
        with noted(problems):
            load_model(path, said, custom_ops)
    work = prefix = batch = cost = None
    if network:
        with noted(problems):
            work, prefix = _work(network.model)
        batch = _batch(network)
        with noted(problems):
            cost = measure(network, sample_clip(network.model), Settings())
    return Inspection(
        elsewhere=None,
        file=summarise(path, sha256, proto),
        feeding=feeding_of(model, _dims(model), sources) if model else None,
        outputs=tuple(_outputs(proto, networks, refusals, sources)),
        output=network.model.output if network else None,
        labels=model.labels if model else (),
        labels_from=origin(sources, "labels"),
        multiply_adds=work,
        prefix=prefix,
        reuse=network.reuse.description if network and network.reuse else None,
        batch=batch,
        cost=cost,
        providers=network.providers if network else (),
        assumed=network.notes if network else model.assumed if model else (),
        problems=tuple(dict.fromkeys(Problem(p.message, p.hint) for p in problems)),
    )


@contextmanager
def noted(problems: list[TiemError]) -> Iterator[None]:
    """Go on after what a network is to blame for."""
    try:
        yield
    except TiemError as error:
        problems.append(error)


def origin(sources: Sources, fact: str) -> Origin | None:
    """Who says a fact, the strongest first; None if nobody does."""
    return next((o for o, facts in sources.items() if getattr(facts, fact) is not None), None)


def _load(
    path: Path,
    proto: onnx.ModelProto,
    sources: Sources,
    device: str,
    custom_ops: tuple[Path, ...],
) -> tuple[dict[str, OnnxModel], dict[str, OnnxNetwork], dict[str, ModelError]]:
    """By output, what can be loaded to explain it and why it cannot be; the one wanted alone."""
    said = sources["flag"]
    names = [value.name for value in proto.graph.output]
    wanted = [facts.output_name for facts in sources.values() if facts.output_name][:1]
    models: dict[str, OnnxModel] = {}
    networks: dict[str, OnnxNetwork] = {}
    refusals: dict[str, ModelError] = {}
    for name in wanted or names:
        facts = said.model_copy(update={"output_name": name}) if len(names) > 1 else said
        try:
            models[name] = load_model(path, facts, custom_ops)
            networks[name] = load_network(models[name], device)
        except ModelError as error:
            refusals[name] = error
    return models, networks, refusals


def _dims(model: OnnxModel) -> Dims:
    return dims_of(next(value for value in model.proto.graph.input if value.name == model.input))


def feeding_of(model: Model, dims: Dims, sources: Sources) -> Feeding:
    """How a network is fed, its input's declared dims apart, and who says so."""
    axes = zip(model.layout, dims, strict=True)
    free = [letter for letter, size in axes if size is None]
    told = {fact: origin(sources, fact) or "assumed" for fact in PREPROCESSING}
    if not {"H", "W"} & set(free):
        told["size"] = "file"
    return Feeding(
        input=model.input,
        layout=model.layout,
        layout_from=origin(sources, "layout") or "inferred",
        sizes=model.sizes,
        free=tuple(free),
        stride=model.stride,
        preprocessing=model.preprocessing,
        preprocessing_from=told,
        others=model.fed,
    )


def _outputs(
    proto: onnx.ModelProto,
    networks: dict[str, OnnxNetwork],
    refusals: dict[str, ModelError],
    sources: Sources,
) -> Iterator[Output]:
    for declared in proto.graph.output:
        value = summary(declared)
        network, refusal = networks.get(value.name), refusals.get(value.name)
        said = network is not None and network.model.output_kind is not None
        yield Output(
            name=value.name,
            type=value.type,
            shape=value.shape,
            kind=network.port.output_kind if network else None,
            kind_from=origin(sources, "output") if said else "inferred" if network else None,
            classes=network.port.classes if network else None,
            rows=network.port.rows if network else None,
            problem=refusal.message if refusal else None,
        )


def sample_clip(model: Model) -> Floats:
    """The clip that ships with tiem, as the network is fed it."""
    with as_file(files("tiemcli.samples")) as folder:
        return read_clip(folder / "clip.mp4", model, Settings()).input


def _work(model: OnnxModel) -> tuple[int, PrefixReport | None]:
    """The multiply-adds of a clip, and what of them is done frame by frame."""
    proto, (_, frames, height, width) = without_functions(model.proto), model.shape
    noise = np.random.default_rng(0).integers(0, 256, (2, frames, height, width, 3), np.uint8)
    first, second = (
        model.tensor(np.repeat(model.preprocessing.clip(clip)[None], model.batch or 1, axis=0))
        for clip in noise
    )
    run = _runner(model)
    shapes = value_shapes(proto, first, run)
    work = sum(multiply_adds(node, shapes) for node in proto.graph.node) // (model.batch or 1)
    found = find_prefix(proto, model.input, model.layout, frames, (first, second), run)
    if found is None:
        return work, None
    cut = (CutReport(cut.name, cut.axes.frame, cut.frame_bytes) for cut in found.cuts)
    return work, PrefixReport(found.share, found.uniform, tuple(cut))


def _runner(model: OnnxModel) -> Run:
    """Runs parts of the network on the CPU, where the same numbers give the same numbers."""

    def run(proto: onnx.ModelProto, inputs: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        session = make_session(proto, model.path.parent, "cpu", model.custom_ops)
        try:
            return [session.run(None, {model.input: value}) for value in inputs]
        except Exception as error:
            raise ModelError(f"what it computes by frames: {first_line(error)}") from error

    return run


def _batch(network: OnnxNetwork) -> Batch:
    """Whether clips can be scored together, and by what means."""
    declared = network.model.batch
    if network.looped is not None:
        reason = "a larger batch fails or changes the answer"
        if declared is not None:
            reason += ", and rewriting the graph does not help"
        return Batch(declared, "looped", reason)
    if declared is None:
        return Batch(declared, "free", "")
    if network.rewritten:
        return Batch(
            declared, "rewritten", f"the graph holds it at {declared}; rewritten, verified"
        )
    return Batch(declared, "free", f"declared as {declared}, but the graph takes any")
