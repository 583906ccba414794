# One static binary and nothing else: no shell, no libraries, no packages. Takes the place of vLLM's CPU image with its
# arguments and its environment. docs/containers.md says how to build, run and move it.
#
# Both base images are arguments, so that a registry of your own, or local images, will do.
ARG BUILD_IMAGE=rust:1.95-slim-bookworm
ARG FINAL_IMAGE=scratch

FROM ${BUILD_IMAGE} AS build
# The commit, which the program says in its log: there is no git here.
ARG REVISION=unknown
WORKDIR /build
COPY . .
# Built for the platform of the image itself (amd64 or arm64); libc is linked into the binary.
RUN set -eu; \
    target=$(rustc -vV | sed -n 's/^host: //p'); \
    IRONRANK_REVISION="$REVISION" RUSTFLAGS='-C target-feature=+crt-static' cargo build --release --locked --target "$target"; \
    mkdir -p /image /cache; \
    cp "target/$target/release/ironrank" LICENSE /image/; \
    strip --strip-debug /image/ironrank; \
    rm -rf target

FROM ${FINAL_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ironrank" \
      org.opencontainers.image.description="Serves Qwen3 rerankers on CPUs, behind vLLM's score and rerank API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
# A volume that is mounted here for the first time takes over the owner.
COPY --from=build --chown=65532:65532 /cache/ /var/cache/ironrank/
ENV XDG_CACHE_HOME=/var/cache
USER 65532:65532
EXPOSE 8000
# Finds the port, the socket or https by the server's own command line. A large model on a slow disk takes its time.
HEALTHCHECK --interval=10s --timeout=10s --start-period=10m --retries=3 CMD ["/ironrank", "health"]
ENTRYPOINT ["/ironrank"]
