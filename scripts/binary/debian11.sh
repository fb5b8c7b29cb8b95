#!/usr/bin/env bash
# Builds the binary in a Debian 11 root, so that it runs wherever glibc is 2.31 or newer.
# debian11.sh ROOT CPYTHON DIST [OPTION…]: ROOT is made where it is not there yet, CPYTHON a source
# archive of CPython 3.11 or newer, DIST where the files go; options are those of build_binary.py.
# It must be run as root, and needs debootstrap.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,5s/^# //p' "$0" >&2
  exit 2
fi
root=$1 cpython=$2 dist=$3
shift 3
source=$(cd "$(dirname "$0")/../.." && pwd)
python=/opt/python/bin/python3

if [[ ! -e $root/etc/debian_version ]]; then
  packages=gcc,make,binutils,git,ca-certificates,curl,strace,xz-utils
  packages+=,libc6-dev,zlib1g-dev,libssl-dev,libsqlite3-dev,libffi-dev,libbz2-dev,liblzma-dev
  debootstrap --variant=minbase --include="$packages" bullseye "$root"
fi
if [[ ! -x $root$python ]]; then
  rm -rf "$root/build/cpython"
  mkdir -p "$root/build/cpython"
  tar --extract --file "$cpython" --strip-components 1 --directory "$root/build/cpython"
  chroot "$root" bash -euo pipefail -c "
    cd /build/cpython
    ./configure --prefix=/opt/python --enable-shared --enable-optimizations \
      LDFLAGS=-Wl,-rpath,/opt/python/lib
    make --jobs=\$(nproc)
    make install"
fi

mkdir -p "$root/source" "$dist"
git -C "$source" archive HEAD | tar --extract --directory "$root/source"
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$source" log -1 --format=%ct)}
# pip and the checks need names, the machine's mirrors, and what tells processes apart.
cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  [[ ! -e $file ]] || install -D "$file" "$root$file"
done
unshare --mount bash -euo pipefail -c '
  for folder in proc dev sys; do mount --rbind "/$folder" "$1/$folder"; done
  exec chroot "$1" env SOURCE_DATE_EPOCH="$2" "$3" /source/scripts/build_binary.py "${@:4}"
' _ "$root" "$epoch" "$python" "$@"
cp "$root"/source/dist/* "$dist"
