# shellcheck shell=bash
# The real parts that the demo and the tests need: installed where this user may, told where not.
# Sourced by the other scripts; changes nothing when it is read.

say() { printf '\n== %s\n' "$*"; }

# Installs Debian packages that are missing, without starting the services they bring.
install_packages() {
  command -v apt-get >/dev/null || return 0
  [ "$(id -u)" = 0 ] || return 0
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=yes
  fi
  apt-get update -qq || true
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    || printf 'could not install all of: %s\n' "${missing[*]}" >&2
  [ -z "$made" ] || rm -f $policy
}

install_parts() {
  install_packages build-essential openvswitch-switch openvswitch-switch-dpdk xfsprogs btrfs-progs \
    e2fsprogs util-linux qemu-utils mtools dosfstools iproute2 openssh-server openssh-client kmod
}

has_ovs() { [ "$(id -u)" = 0 ] && command -v ovsdb-server >/dev/null; }
has_dpdk() {
  [ "$(id -u)" = 0 ] && [ -x /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk ] \
    && [ "$(cat /proc/sys/vm/nr_hugepages 2>/dev/null || echo 0)" -ge 512 ]
}
has_ch() { [ -x "${CLOUD_HYPERVISOR:-$(command -v cloud-hypervisor || true)}" ]; }
has_kvm() { [ -r /dev/kvm ] && [ -w /dev/kvm ]; }
has_sshd() { command -v sshd >/dev/null || [ -x /usr/sbin/sshd ]; }
has_reflink() {
  [ "$(id -u)" = 0 ] && command -v mkfs.xfs >/dev/null && command -v mkfs.btrfs >/dev/null \
    && [ -e /dev/loop-control ]
}

# Reserves the hugepages that DPDK needs for itself, if root may and there is memory.
reserve_hugepages() {
  local had
  had=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null) || return 0
  [ "$(id -u)" = 0 ] && [ "$had" -lt 512 ] || return 0
  echo 512 >/proc/sys/vm/nr_hugepages 2>/dev/null || return 0
  HUGEPAGES_BEFORE=$had
}

restore_hugepages() {
  [ -z "${HUGEPAGES_BEFORE:-}" ] || echo "$HUGEPAGES_BEFORE" >/proc/sys/vm/nr_hugepages || true
}

# The words of VIRSHLE_REQUIRE for the parts that are here.
real_parts() {
  local part words=
  for part in ovs dpdk ch kvm reflink sshd; do
    if "has_$part"; then words=${words:+$words,}$part; fi
  done
  [ "$(id -u)" != 0 ] || words=${words:+$words,}root
  printf '%s' "$words"
}

tell_parts() {
  local part
  for part in ovs dpdk ch kvm reflink sshd; do
    if "has_$part"; then printf '  %-8s real\n' "$part"; else printf '  %-8s absent: its tests are skipped\n' "$part"; fi
  done
}
