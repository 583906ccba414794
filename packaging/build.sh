#!/usr/bin/env bash
# Every package of the program, from a clean clone: one binary, built once and wrapped in each, and the image.
#
#   packaging/build.sh [OUT]      OUT is target/packages unless it is given; what is in it is replaced
#
# Needs Rust, binutils and python3 with venv; cargo-zigbuild and zig, which links against the C library of 2012, come from PyPI. BINARY=FILE
# wraps one that was built so elsewhere. The .deb is made where dpkg-deb is, the image where a container engine runs; what is left out is
# said. DEBFULLNAME and DEBEMAIL are the .deb's maintainer.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
out=${1:-target/packages}
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The oldest glibc that it runs with: that of CentOS 7, and of Python's manylinux2014.
GLIBC=2.17
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# The same files for the same commit, whenever they are made.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}
export SOURCE_DATE_EPOCH
target=$(rustc -vV | sed -n 's/^host: //p')
arch=${target%%-*}

if [ -z "${BINARY:-}" ]; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install -q --disable-pip-version-check cargo-zigbuild==0.24.1 ziglang==0.13.0
  PATH=$work/venv/bin:$PATH cargo zigbuild --release --locked --target "$target.$GLIBC"
  BINARY=${CARGO_TARGET_DIR:-target}/$target/release/ironrank
fi
# The names of functions stay, for the backtrace of a fault; those that the compiler gave to data go.
binary=$work/ironrank
objcopy --strip-debug --wildcard --strip-symbol='anon.*' --strip-symbol='GCC_except_table*' "$BINARY" "$binary"
newest=$(readelf -VW "$binary" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
[ "$(printf '%s\n' "$newest" "GLIBC_$GLIBC" | sort -V | tail -n 1)" = "GLIBC_$GLIBC" ] ||
  { echo "$BINARY needs $newest, and the packages promise GLIBC_$GLIBC" >&2; exit 1; }

# All that is installed, as it lies below /usr; the .deb is this and its own.
tree=$work/ironrank-$version-$arch-linux
share=$tree/share
install -D -m 755 "$binary" "$tree/bin/ironrank"
install -D -m 644 deploy/ironrank.service "$tree/lib/systemd/system/ironrank.service"
install -D -m 644 LICENSE README.md CHANGELOG.md -t "$share/doc/ironrank"
install -D -m 644 docs/*.md docs/*.png docs/*.svg -t "$share/doc/ironrank/docs"
install -D -m 644 deploy/config.yaml deploy/alert-rules.yaml deploy/grafana-dashboard.json deploy/haproxy.cfg -t "$share/doc/ironrank/examples"
mkdir -p "$share/man/man1" "$share/bash-completion/completions" "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"
"$binary" completions bash >"$share/bash-completion/completions/ironrank"
"$binary" completions zsh >"$share/zsh/vendor-completions/_ironrank"
"$binary" completions fish >"$share/fish/vendor_completions.d/ironrank.fish"
page() { # COMMAND...
  "$binary" man "$@" | gzip -9n >"$share/man/man1/$(IFS=-; echo "ironrank${*:+-$*}").1.gz"
}
commands() { # COMMAND...
  "$binary" "$@" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]\+\) .*/\1/p' | grep -vx help
}
page
for command in $(commands); do
  page "$command"
done
for command in $(commands cache); do
  page cache "$command"
done

archive() { # FILE DIRECTORY MEMBER
  tar -C "$2" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -c "$3" | gzip -9n >"$1"
}
archive "$out/$(basename "$tree").tar.gz" "$work" "$(basename "$tree")"

if command -v dpkg-deb >/dev/null; then
  root=$work/deb
  mkdir -p "$root/DEBIAN" "$root/etc/ironrank"
  cp -a "$tree" "$root/usr"
  doc=$root/usr/share/doc/ironrank
  rm "$doc/LICENSE"
  gzip -9n "$doc/CHANGELOG.md"
  install -m 644 packaging/deb/copyright "$doc/copyright"
  install -m 644 deploy/config.yaml "$root/etc/ironrank/config.yaml"
  install -D -m 644 packaging/deb/lintian-overrides "$root/usr/share/lintian/overrides/ironrank"
  maintainer="${DEBFULLNAME:-ironrank} <${DEBEMAIL:-ironrank@packages.invalid}>"
  {
    echo "ironrank ($version) unstable; urgency=medium"
    printf '\n  * CHANGELOG.md.gz has what is new.\n\n'
    echo " -- $maintainer  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
  } | gzip -9n >"$doc/changelog.gz"
  echo /etc/ironrank/config.yaml >"$root/DEBIAN/conffiles"
  install -m 755 packaging/deb/postinst packaging/deb/prerm packaging/deb/postrm "$root/DEBIAN"
  debian=$(dpkg --print-architecture)
  cat >"$root/DEBIAN/control" <<CONTROL
Package: ironrank
Version: $version
Architecture: $debian
Maintainer: $maintainer
Depends: libc6 (>= $GLIBC)
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Section: net
Priority: optional
Description: server of Qwen3 rerankers and embedding models for CPUs
 One binary that takes the place of "vllm serve" on ordinary CPUs: the same
 command line, routes and metrics, without Python, a GPU or a network.
 .
 The service ironrank is neither enabled nor started: it needs a model, which
 /etc/ironrank/config.yaml names.
CONTROL
  (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
  find "$root" -newermt "@$SOURCE_DATE_EPOCH" -print0 | xargs -0r touch -h -d "@$SOURCE_DATE_EPOCH"
  dpkg-deb --root-owner-group -Zxz --build "$root" "$out/ironrank_${version}_$debian.deb" >/dev/null
else
  echo "no .deb: there is no dpkg-deb" >&2
fi

python3 packaging/wheel.py "$binary" "$version" "$arch" "$GLIBC" "$out"

if docker info >/dev/null 2>&1; then
  # Without a shared library, for there is none in it: compiled once more.
  docker build -q --build-arg "REVISION=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)" -t "ironrank:$version" .
  docker save "ironrank:$version" | gzip -9n >"$out/ironrank-$version-$arch.image.tar.gz"
else
  echo "no image: no container engine runs" >&2
fi

(cd "$out" && sha256sum -- * >SHA256SUMS)
ls -l "$out"
