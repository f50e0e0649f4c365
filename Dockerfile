# The worker alone: one static program, the certificates of public authorities,
# and a user without rights. `make image` builds it; docs/how-to/install.md tells
# how it is run.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
COPY cmd cmd
COPY internal internal
ARG TARGETOS TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags='-s -w' -o prefect-northflank ./cmd/prefect-northflank

FROM scratch
LABEL org.opencontainers.image.title="prefect-northflank" \
      org.opencontainers.image.description="Runs Prefect flow runs as Northflank job runs" \
      org.opencontainers.image.source="https://github.com/northflank/prefect-northflank" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY LICENSE /usr/share/doc/prefect-northflank/
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /src/prefect-northflank /usr/bin/
USER 65532:65532
ENTRYPOINT ["/usr/bin/prefect-northflank"]
