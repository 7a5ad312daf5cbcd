"""From other frameworks to an ONNX file that says in its own metadata how it wants to be fed."""
