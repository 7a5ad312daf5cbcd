"""How a server of the Open Inference Protocol is reached, over HTTP and over gRPC."""

import os

# gRPC reads this once, as it is imported. It raises its errors, and would write them besides.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
