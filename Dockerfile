# The environment of `make env`, from the same requirements:
#   docker build -t mmdcls .
#   docker build --build-arg DEVICE=cuda -t mmdcls:cuda .
ARG DEVICE=cpu

FROM ubuntu:24.04 AS cpu

# With the compiler of the CUDA version that the pinned PyTorch is built for.
FROM nvidia/cuda:13.0.1-devel-ubuntu24.04 AS cuda
# MMCV's operators are compiled for these GPUs, whether or not one is there.
ARG CUDA_ARCHITECTURES="8.0;8.6;8.9;9.0;12.0"
ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST=${CUDA_ARCHITECTURES}

FROM ${DEVICE}
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates g++ git libgl1 libglib2.0-0 make \
        python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /mmdcls
ENV UV_NO_CACHE=1
# Dependencies before the sources, whose changes then install nothing anew.
COPY Makefile ./
COPY requirements requirements
COPY tools/setup tools/setup
RUN make .venv/.stamps/packages
COPY . .
RUN make env
ENV PATH=/mmdcls/.venv/bin:${PATH}
CMD ["bash"]
