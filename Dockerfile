# Builds container images of phi3. The stage cpu, which is the default, is for CPUs. The stage cuda is for
# NVIDIA GPUs.
#
#   docker build -t phi3 --build-arg VERSION="$(git describe --tags --always --dirty)" .
#   docker run --rm -v phi3-models:/models phi3 generate --prompt "The capital of Germany is"
#
#   docker build -t phi3:cuda --target cuda --build-arg VERSION="$(git describe --tags --always --dirty)" .
#   docker run --rm --gpus all -v phi3-models:/models phi3:cuda doctor
#
# A server needs time to finish its requests when the container stops (docs/serve.md):
#
#   docker run --rm --stop-timeout 40 -p 127.0.0.1:8080:8080 -e PHI3_API_KEY phi3 serve --host 0.0.0.0
#
# The stage cuda needs the NVIDIA container toolkit on the host, which mounts the driver's libraries.
# phi3 keeps the models that it downloads in the volume /models. Both images run as user 65532, not as root.

FROM golang:1.26-bookworm AS source
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN mkdir /models

FROM source AS build-cpu
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X phi3/internal/cli.release=$VERSION" \
	-o /phi3 ./cmd/phi3

# golang:1.26-bookworm has gcc, g++ and make.
FROM source AS build-cuda
RUN make build VERSION="$VERSION"

FROM debian:bookworm-slim AS cuda
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && \
	rm -rf /var/lib/apt/lists/*
COPY --from=build-cuda /src/phi3 /usr/local/bin/phi3
COPY --from=build-cuda --chown=65532:65532 /models /models
# HF_HOME is the folder of the cache that docs/hub.md describes. The NVIDIA variables select the GPUs and the
# parts of the driver that the container gets.
ENV HF_HOME=/models NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
VOLUME /models
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/phi3"]

FROM gcr.io/distroless/static-debian12:nonroot AS cpu
COPY --from=build-cpu /phi3 /usr/local/bin/phi3
COPY --from=build-cpu --chown=65532:65532 /models /models
ENV HF_HOME=/models
VOLUME /models
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/phi3"]
