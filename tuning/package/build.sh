#!/usr/bin/env bash
# Makes the Debian package: the binary, its man pages and completions, then cargo-deb.
#
#   tuning/package/build.sh [PROFILE] [OUTPUT]     default: release, target/package
#
# Needs cargo-deb (`cargo install cargo-deb --locked`) and what building Strowger needs. The last line
# that it prints is the package's path.
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:-release}
output=${2:-target/package}
target=${CARGO_TARGET_DIR:-target}
# Cargo calls the folder of profile `dev` "debug".
folder=$target/${profile/#dev/debug}

cargo build --workspace --bin strowger --profile "$profile" --quiet
strowger=$folder/strowger
made=target/package
mkdir -p "$made/man" "$made/completions" "$output"
rm -f "$made"/man/* "$made"/completions/*
"$strowger" man "$made/man"
"$strowger" completions bash > "$made/completions/strowger.bash"
"$strowger" completions zsh > "$made/completions/_strowger"
"$strowger" completions fish > "$made/completions/strowger.fish"

# cargo-deb takes a binary that is there from target/release alone: it is put there, in a target folder of
# its own, whatever profile made it. Debug information stays behind.
stage=$made/stage
mkdir -p "$stage/release"
cp "$strowger" "$stage/release/strowger"
CARGO_TARGET_DIR=$stage cargo deb --quiet --package strowger --no-build --strip --output "$output/"
rm -r "$stage"
ls -t "$output"/strowger_*.deb | head -n 1
