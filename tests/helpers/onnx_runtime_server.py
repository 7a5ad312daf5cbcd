"""What MLServer runs for the tests: an ONNX file, declared as model-settings.json says."""

import asyncio
from pathlib import Path

import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """Answers by ONNX Runtime, after `delay` seconds where the parameters name them."""

    async def load(self) -> bool:
        parameters = self.settings.parameters
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(
            Path(parameters.uri), options, providers=["CPUExecutionProvider"]
        )
        self._delay = parameters.extra.get("delay", 0)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        await asyncio.sleep(self._delay)
        fed = {tensor.name: NumpyCodec.decode_input(tensor) for tensor in payload.inputs}
        names = [output.name for output in payload.outputs or ()] or None
        answers = self._session.run(names, fed)
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                NumpyCodec.encode_output(name, answer)
                for name, answer in zip(names or [], answers, strict=True)
            ],
        )
