# local_inference_service: models on this machine.
#   docker build -f docker/local.Dockerfile -t marsys-local .
# The package index's PyTorch for Linux brings CUDA. For a small CPU image, give pip PyTorch's CPU
# index: --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11-slim AS build
ARG PIP_EXTRA_INDEX_URL=""
ENV PIP_EXTRA_INDEX_URL=${PIP_EXTRA_INDEX_URL}
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY client client
COPY serving serving
COPY api_service api_service
COPY local_inference_service local_inference_service
RUN pip install --no-cache-dir --prefix=/install -c constraints.txt '.[local]'

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin marsys \
    && install -d -o 10001 -g 10001 /models
COPY --from=build /install /usr/local
USER 10001
# Models are kept in the volume. Open to the container's network, so a token (MARSYS_TOKEN) or TLS
# files must be set.
ENV MARSYS_LOCAL_ADDRESS=0.0.0.0:50052 \
    MARSYS_CACHE=/models \
    HF_HOME=/models/huggingface
VOLUME /models
EXPOSE 50052
# The first start fetches and converts the embedded model.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s CMD ["marsys", "health", "127.0.0.1:50052"]
ENTRYPOINT ["python", "-m", "local_inference_service"]
