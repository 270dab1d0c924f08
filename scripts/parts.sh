# shellcheck shell=bash
# The real parts that the demo and the tests need: installed where this user may, reported where not.
# Sourced by the other scripts; changes nothing when it is read.

# The names in VIRSHLE_REQUIRE.
parts=(ovs dpdk ch kvm passt reflink fuse sshd rsync cloud-init cloud-init-current dhcp nftables networkd qemu-img packers openssl root)

say() { printf '\n== %s\n' "$*"; }
is_root() { [ "$(id -u)" = 0 ]; }

# Debian keeps two switches side by side; only the one of openvswitch-switch-dpdk knows vhost-user.
vswitchd_dpdk=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
policy=/usr/sbin/policy-rc.d

# Installs Debian packages that are missing. The services they bring are neither started now nor
# enabled for the next boot.
install_packages() {
  if ! command -v apt-get >/dev/null || ! is_root; then return 0; fi
  local missing=() package had_links
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  if [ ! -e $policy ]; then
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy
  fi
  # Until its services are disabled, a cloud-init that comes now must keep off this host.
  if [ ! -e /etc/cloud ]; then
    cloud_off_is_ours=yes
    mkdir /etc/cloud && touch /etc/cloud/cloud-init.disabled
  fi
  had_links=$(enabled_links)
  apt-get update -qq || true
  # One that this release does not have must not keep the others away.
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
    || for package in "${missing[@]}"; do
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null \
        || printf 'cannot install %s\n' "$package" >&2
    done
  disable_what_came "$had_links"
  restore_policy
  for package in "${missing[@]}"; do
    ! dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || installed+=("$package")
  done
}
installed=()

# The links by which systemd starts things at boot.
enabled_links() {
  find /etc/systemd/system /etc/systemd/user -path '*.wants/*' -type l 2>/dev/null | sort || true
}

# Disables the units that are enabled now and were not when enabled_links printed $1.
disable_what_came() {
  local link
  comm -13 <(printf '%s\n' "$1") <(enabled_links) | while read -r link; do
    case $link in
      /etc/systemd/user/*) systemctl --global --quiet disable "${link##*/}" >/dev/null 2>&1 || rm -f "$link" ;;
      *) systemctl --quiet disable "${link##*/}" >/dev/null 2>&1 || rm -f "$link" ;;
    esac
  done
}

install_parts() {
  install_packages build-essential openvswitch-switch openvswitch-switch-dpdk xfsprogs btrfs-progs \
    e2fsprogs util-linux qemu-utils mtools dosfstools iproute2 openssh-server openssh-client kmod rsync cloud-init \
    gzip xz-utils zstd lz4 lzip bindfs openssl nftables dnsmasq-base kea-dhcp4-server busybox ethtool
  get_current_cloud_init
  get_passt
}

# Unpacks the cloud-init of Debian's newest suite, which is Python for any host, for the tests that let
# two versions read what `v` writes.
get_current_cloud_init() {
  local home=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/virshle/cloud-init-current
  export CLOUD_INIT_CURRENT=${CLOUD_INIT_CURRENT:-$home/usr/lib/python3/dist-packages}
  has cloud-init-current || unpack_of sid "$home" cloud-init || true
}

# Has a passt that knows vhost-user, if only in the cache.
get_passt() {
  ! has passt || return 0
  ! cache_passt || export PASST=$passt_home/passt
}

# Unpacks a newer Debian's passt beside the C library that it needs, as passt_home, whatever this host has:
# for a host of another suite, too.
cache_passt() {
  # Tests run it as other users, too, and none of them gets into root's home.
  passt_home=/var/tmp/virshle-passt-$(id -u)
  [ ! -e "$passt_home" ] || [ -O "$passt_home" ] || return 1
  [ ! -x "$passt_home/passt" ] || return 0
  unpack_of trixie "$passt_home" passt libc6 || return 1
  cat >"$passt_home/passt" <<'END'
#!/bin/sh
# A machine's start waits for it: no other program is run but by a link to this one.
program=$0
[ ! -L "$program" ] || program=$(readlink -f "$program")
tree=${program%/*}
for loader in "$tree"/usr/lib/*/ld-linux-*.so.*; do :; done
exec "$loader" --library-path "${loader%/*}" "$tree/usr/bin/passt" "$@"
END
  chmod 755 "$passt_home/passt"
  "$passt_home/passt" --version >/dev/null
}

# Debian's firmware for cloud-hypervisor, and the stub of unified kernel images: into $firmware_home.
cache_firmware() {
  firmware_home=/var/tmp/virshle-firmware-$(id -u)
  [ ! -e "$firmware_home" ] || [ -O "$firmware_home" ] || return 1
  [ ! -e "$firmware_home/usr/share/cloudhv-efi-x86-64/CLOUDHV.fd" ] || return 0
  unpack_of sid "$firmware_home" cloudhv-efi-x86-64 systemd-boot-efi
}

# unpack_of SUITE DIRECTORY PACKAGE…: unpacks packages of another suite of Debian, and installs nothing: what
# they are for is skipped where they can't be had. Kept for the next time.
unpack_of() {
  local suite=$1 home=$2 output
  shift 2
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
  say "unpacking the $* of Debian's $suite into $home"
  rm -rf "$home.new" && mkdir -p "$(dirname "$home")" && (umask 022 && mkdir "$home.new") || return 1
  if output=$(unpack_into "$home.new" "$suite" "$@" 2>&1); then
    rm -rf "$home" && mv "$home.new" "$home"
  else
    printf 'cannot have it: %s\n' "$output" >&2
    rm -rf "$home.new"
    return 1
  fi
}

# unpack_into DIRECTORY SUITE PACKAGE…: by an apt of its own lists, which checks the signatures, from the mirror
# that this host's apt knows.
unpack_into() (
  set -euo pipefail
  cd "$1"
  suite=$2
  shift 2
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | sed -n 1p)
  [ -n "$mirror" ] || { echo 'apt knows no mirror of Debian: run apt-get update'; exit 1; }
  mkdir -p apt/lists/partial apt/archives/partial
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite" >apt/sources.list
  : >apt/status
  get() {
    apt-get -qq -o Dir::Etc::sourcelist="$PWD/apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$PWD/apt" \
      -o Dir::State::lists="$PWD/apt/lists" -o Dir::State::status="$PWD/apt/status" -o Dir::Cache="$PWD/apt" \
      -o APT::Sandbox::User=root -o Acquire::Languages=none \
      -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
  }
  get update && get download "$@"
  for package in *.deb; do dpkg-deb -x "$package" .; done
  rm -rf apt ./*.deb
)

# Reserves the hugepages that DPDK needs for itself, if root may and there is memory.
reserve_hugepages() {
  local had
  had=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null) || return 0
  if ! is_root || [ "$had" -ge 512 ]; then return 0; fi
  hugepages_before=$had
  echo 512 2>/dev/null >/proc/sys/vm/nr_hugepages || true
}

restore_policy() {
  [ -z "${policy_is_ours:-}" ] || rm -f $policy
  policy_is_ours=
  [ -z "${cloud_off_is_ours:-}" ] || rm -f /etc/cloud/cloud-init.disabled
  [ -z "${cloud_off_is_ours:-}" ] || rmdir --ignore-fail-on-non-empty /etc/cloud 2>/dev/null || true
  cloud_off_is_ours=
}

restore_hugepages() {
  [ -z "${hugepages_before:-}" ] || echo "$hugepages_before" >/proc/sys/vm/nr_hugepages || true
  hugepages_before=
}

# Makes a directory for everything that is temporary, also for what a killed test can't remove; it goes
# with restore_host. A script that another runs is in the other's.
private_tmp() {
  [ -z "${VIRSHLE_TMP:-}" ] || return 0
  # Short, for the paths of Unix sockets are; open to all, for tests run as other users, too.
  private_tmp_is=$(mktemp -d "${TMPDIR:-/tmp}/vt.XXXXXX")
  chmod 1777 "$private_tmp_is"
  export TMPDIR=$private_tmp_is VIRSHLE_TMP=$private_tmp_is
}

remove_private_tmp() {
  [ -n "${private_tmp_is:-}" ] || return 0
  # A test that was killed can't unmount.
  local mounted
  ! is_root || awk -v below="$private_tmp_is/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r \
    | while read -r mounted; do umount -q --lazy "$mounted" || true; done
  rm -rf --one-file-system "$private_tmp_is" || true
  private_tmp_is=
}

# Gives the host back as it was but for the packages, which it names; for `trap … EXIT`.
restore_host() {
  restore_policy
  restore_hugepages
  remove_private_tmp
  [ ${#installed[@]} -eq 0 ] \
    || printf '\nstays on this host, none of it enabled at boot: the packages %s, and what they need\n' "${installed[*]}"
  installed=()
}

# Starts an Open vSwitch that keeps its things in the directory $1, with DPDK if that is here. Only for
# a network, mount and process namespace of one's own: it takes /run/openvswitch, and ends with them.
start_switch() {
  local vswitchd=/usr/lib/openvswitch-switch/ovs-vswitchd
  [ -x $vswitchd ] || vswitchd=ovs-vswitchd
  ip link set lo up
  mkdir -p /run/openvswitch && mount -t tmpfs tmpfs /run/openvswitch
  export OVS_RUNDIR=/run/openvswitch
  ovsdb-tool create "$1/conf.db" /usr/share/openvswitch/vswitch.ovsschema
  ovsdb-server "$1/conf.db" --remote=punix:/run/openvswitch/db.sock --pidfile --detach \
    --log-file="$1/ovsdb-server.log" >/dev/null 2>&1
  ovs-vsctl --no-wait --timeout=10 init
  if has dpdk; then
    vswitchd=$vswitchd_dpdk
    mkdir "$1/hugepages" && mount -t hugetlbfs -o pagesize=2M none "$1/hugepages"
    ovs-vsctl --no-wait --timeout=10 set Open_vSwitch . other_config:dpdk-init=true \
      other_config:pmd-maxsleep=1000
  fi
  $vswitchd unix:/run/openvswitch/db.sock --pidfile --detach --log-file="$1/vswitchd.log" \
    >/dev/null 2>&1
}

# Tells whether this host has a part, as the testkit does.
has() {
  case $1 in
    ovs) is_root && command -v ovsdb-server >/dev/null \
      && { command -v ovs-vswitchd >/dev/null || [ -x /usr/lib/openvswitch-switch/ovs-vswitchd ]; } ;;
    dpdk) has ovs && [ -x $vswitchd_dpdk ] \
      && [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages 2>/dev/null || echo 0)" -ge 512 ] ;;
    ch) [ -x "${CLOUD_HYPERVISOR:-$(command -v cloud-hypervisor || true)}" ] ;;
    kvm) [ -r /dev/kvm ] && [ -w /dev/kvm ] ;;
    # The name that is looked up, or what get_passt has unpacked. Older ones print their help as an error.
    passt) "${PASST:-passt}" --help 2>&1 | grep -q -e --vhost-user ;;
    reflink) is_root && command -v mkfs.xfs >/dev/null && command -v mkfs.btrfs >/dev/null \
      && [ -e /dev/loop-control ] ;;
    fuse) is_root && command -v bindfs >/dev/null && [ -e /dev/fuse ] ;;
    sshd) [ -x /usr/sbin/sshd ] && command -v ssh >/dev/null && command -v ssh-keygen >/dev/null ;;
    rsync) command -v rsync >/dev/null ;;
    cloud-init) is_root && command -v cloud-init >/dev/null && [ -e /etc/cloud/cloud.cfg ] \
      && [ -e /dev/loop-control ] ;;
    cloud-init-current) [ -e "${CLOUD_INIT_CURRENT:-/nonexistent}/cloudinit/net" ] && command -v mcopy >/dev/null ;;
    dhcp) is_root && command -v dnsmasq >/dev/null && command -v kea-dhcp4 >/dev/null \
      && command -v busybox >/dev/null ;;
    networkd) is_root && [ -x /lib/systemd/systemd-networkd ] ;;
    nftables) is_root && command -v nft >/dev/null && command -v dnsmasq >/dev/null \
      && command -v busybox >/dev/null && command -v ethtool >/dev/null ;;
    qemu-img) command -v qemu-img >/dev/null && command -v qemu-io >/dev/null ;;
    packers) command -v gzip >/dev/null && command -v xz >/dev/null && command -v zstd >/dev/null \
      && command -v pzstd >/dev/null ;;
    openssl) command -v openssl >/dev/null ;;
    root) is_root ;;
    *) return 1 ;;
  esac
}

# What a part is, with its version where it has one; how to get it where it is missing.
describe() {
  case $1 in
    ovs) ! has ovs || { ovs-vsctl --version | sed -n 1p; return; }
      echo 'root, and the package openvswitch-switch' ;;
    dpdk) ! has dpdk || { echo 'ovs-vswitchd with DPDK, and hugepages for it'; return; }
      echo 'root, the package openvswitch-switch-dpdk, sysctl vm.nr_hugepages=512' ;;
    ch) ! has ch || { "${CLOUD_HYPERVISOR:-cloud-hypervisor}" --version | sed -n 1p; return; }
      echo "the static binary of cloud-hypervisor's latest release, in PATH or named by CLOUD_HYPERVISOR" ;;
    kvm) ! has kvm || { echo /dev/kvm; return; }
      echo 'hardware virtualization, and the right to open /dev/kvm' ;;
    passt) ! has passt || { printf 'passt (%s)\n' "${PASST:-$(command -v passt)}"; return; }
      echo 'the package passt, of 2025-02 or later, in PATH or named by PASST' ;;
    reflink) ! has reflink || { mkfs.xfs -V; return; }
      echo 'root, loop devices, the packages xfsprogs and btrfs-progs' ;;
    fuse) ! has fuse || { bindfs --version; return; }
      echo 'root, /dev/fuse, the package bindfs' ;;
    sshd) ! has sshd || { ssh -V 2>&1; return; }
      echo 'the packages openssh-server and openssh-client' ;;
    rsync) ! has rsync || { rsync --version | sed -n 1p; return; }
      echo 'the package rsync' ;;
    cloud-init) ! has cloud-init || { cloud-init --version; return; }
      echo 'root, loop devices, the package cloud-init' ;;
    cloud-init-current) ! has cloud-init-current || { echo "$CLOUD_INIT_CURRENT"; return; }
      echo "a newer Debian's package cloud-init, unpacked, its dist-packages named by CLOUD_INIT_CURRENT" ;;
    dhcp) ! has dhcp || { echo "dnsmasq, Kea $(kea-dhcp4 -v)"; return; }
      echo 'root, the packages dnsmasq-base, kea-dhcp4-server, busybox' ;;
    networkd) ! has networkd || { echo systemd-networkd; return; }
      echo 'root, and the package systemd' ;;
    nftables) ! has nftables || { nft --version; return; }
      echo 'root, the packages nftables, dnsmasq-base, busybox, ethtool' ;;
    qemu-img) ! has qemu-img || { qemu-img --version | sed -n 1p; return; }
      echo 'the package qemu-utils' ;;
    packers) ! has packers || { echo 'gzip, xz, zstd, pzstd'; return; }
      echo 'the packages gzip, xz-utils, zstd' ;;
    openssl) ! has openssl || { openssl version; return; }
      echo 'the package openssl' ;;
    root) ! has root || { echo 'devices, mounts and namespaces can be made'; return; }
      echo 'run as root' ;;
  esac
}

tell_parts() {
  local part
  for part in "${parts[@]}"; do
    if has "$part"; then
      printf '  %-10s real     %s\n' "$part" "$(describe "$part")"
    else
      printf '  %-10s MISSING  needs %s\n' "$part" "$(describe "$part")"
    fi
  done
}

# The names in VIRSHLE_REQUIRE for the parts that are here.
real_parts() {
  local part names=
  for part in "${parts[@]}"; do
    if has "$part"; then names=${names:+$names,}$part; fi
  done
  printf '%s' "$names"
}

# Fails when VIRSHLE_REQUIRE names a part that is not here.
insist_on_parts() {
  local part status=0
  for part in ${VIRSHLE_REQUIRE//,/ }; do
    has "$part" || { printf 'VIRSHLE_REQUIRE names %s: needs %s\n' "$part" "$(describe "$part")" >&2; status=1; }
  done
  return $status
}
