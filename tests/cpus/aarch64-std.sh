#!/usr/bin/env bash
# Sees to it that the Rust compiler has a standard library for aarch64, and prints the flags that it needs to find it.
#
#   tests/cpus/aarch64-std.sh
#
# The toolchain's own, installed by rustup if need be; where that cannot be had, one built from Debian's rust-src of
# exactly the compiler's version (root on Debian; a minute and a half), kept in the user's cache directory.
set -euo pipefail
target=aarch64-unknown-linux-gnu
has_std() { compgen -G "$1/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }

has_std "$(rustc --print sysroot)" && exit
if command -v rustup >/dev/null && rustup target add "$target" >&2 && has_std "$(rustc --print sysroot)"; then exit; fi

version=$(rustc --version | awk '{print $2}')
kept=${XDG_CACHE_HOME:-$HOME/.cache}/ironrank-tests/$target-$version
if has_std "$kept"; then
  echo "--sysroot=$kept"
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Package lists of its own: the machine's stay as they are. Backports keep several versions of the compiler's source.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg arch=amd64] $mirror trixie-backports main" >"$work/sources.list"
apt=(-q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists"
  -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update >&2
package=$(apt-cache "${apt[@]}" madison rust-src | awk -v version="$version" 'index($3, version) == 1 {print $3; exit}')
if [ -z "$package" ]; then
  echo "There is no standard library for $target: rustup cannot install it, and Debian has no rust-src $version." >&2
  exit 1
fi
(cd "$work" && apt-get "${apt[@]}" download "rust-src=$package" >&2)
dpkg-deb --fsys-tarfile "$work"/rust-src_*.deb | tar -x -C "$work" --wildcards '*/library/*'

# An empty crate, for whose sake cargo builds the libraries.
mkdir -p "$work/empty/src"
touch "$work/empty/src/lib.rs"
printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' >"$work/empty/Cargo.toml"
(cd "$work/empty" && __CARGO_TESTS_ONLY_SRC_ROOT=$(echo "$work"/usr/src/rustc-*/library) RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$work/built \
  cargo -Z build-std=std,panic_abort,panic_unwind,proc_macro,test build -q --release --target "$target" >&2)
libraries=$kept/lib/rustlib/$target/lib
mkdir -p "$libraries"
find "$work/built/$target/release/deps" -name '*.rlib' ! -name 'libempty-*' -exec cp {} "$libraries" \;
has_std "$kept"
echo "--sysroot=$kept"
