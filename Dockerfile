# The image holds the binary and the certificates, nothing else. Build: docker build -t tailwater .
FROM rust:1.88-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/tailwater /tailwater

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /tailwater /usr/local/bin/tailwater
# Metrics, probes, status. In a container set TAILWATER_HTTP__LISTEN=0.0.0.0:9187: the default is loopback only.
EXPOSE 9187
ENTRYPOINT ["/usr/local/bin/tailwater"]
CMD ["run", "-c", "/etc/tailwater/tailwater.toml"]
