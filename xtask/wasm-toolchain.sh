#!/usr/bin/env bash
# wasm-toolchain.sh DIR
# Makes a Rust toolchain with a standard library for wasm32-unknown-unknown in DIR, only from Debian's packages, for machines where
# `rustup target add wasm32-unknown-unknown` does not work. Then DIR/bin/rustc builds the guests.
#
# Debian's rustc-web and rust-web-src have the same version, so the compiler can build the library. The linkers (wasm-component-ld, and
# wasm-ld, which it calls) come from a rustup toolchain if there is one, or else from crates.io and Debian's lld. This takes about two
# minutes. A stamp file makes later runs do nothing.
set -euo pipefail
DIR=$(mkdir -p "${1:?usage: $0 DIR}" && cd "$1" && pwd)
TARGET=wasm32-unknown-unknown
HOST=$(uname -m)-unknown-linux-gnu
RUSTC=/usr/bin/rustc CARGO=/usr/bin/cargo RUSTDOC=/usr/bin/rustdoc
SUDO=; [ "$(id -u)" = 0 ] || SUDO=sudo

install() {
  local missing=() package
  for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  $SUDO apt-get update -q
  $SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

command -v apt-get >/dev/null || { echo "$0: this is no Debian; use rustup target add $TARGET" >&2; exit 1; }
# Only one run at a time, because two runs would delete each other's files.
exec 9>"$DIR/lock"; flock 9

install rustc-web cargo-web rust-web-src
STAMP="$($RUSTC -V) $TARGET 2"
if [ "$(cat "$DIR/stamp" 2>/dev/null || true)" = "$STAMP" ]; then exit 0; fi
SOURCE=$($RUSTC --print sysroot)/lib/rustlib/src/rust
[ -f "$SOURCE/library/std/Cargo.toml" ] || { echo "$0: no source of std at $SOURCE" >&2; exit 1; }
rm -rf "$DIR/stamp" "$DIR/bin" "$DIR/lib" "$DIR/build"

# Links to Debian's compiler and host library, and the linkers.
LIB=$DIR/lib/rustlib
mkdir -p "$DIR/bin" "$LIB/$HOST/bin" "$LIB/src"
ln -s "$($RUSTC --print target-libdir)" "$LIB/$HOST/lib"
ln -s "$SOURCE" "$LIB/src/rust"
LINKERS=
for bin in "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/*/lib/rustlib/"$HOST"/bin; do
  if [ -x "$bin/wasm-component-ld" ]; then LINKERS=$bin; break; fi
done
if [ -n "$LINKERS" ]; then
  ln -s "$LINKERS/wasm-component-ld" "$LINKERS/rust-lld" "$LINKERS/gcc-ld" "$LIB/$HOST/bin/"
else
  LLVM=$($RUSTC -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
  install "lld-$LLVM"
  $CARGO install --quiet wasm-component-ld --locked --root "$DIR/tools"
  ln -s "$DIR/tools/bin/wasm-component-ld" "$LIB/$HOST/bin/"
  ln -s "/usr/bin/wasm-ld-$LLVM" "$LIB/$HOST/bin/wasm-ld"
  ln -s "/usr/bin/lld-$LLVM" "$LIB/$HOST/bin/rust-lld"
fi
for tool in "$RUSTC" "$RUSTDOC"; do
  printf '#!/bin/sh\nexec %s --sysroot "%s" "$@"\n' "$tool" "$DIR" > "$DIR/bin/$(basename "$tool")"
  chmod +x "$DIR/bin/$(basename "$tool")"
done

# The standard library, built as the dependency of an empty crate. Panic messages must not contain paths of this machine.
FLAGS="-Cembed-bitcode=yes"$'\x1f'"--remap-path-prefix=$SOURCE=/rustc"
for dir in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do FLAGS+=$'\x1f'"--remap-path-prefix=$dir=/rust/deps"; done
mkdir -p "$DIR/build/src"
echo '#![no_std]' > "$DIR/build/src/lib.rs"
printf '[package]\nname = "std-build"\nedition = "2021"\n[workspace]\n[profile.release]\nopt-level = "s"\n' > "$DIR/build/Cargo.toml"
env -u RUSTUP_TOOLCHAIN -u CARGO_BUILD_TARGET RUSTC=$RUSTC RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS="$FLAGS" \
  $CARGO build -q --manifest-path "$DIR/build/Cargo.toml" --target-dir "$DIR/build/target" \
  --release -Zbuild-std=std,panic_abort --target $TARGET
mkdir -p "$LIB/$TARGET/lib"
for rlib in "$DIR/build/target/$TARGET/release/deps"/*.rlib; do
  case $rlib in */libstd_build-*) ;; *) cp "$rlib" "$LIB/$TARGET/lib/" ;; esac
done
rm -rf "$DIR/build"
echo "$STAMP" > "$DIR/stamp"
