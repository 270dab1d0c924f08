# cloud_init.sh ROOT SEED MAC…: the first boot of a stock Debian as far as cloud-init is concerned,
# in the empty directory ROOT, with the disk image SEED and an interface eth0, eth1, … for each MAC.
#
# Runs in namespaces of its own (mount, network, host name, processes), whose end takes away all
# that it mounts. What cloud-init wrote stays in ROOT.
set -eu
root=$1 seed=$2
shift 2

number=0
for mac; do
  ip tuntap add "eth$number" mode tap
  ip link set "eth$number" address "$mac"
  number=$((number + 1))
done

cd "$root"
mkdir -p usr etc/systemd/network etc/ssh etc/sudoers.d etc/pam.d etc/default proc sys dev run tmp \
  var/lib var/log root home mnt
mount --make-rprivate /
mount --bind /usr usr
mount -o remount,bind,ro usr
for link in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$link" ]; then cp -P "/$link" .; fi
done
# Accounts as the packages base-passwd and systemd make them: nobody of this host.
cp usr/share/base-passwd/passwd.master etc/passwd
cp usr/share/base-passwd/group.master etc/group
echo 'systemd-network:x:998:998:systemd Network Management:/:/usr/sbin/nologin' >>etc/passwd
echo 'systemd-network:x:998:' >>etc/group
sed 's/:.*/:*:19000:0:99999:7:::/' etc/passwd >etc/shadow
sed 's/:.*/:*::/' etc/group >etc/gshadow
cp -a /etc/cloud /etc/os-release /etc/debian_version /etc/login.defs /etc/skel /etc/ld.so.cache \
  /etc/alternatives etc/
cp -a /etc/pam.d/. etc/pam.d/
cp -a /etc/default/useradd etc/default/
rm -f etc/cloud/cloud-init.disabled
# As images have it; others have to be made first.
echo 'locale: C.UTF-8' >etc/cloud/cloud.cfg.d/90_locale.cfg
echo localhost >etc/hostname
: >etc/machine-id

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mkdir -p run/systemd/system run/lock
mount -t tmpfs tmpfs dev
for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
ln -s /proc/self/fd dev/fd
loop=$(losetup --find --show --read-only "$seed")
trap 'losetup --detach "$loop"' EXIT
cp -a "$loop" dev/
# A kernel without FAT leaves the reading to mtools; mount(8) asks a program of this name first.
if ! grep -qw vfat /proc/filesystems && ! modprobe -q vfat; then
  mkdir sbin.d work && mount -t overlay -o "lowerdir=/usr/sbin,upperdir=sbin.d,workdir=work" none usr/sbin
  printf '#!/bin/sh\nmount -i -t tmpfs tmpfs "$2" && mcopy -s -n -i "$1" "::*" "$2"\n' >usr/sbin/mount.vfat
  chmod 755 usr/sbin/mount.vfat
fi

chroot . /bin/sh -eu <<'BOOT'
export PATH=/usr/sbin:/usr/bin
# As the generator does it: without a source of data for this machine there is no cloud-init.
if ! /usr/lib/cloud-init/ds-identify; then
  cat /run/cloud-init/ds-identify.log
  echo 'cloud-init finds no source of data'
  exit 1
fi
cp /run/cloud-init/cloud.cfg /var/log/found.cfg
cloud-init init --local
cloud-init init
cloud-init modules --mode=config
cloud-init modules --mode=final
hostname >/var/log/hostname
BOOT
