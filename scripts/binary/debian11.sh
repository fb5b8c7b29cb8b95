#!/usr/bin/env bash
# Builds the binary in a Debian 11 root, so that it runs wherever glibc is 2.31 or newer.
# debian11.sh ROOT SOURCES DIST [OPTION…]: ROOT is made where it is not there yet. SOURCES holds
# what upstream releases as Python-3.13.*, openssl-3.* and sqlite-*, one .tar.gz or .tar.xz of each:
# those of Debian 11 are too old, or no longer mended. DIST is where the files go; options are those
# of build_binary.py. It must be run as root, and needs debootstrap; DEBIAN_MIRROR is its mirror.
set -euo pipefail

if (($# < 3)); then
  sed -n '2,6s/^# //p' "$0" >&2
  exit 2
fi
root=$1 sources=$2 dist=$3
shift 3
code=$(cd "$(dirname "$0")/../.." && pwd)
home=/dispatchd # what is made there, but for the root itself
glibc=2.31

# Runs a command in the root; its mounts end with it.
inside() {
  # shellcheck disable=SC2016 # the inner shell expands it
  unshare --mount bash -euo pipefail -c '
    mount --bind "$1" "$1" # what runs there may make mounts of its own
    for folder in proc dev sys; do mount --rbind "/$folder" "$1/$folder"; done
    exec chroot "$@"
  ' _ "$root" "$@"
}

# Prints the one archive whose name matches.
archive() {
  local found
  mapfile -t found < <(compgen -G "$sources/$1")
  if ((${#found[@]} != 1)); then
    echo "debian11.sh: $sources holds ${#found[@]} of $1, not one" >&2
    return 1
  fi
  echo "${found[0]}"
}

# Unpacks an archive into a folder there; prints that folder's name.
unpack() {
  local name
  name=$(basename "${1%.tar.*}")
  mkdir -p "$root$home/build/$name"
  tar --extract --file "$1" --strip-components 1 --no-same-owner \
    --directory "$root$home/build/$name"
  echo "$name"
}

make_root() {
  local packages=gcc,make,binutils,perl,git,ca-certificates,curl,strace
  packages+=,libc6-dev,zlib1g-dev,libffi-dev,libbz2-dev,liblzma-dev
  local mirror=()
  [[ -z ${DEBIAN_MIRROR:-} ]] || mirror=("$DEBIAN_MIRROR")
  debootstrap --variant=minbase --include="$packages" bullseye "$root" "${mirror[@]}"
}

# Each library gets a folder of its own, with its licence, where licences.py looks for it.
make_python() {
  local openssl sqlite cpython
  rm -rf "$root$home"
  openssl=$(unpack "$1")
  sqlite=$(unpack "$2")
  cpython=$(unpack "$3")
  # shellcheck disable=SC2016 # the root's shell expands it
  inside bash -euo pipefail -c '
    openssl=$1/$2 sqlite=$1/$3 python=$1/python
    jobs=$(nproc)

    cd "$1/build/$2"
    ./config --prefix="$openssl" --libdir=lib --openssldir=/etc/ssl shared no-tests no-docs
    make --jobs="$jobs" build_libs
    make install_dev
    cp LICENSE.txt "$openssl"

    cd "$1/build/$3"
    ./configure --prefix="$sqlite" --disable-readline
    make --jobs="$jobs"
    make install
    sed "/^\*\{9\}/q" sqlite3.h >"$sqlite/LICENSE.txt"

    cd "$1/build/$4"
    ./configure --prefix="$python" --enable-shared --enable-optimizations \
      --with-openssl="$openssl" CPPFLAGS="-I$sqlite/include" \
      LDFLAGS="-L$sqlite/lib -Wl,-rpath,$python/lib:$openssl/lib:$sqlite/lib"
    make --jobs="$jobs"
    make install
    "$python/bin/python3" -c "
import bz2, ctypes, lzma, sqlite3, ssl, zlib
print(ssl.OPENSSL_VERSION, sqlite3.sqlite_version, sep=\", SQLite \")"
  ' _ "$home" "$openssl" "$sqlite" "$cpython"
  touch "$root$home/complete"
  rm -rf "$root$home/build"
}

if [[ ! -e $root$home/complete ]]; then
  openssl=$(archive 'openssl-3.*.tar.[gx]z')
  sqlite=$(archive 'sqlite-*.tar.[gx]z')
  cpython=$(archive 'Python-3.13.*.tar.[gx]z')
fi
[[ -e $root/etc/debian_version ]] || make_root
# Names can be looked up there, and pip finds what this machine's finds.
cp --dereference /etc/resolv.conf "$root/etc/resolv.conf"
for file in /etc/pip.conf /etc/ssl/certs/ca-certificates.crt; do
  [[ ! -e $file ]] || install -D --mode 644 "$file" "$root$file"
done
[[ -e $root$home/complete ]] || make_python "$openssl" "$sqlite" "$cpython"

rm -rf "$root$home/source"
mkdir -p "$root$home/source" "$dist"
git -C "$code" archive HEAD | tar --extract --directory "$root$home/source"
epoch=${SOURCE_DATE_EPOCH:-$(git -C "$code" log -1 --format=%ct)}
inside env SOURCE_DATE_EPOCH="$epoch" \
  "$home/python/bin/python3" "$home/source/scripts/build_binary.py" --glibc "$glibc" "$@"
cp "$root$home"/source/dist/* "$dist"
