# Sourced by the programs of images/ab. Progress lines have one stable form, as in the initrd:
#   attestbed-guest: <seconds since the kernel started> <event> key=value...

GLOBAL=8be4df61-93ca-11d2-aa0d-00e098032b8c
LOADER=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f

say() {
  read -r uptime _ </proc/uptime
  echo "attestbed-guest: $uptime $*" >/dev/console
}

# option NAME DEFAULT: the value of the last NAME=VALUE on the kernel command line, in $value.
option() {
  value=$2
  for word in $command_line; do
    case $word in "$1="*) value=${word#*=} ;; esac
  done
}

# efi_numbers NAME: the 16-bit numbers of a boot variable as efibootmgr writes them (0001,0003), in $numbers; empty
# where there is none. The first two words are its attributes.
efi_numbers() {
  set -- $(od -An -v -tx2 "/sys/firmware/efi/efivars/$1-$GLOBAL" 2>/dev/null | tr a-f A-F)
  numbers=
  [ $# -gt 2 ] || return 0
  shift 2
  numbers=$(IFS=,; echo "$*")
}

# What systemd-boot counts: the path of the entry with its tries, in $counted; empty where it counts none.
counted_entry() {
  counted=$(tail -c +5 "/sys/firmware/efi/efivars/LoaderBootCountPath-$LOADER" 2>/dev/null | tr -d '\0')
}

# What the firmware says of this boot: entry=0003 next= order=0001,0003
say_entry() {
  efi_numbers BootCurrent; current=$numbers
  efi_numbers BootNext; next=$numbers
  efi_numbers BootOrder; order=$numbers
  counted_entry
  say entry current=$current next=$next order=$order counted=$counted
}

# esp: mounts the ESP on /efi, synchronously, where it is not.
esp() {
  mountpoint -q /efi && return
  modprobe -a vfat nls_cp437 nls_ascii 2>/dev/null
  mount -t vfat -o umask=0077 "$(partition esp)" /efi
}

# partition LABEL: the device of a partition.
partition() {
  for uevent in /sys/class/block/*/uevent; do
    grep -qxF "PARTNAME=$1" "$uevent" || continue
    uevent=${uevent%/uevent}
    echo "/dev/${uevent##*/}"
    return
  done
  return 1
}
