"""What can be found out about a network of which only the answers are known."""

from onnx import TensorProto

from tiemcli.connection import Connection
from tiemcli.errors import TiemError
from tiemcli.facts import Facts
from tiemcli.inspection import Sources, feeding_of, noted, origin, sample_clip
from tiemcli.inspection_document import Batch, Elsewhere, Inspection, Output, Problem, Value
from tiemcli.running_cost import measure
from tiemcli.scorers.endpoint import Endpoint
from tiemcli.scorers.loading import find_endpoint
from tiemcli.scorers.outside import OutsideNetwork, load_outside, outside_model
from tiemcli.settings import Settings


def inspect_outside(source: str, said: Facts, connection: Connection | None = None) -> Inspection:
    """Find out what can be found out by asking. said: the user's own facts. connection: to a server.

    Raises ModelError where there is nobody to ask. What else keeps the network from being explained is
    among the inspection's `problems`.
    """
    endpoint, own = find_endpoint(source, said, connection)
    sources: Sources = {"flag": said, "metadata": own}
    problems: list[TiemError] = []
    model = network = cost = None
    with noted(problems):
        model = outside_model(endpoint, said, own)
        network = load_outside(endpoint, said, own)
        cost = measure(network, sample_clip(model), Settings())
    return Inspection(
        file=None,
        elsewhere=_elsewhere(endpoint),
        feeding=feeding_of(model, endpoint.dims, sources) if model else None,
        outputs=(_output(endpoint, network, sources),),
        output=endpoint.output,
        labels=model.labels if model else (),
        labels_from=origin(sources, "labels"),
        multiply_adds=None,
        prefix=None,
        reuse=None,
        batch=_batch(network) if network else None,
        cost=cost,
        providers=endpoint.providers,
        assumed=network.notes if network else model.assumed if model else (),
        problems=tuple(Problem(problem.message, problem.hint) for problem in problems),
    )


def _elsewhere(endpoint: Endpoint) -> Elsewhere:
    kind = TensorProto.DataType.Name(endpoint.element_type)
    takes = Value(endpoint.input, kind, endpoint.dims)
    return Elsewhere(endpoint.name, endpoint.identity, takes, endpoint.largest_batch)


def _output(endpoint: Endpoint, network: OutsideNetwork | None, sources: Sources) -> Output:
    if network is None:
        return Output(endpoint.output, None, None)
    said = network.model.output_kind is not None
    return Output(
        name=endpoint.output,
        type=None,
        shape=None,
        kind=network.port.output_kind,
        kind_from=origin(sources, "output") if said else "inferred",
        classes=network.port.classes,
        rows=network.port.rows,
    )


def _batch(network: OutsideNetwork) -> Batch:
    """Whether clips can be scored together."""
    declared, most = network.model.batch, network.endpoint.largest_batch
    if network.looped is not None:
        alone = 1 in (declared, most)
        reason = "it takes no more" if alone else "a larger batch fails or changes the answer"
        return Batch(declared, "looped", reason)
    reason = f"it takes no more than {declared or most}" if declared or most else ""
    return Batch(declared, "free", reason)
