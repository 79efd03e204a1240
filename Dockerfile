# Stage 1: Istio's charts, from their pinned Go module.
FROM golang:1.26 AS charts
WORKDIR /src
COPY tools tools
RUN tools/export-charts.sh

# Stage 2: one static binary. glibc's own static library serves, so no other libc is needed.
FROM rust:1.95 AS build
WORKDIR /src
COPY . .
COPY --from=charts /src/.charts .charts
RUN RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs" cargo build --release --locked \
      --package istio-manager --bin istio-manager --target x86_64-unknown-linux-gnu

# Stage 3: nothing but the binary. Works with a read-only root; certificates of the API server come with the ServiceAccount.
FROM scratch
COPY --from=build /src/target/x86_64-unknown-linux-gnu/release/istio-manager /istio-manager
USER 65532:65532
ENTRYPOINT ["/istio-manager"]
