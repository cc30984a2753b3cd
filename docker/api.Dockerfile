# api_service: the gRPC proxy to remote providers.
#   docker build -f docker/api.Dockerfile -t marsys-api .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY client client
COPY serving serving
COPY api_service api_service
COPY local_inference_service local_inference_service
RUN pip install --no-cache-dir --prefix=/install -c constraints.txt '.[api]'

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin marsys
COPY --from=build /install /usr/local
USER 10001
# Open to the container's network, so a token (MARSYS_TOKEN) or TLS files must be set.
ENV MARSYS_API_ADDRESS=0.0.0.0:50051
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["marsys", "health", "127.0.0.1:50051"]
ENTRYPOINT ["python", "-m", "api_service"]
