#!/bin/sh
# Fetches the binary for this machine, checks its sum, and puts it where programs are looked for.
# install.sh URL [DIR]: URL is the folder of a release that holds SHA256SUMS and the binaries; DIR
# is where `dispatchd` goes (~/.local/bin). FLAVOUR=cuda takes the one for NVIDIA's GPUs.
set -eu

fail() {
  echo "install: $*" >&2
  exit 1
}

[ $# -ge 1 ] || fail "say where the release is: install.sh URL [DIR]"
release=${1%/}
folder=${2:-$HOME/.local/bin}
case $folder in
  /*) ;;
  *) folder=$PWD/$folder ;;
esac

case $(uname -s) in
  Linux) system=linux ;;
  Darwin) system=macos ;;
  *) fail "there is no binary for $(uname -s) here; on Windows take the .exe by hand" ;;
esac
case $(uname -m) in
  x86_64 | amd64) machine=x86_64 ;;
  aarch64 | arm64) machine=arm64 ;;
  *) fail "there is no binary for $(uname -m)" ;;
esac
case ${FLAVOUR:-cpu} in
  cpu) flavour= ;;
  cuda) flavour=-cuda ;;
  *) fail "FLAVOUR is cpu or cuda" ;;
esac

if command -v curl >/dev/null; then
  fetch() { curl --fail --silent --show-error --location --output "$2" "$1"; }
elif command -v wget >/dev/null; then
  fetch() { wget -q -O "$2" "$1"; }
else
  fail "it needs curl or wget"
fi
# Short options are the ones that every maker's program knows.
if command -v sha256sum >/dev/null; then
  check() { sha256sum -c "$1" >/dev/null 2>&1; }
elif command -v shasum >/dev/null; then
  check() { shasum -a 256 -c "$1" >/dev/null 2>&1; }
else
  fail "it needs sha256sum or shasum"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
cd "$scratch"

fetch "$release/SHA256SUMS" all || fail "$release has no SHA256SUMS"
grep -E "  dispatchd-[0-9][^-]*-$system-$machine$flavour\$" all >sum ||
  fail "$release has no binary for $system-$machine$flavour"
[ "$(wc -l <sum)" -eq 1 ] || fail "$release has several binaries for $system-$machine$flavour"
file=$(sed 's/^[^ ]*  //' sum)
fetch "$release/$file" "$file" || fail "$release/$file cannot be had"
check sum || fail "$file is not what SHA256SUMS says: do not run it"

mkdir -p "$folder"
chmod 755 "$file"
new=$folder/.dispatchd-$$
trap 'rm -rf "$scratch" "$new"' EXIT
mv "$file" "$new"
"$new" --version >/dev/null ||
  fail "$file does not run here, and is not installed; on Linux it needs glibc 2.31 or newer"
mv -f "$new" "$folder/dispatchd"
echo "$folder/dispatchd is there: dispatchd run --testnet starts a node"
case :$PATH: in
  *:"$folder":*) ;;
  *) echo "$folder is not in PATH yet" ;;
esac
