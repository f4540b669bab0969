# Sourced by the init of every image built here. Needs busybox only.
#
# Progress lines have one stable form, for the harness and for people:
#   attestbed-initrd: <seconds since the kernel started> <event> key=value...

say() {
  read -r uptime _ </proc/uptime
  echo "attestbed-initrd: $uptime $*" >/dev/console
}

mount_kernel_filesystems() {
  mount -t devtmpfs dev /dev 2>/dev/null
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t tmpfs -o mode=755,nosuid,nodev run /run
  read -r command_line </proc/cmdline
}

# option NAME DEFAULT: the value of the last NAME=VALUE on the kernel command line, in $value.
option() {
  value=$2
  for word in $command_line; do
    case $word in "$1="*) value=${word#*=} ;; esac
  done
}

# Names of modules come from the recipe; one that this kernel lacks or refuses is not worth a failed boot here:
# what needs it says so itself.
load_modules() {
  [ ! -s /etc/modules ] || modprobe -a $(cat /etc/modules) 2>/dev/null
}

mount_efivarfs() {
  [ ! -d /sys/firmware/efi/efivars ] || mount -t efivarfs efivarfs /sys/firmware/efi/efivars 2>/dev/null
}

# The registers before anything depends on them: what a wrong policy is compared with.
say_pcrs() {
  bank=/sys/class/tpm/tpm0/pcr-sha256
  [ -d $bank ] || { say tpm present=no; return; }
  read -r pcr4 <$bank/4
  read -r pcr7 <$bank/7
  read -r pcr11 <$bank/11
  read -r pcr12 <$bank/12
  read -r pcr13 <$bank/13
  say pcr-sha256 4=$pcr4 7=$pcr7 11=$pcr11 12=$pcr12 13=$pcr13
}

# udev is not there to do it.
link_virtio_ports() {
  for port in /sys/class/virtio-ports/*; do
    [ -s "$port/name" ] || continue
    mkdir -p /dev/virtio-ports
    read -r name <"$port/name"
    ln -sf "../${port##*/}" "/dev/virtio-ports/$name"
  done
}

# give_up REASON...: the boot cannot go on. As the command line says: power off, reset, or a panic that is seen.
give_up() {
  say failed "$@"
  option attestbed.on-failure prompt
  case $value in
    poweroff) poweroff -f ;;
    reboot) reboot -f ;;
  esac
  exit 1
}
