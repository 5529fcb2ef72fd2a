# The commands people use; `just --list` shows them.

# Every test, documentation included.
test:
    cargo test --workspace --release

# Formatting, and clippy with warnings as errors.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --release -- -D warnings

# Latencies of the four networks on this machine, then the kernels' and the thread pool's benchmarks.
bench threads="1":
    for model in mobilenet_v1 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small; do \
        cargo run --release --quiet -- bench $model --threads {{threads}}; done
    cargo bench --package mobilenet-kernels

# The library's documentation, in the browser.
doc:
    cargo doc --workspace --no-deps --open

# AddressSanitizer over the crates that hold unsafe code.
sanitize:
    scripts/sanitize
