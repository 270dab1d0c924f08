# shellcheck shell=bash
# Roots of Debian for what must be tried where nothing of this host is: built by debootstrap from the mirror
# that this host's apt knows, and kept in the cache. Sourced by the other scripts, after parts.sh.

# What is missing for it, in a few words; nothing if nothing is.
lacks_for_root() {
  if ! is_root; then echo 'root'
  elif ! command -v debootstrap >/dev/null; then echo 'the package debootstrap'
  elif [ -z "$(debian_mirror)" ]; then echo 'a mirror of Debian that apt knows'
  fi
}

debian_mirror() {
  ! command -v apt-get >/dev/null \
    || apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null | sed -n 1p
}

# debian_root SUITE NAME PACKAGE…: has a root of that suite with these packages, as root_is. Several scripts may
# ask at once: the first builds it.
debian_root() {
  local suite=$1 name=$2 home=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/virshle output packages
  shift 2
  root_is=$home/$suite-$name
  mkdir -p "$home"
  exec {root_lock}>"$root_is.lock"
  flock "$root_lock"
  if [ ! -e "$root_is/.complete" ]; then
    say "building a root of Debian's $suite with $* in $root_is"
    rm -rf --one-file-system "$root_is" "$root_is.new"
    packages=ca-certificates
    [ $# = 0 ] || packages=$packages,$(IFS=,; printf '%s' "$*")
    if ! output=$(debootstrap --variant=minbase --include="$packages" "$suite" "$root_is.new" "$(debian_mirror)" 2>&1)
    then
      printf 'cannot build it: %s\n' "$(tail -n 3 <<<"$output")" >&2
      rm -rf --one-file-system "$root_is.new"
      flock --unlock "$root_lock"
      return 1
    fi
    rm -f "$root_is.new"/var/cache/apt/archives/*.deb
    touch "$root_is.new/.complete"
    mv "$root_is.new" "$root_is"
  fi
  flock --unlock "$root_lock"
  exec {root_lock}>&-
}

# in_root ROOT [DIRECTORY:PLACE…] -- COMMAND…: runs a command in a root, in namespaces of its own that end with
# it, with directories of this host at places of that root. The processor, the network and the devices are the
# host's; no service manager runs.
in_root() {
  # shellcheck disable=SC2016 # It is the inner shell's.
  unshare --mount --pid --fork --kill-child "$BASH" -euc '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    while [ "$1" != -- ]; do
      mkdir -p "$root/${1#*:}"
      mount --bind "${1%%:*}" "$root/${1#*:}"
      shift
    done
    shift
    exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM=dumb \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"' in_root "$@"
}
