# Sourced by the attester: the way to the broker, and to nobody else.

# The interface of the machine, which is the harness's own wiring and nothing that is trusted.
interface=eth0
address=10.0.2.15

# reach_only https://ADDRESS:PORT: a route to this one host; no default route, no resolver, no packets from others.
reach_only() {
  host=${1#https://}
  host=${host%:*}
  [ -d /sys/class/net/$interface ] || return 1
  echo 1 >/proc/sys/net/ipv6/conf/$interface/disable_ipv6 2>/dev/null
  ip link set $interface up &&
    ip addr replace $address/32 dev $interface &&
    ip route replace "$host/32" dev $interface src $address
}
