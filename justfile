# The same steps as CI: each recipe calls .ci/run, so that local and CI can't differ.

# List the recipes.
default:
    @just --list

# Everything that a change must pass.
all:
    .ci/run

# Formatting is right.
format:
    .ci/run format

# Clippy finds nothing.
lint:
    .ci/run lint

# The API docs build without a warning.
docs:
    .ci/run docs

# Unit, property and black-box tests.
test:
    .ci/run test

# What others write, changed by chance, for a minute.
fuzz:
    .ci/run fuzz

# Size, circles of modules, files that name a field of a gateway.
structure:
    .ci/run structure

# Each crate sees only what it may.
boundaries:
    .ci/run boundaries

# The OpenAPI document is valid.
openapi:
    .ci/run openapi

# promtool passes /metrics of a running daemon.
metrics:
    .ci/run metrics

# Licences, bans and sources of what we depend on.
deny:
    .ci/run deny

# The systemd unit is well-formed and hardened.
unit:
    .ci/run unit

# The daemon against real releases of OpenClaw (downloads them from npm once).
interop:
    .ci/run interop

# The Debian package installs and runs in a clean system.
package:
    .ci/run package

# The container image, and the daemon and a gateway in containers of it.
image:
    .ci/run image

# What should pass before each commit: quick, and needs nothing but Rust.
quick:
    .ci/run format lint test boundaries

# A daemon for trying things out, with its state in target/.
run *ARGS:
    cargo run -- serve --state-dir target/dev-state {{ARGS}}

# Known vulnerabilities of what we depend on (needs the advisory database from the network).
advisories:
    cargo deny check advisories

# Figures of the whole daemon.
bench:
    cargo bench --bench fleet
