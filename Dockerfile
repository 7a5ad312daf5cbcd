# syntax=docker/dockerfile:1
#
#   docker build --target cpu -t tiem .            queries; with gradients: --build-arg EXTRAS=[torch]
#   docker build --target cuda -t tiem:cuda .      gradients and scoring on a GPU
#   docker run --rm -v "$PWD:/work" -u "$(id -u):$(id -g)" tiem explain clip.mp4 -m net.onnx -o out
#   docker run --rm --gpus all -v "$PWD:/work" tiem:cuda doctor

FROM python:3.12-slim AS base
# What OpenCV is linked with.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
 && rm -rf /var/lib/apt/lists/*
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONUNBUFFERED=1
COPY . /src
WORKDIR /work
ENTRYPOINT ["tiem"]
CMD ["--help"]

FROM base AS cuda
# PyTorch's wheels for Linux bring the CUDA libraries, where ONNX Runtime finds them as well.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN pip install '/src[torch,remote]' && tiem doctor
USER nobody

# The last target is what `docker build` makes if none is named.
FROM base AS cpu
ARG EXTRAS=[remote]
RUN pip install "/src${EXTRAS}" && tiem doctor
USER nobody
