# networkd.sh DIRECTORY NAME=MAC…: prints the routes that systemd-networkd makes of the files in DIRECTORY,
# for an interface of each NAME that has a cable.
#
# Runs in namespaces of its own (mount, network, processes), whose end takes away all that it made.
set -eu
directory=$1
shift
mount --make-rprivate /
mount -t tmpfs tmpfs /run
# Read-only, as in a container: there is no udev that would name the interfaces.
mount -t sysfs -o ro sysfs /sys
mkdir -p /run/systemd/network /run/systemd/netif/links /run/systemd/netif/leases /run/systemd/netif/lldp
cp "$directory"/* /run/systemd/network/
chown -R systemd-network: /run/systemd/netif
ip link set lo up
for interface; do
  name=${interface%%=*}
  ip link add "$name" address "${interface#*=}" type veth peer name "peer-$name"
  ip link set "peer-$name" up
  echo 0 >"/proc/sys/net/ipv6/conf/$name/accept_dad"
done
exec 3< <(exec ip monitor route)
/lib/systemd/systemd-networkd >/run/log 2>&1 &
# Each change of a route is a line; the last that is waited for is a default route of each family.
seen() { [ -n "$(ip -4 route show default)" ] && [ -n "$(ip -6 route show default)" ]; }
while read -r -t 60 _ <&3; do ! seen || break; done
seen || cat /run/log
ip -4 route show
ip -6 route show
