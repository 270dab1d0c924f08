# Sourced by the image builders: where Debian's packages come from, and what they share.
set -euo pipefail
umask 022
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

suite=bookworm
# How a builder ends when the mirrors can't be reached from here: nothing is wrong with the builder.
no_packages=75
unreachable='Failed to fetch|Could not (resolve|connect)|Unable to connect|Temporary failure|Connection (failed|timed out)'
here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

# The mirrors of this host's own apt, so that no address is written down here.
sources() {
    apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' |
        awk -v suite="$suite" '$1 == suite || $1 == suite "-updates" || $1 == suite "-security" {
            print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $2, $1, $3
        }' | sort -u
}

# bootstrap VARIANT PACKAGES TARGET [OPTION…]
bootstrap() {
    local variant=$1 packages=$2 target=$3 list
    shift 3
    list=$(sources)
    if [ -z "$list" ]; then
        echo "apt on this host knows no $suite packages (apt-get indextargets): run apt-get update" >&2
        exit "$no_packages"
    fi
    local said status=0
    said=$(mktemp)
    mmdebstrap --quiet --variant="$variant" --include="$packages" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
        "$@" "$suite" "$target" - <<<"$list" 2>"$said" || status=$?
    if [ $status != 0 ]; then
        cat "$said" >&2
        ! grep -qE "$unreachable" "$said" || status=$no_packages
    fi
    rm "$said"
    [ $status = 0 ] || exit "$status"
}

# modules_into KERNEL-FOLDER TARGET NAME…: copies the modules and what they need, flat, with the
# order to insert them in `order`.
modules_into() {
    local kernel=$1 target=$2 version path
    shift 2
    version=$(cat "$kernel/version")
    mkdir -p "$target"
    for name in "$@"; do
        /sbin/modprobe -d "$kernel" -S "$version" --show-depends "$name"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$target/.paths"
    while read -r path; do
        cp "$path" "$target/"
        basename "$path"
    done <"$target/.paths" >"$target/order"
    rm "$target/.paths"
}

# busybox_into PACKAGES TARGET: the static shell, with the applets an init needs.
busybox_into() {
    mkdir -p "$2"/{bin,sbin,dev,proc,sys,run,tmp,root,etc,var/log}
    cp "$1/bin/busybox" "$2/bin/busybox"
    "$2/bin/busybox" --list-full | while read -r applet; do
        mkdir -p "$2/$(dirname "$applet")"
        [ -e "$2/$applet" ] || ln -s /bin/busybox "$2/$applet"
    done
}

# pack FOLDER FILE: an initramfs, not compressed: unpacking costs more than reading under emulation.
pack() {
    (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --quiet --owner=0:0) >"$2"
}
