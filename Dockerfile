# The images that build, by tag. A release names them by digest (`make release-image`).
ARG GO_IMAGE=golang:1.26
ARG RUST_IMAGE=rust:1.95.0

# Stage 1: Istio's charts, from their pinned Go module.
FROM ${GO_IMAGE} AS charts
WORKDIR /src
COPY tools tools
RUN tools/export-charts.sh

# Stage 2: one static binary. glibc's own static library serves, so no other libc is needed.
FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
COPY --from=charts /src/.charts .charts
# The time of the commit: .git is not part of what is copied.
ARG SOURCE_DATE_EPOCH=0
# The toolchain of the image, whatever it is called there, if it is the pinned one.
RUN export RUSTUP_TOOLCHAIN=$(rustup default | cut -d' ' -f1) && tools/toolchain.sh --check && tools/build-operator.sh

# Stage 3: nothing but the binary. Works with a read-only root; certificates of the API server come with the ServiceAccount.
FROM scratch
COPY --from=build /src/target/release/istio-manager /istio-manager
USER 65532:65532
ENTRYPOINT ["/istio-manager"]
