# syntax=docker/dockerfile:1
#
#   docker build --target cpu  -t bestofn:cpu  .
#   docker build --target cuda -t bestofn:cuda .
#   docker run --rm -p 8000:8000 bestofn:cpu
#   docker run --rm -p 8000:8000 --gpus all --ipc host -v bestofn:/var/lib/bestofn bestofn:cuda \
#     serve Qwen/Qwen2.5-0.5B-Instruct --reward-model Skywork/Skywork-Reward-V2-Qwen3-0.6B
#
# Behind a mirror, give --build-arg PIP_INDEX_URL=... or PIP_EXTRA_INDEX_URL=...; without them pip looks where
# it always does, and CPU torch comes from PyTorch's own index (scripts/install.py).

ARG PYTHON_VERSION=3.11
ARG DEBIAN_RELEASE=bookworm

# What both images run on. A C++ compiler stays in: Triton and torch.compile build kernels while serving.
FROM python:${PYTHON_VERSION}-slim-${DEBIAN_RELEASE} AS base
# Versions are Debian's to choose: it removes one as soon as there is a newer one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libnuma1 \
    && rm -rf /var/lib/apt/lists/*
# Writable by the server, and worth a volume: downloaded models, compiled kernels, candidate logs.
RUN useradd --system --uid 10001 --home-dir /var/lib/bestofn --create-home bestofn
ENV PATH=/opt/bestofn/bin:$PATH \
    HF_HOME=/var/lib/bestofn/huggingface \
    PYTHONUNBUFFERED=1 \
    VLLM_NO_USAGE_STATS=1

# The environment: first the locked versions, which change rarely, then this project.
FROM base AS build-base
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /src
COPY scripts/install.py scripts/
COPY requirements/ requirements/

FROM build-base AS build-cpu
RUN --mount=type=cache,target=/var/cache/pip \
    python scripts/install.py requirements/cpu.lock --venv /opt/bestofn --project absent
COPY . .
RUN --mount=type=cache,target=/var/cache/pip \
    python scripts/install.py requirements/cpu.lock --venv /opt/bestofn --project copied

FROM build-base AS build-cuda
RUN --mount=type=cache,target=/var/cache/pip \
    python scripts/install.py requirements/cuda.lock --venv /opt/bestofn --project absent
COPY . .
RUN --mount=type=cache,target=/var/cache/pip \
    python scripts/install.py requirements/cuda.lock --venv /opt/bestofn --project copied

# What both images do: serve as a user without rights, and say whether they are well.
FROM base AS runtime
USER 10001
WORKDIR /var/lib/bestofn
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=10m --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["bestofn"]
CMD ["serve"]

FROM runtime AS cuda
# The driver comes from the NVIDIA container runtime, the CUDA compiler from the locked nvidia-cuda-nvcc.
ARG PYTHON_VERSION
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    CUDA_HOME=/opt/bestofn/lib/python${PYTHON_VERSION}/site-packages/nvidia/cu13
COPY --from=build-cuda /opt/bestofn /opt/bestofn

# Last, and so what `docker build .` makes without --target.
FROM runtime AS cpu
COPY --from=build-cpu /opt/bestofn /opt/bestofn
