# Sourced by open-root: a root that is handed out in clear, known by a digest, and that this guest encrypts itself at its
# first boot. What lies on the disk decides nothing: the host may have written all of it, between any two reads.
#
# Kernel command line, where it counts (measured.sh):
#   attestbed.image=sha256:HEX     digest of the partition `root` as it is handed out
#   attestbed.receipt=RESOURCE     what the broker gives for the proof (default: default/root/receipt)
#
# The partition `luks-header` is empty at first. Until the broker gave a receipt this guest takes no root that does not read
# as the image from its first byte to its last, also where it finds it encrypted: the key is for this guest, and whoever
# has the disk while it is encrypted can write what is not encrypted yet. From then on the broker gives the key for the
# header that the proof named, and for no other.

WORK=/run/first-boot
CIPHER=aes-xts-plain64
# The key has 256 bits: nothing is gained by stretching it.
LUKS_FORMAT="--type luks2 --cipher $CIPHER --key-size 512 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --hash sha256"
LUKS_AREAS='--luks2-metadata-size 16k --luks2-keyslots-size 512k'

# Opens the root as /dev/mapper/root, or gives up.
open_first_boot() {
  name_image || give_up_here image why="$reason"
  option attestbed.resource default/root/key; resource=$value
  option attestbed.receipt default/root/receipt; receipt=$value
  mkdir -p -m 700 $WORK
  find_partition luks-header; header=$device
  find_partition root
  copy_header
  root_state
  say first-boot state="$state"
  case $state in
    plain)
      digest=$(digest_of_file "$device")
      [ "$digest" = "$image" ] || give_up_here image why=altered digest="$digest"
      get_key '{"digest":"'"$digest"'","state":"plain"}'
      luks_encrypt --encrypt --init-only $LUKS_FORMAT $LUKS_AREAS --resilience checksum || give_up_here encryption step=init
      encrypt_on ;;
    partial) get_key '{"state":"partial"}'; repair; encrypt_on ;;
    whole) get_key '{"header":"'"$(digest_of_file $WORK/header)"'","state":"whole"}' ;;
  esac
  [ -e $WORK/proven ] || header_is_ours || give_up_here header why="$reason"
  systemd-cryptsetup attach root "$device" $WORK/key "header=$WORK/header,headless=true,tries=1" >/dev/console 2>&1 ||
    give_up_here unlock by="$unlock"
  rm $WORK/key
  [ -e $WORK/proven ] || prove
}

# Sets $image, of a word that counts; where that fails, $reason.
name_image() {
  count_words attestbed.image
  reason=named-twice
  [ $words = 1 ] || return 1
  reason=unmeasured
  measured_words || return 1
  option attestbed.image ''; image=${value#sha256:}
  reason=no-digest
  case $image in *[!0-9a-f]*) return 1 ;; esac
  [ ${#image} = 64 ]
}

# The header is read once; what is decided, said and opened is this copy.
copy_header() { cat "$header" >$WORK/header || give_up_here header why=unreadable; }

# Sets $state: plain, partial, whole.
root_state() {
  state=plain
  cryptsetup isLuks --type luks2 $WORK/header || return 0
  state=whole
  ! cryptsetup luksDump $WORK/header 2>/dev/null | grep -q '^Requirements:.*reencrypt' || state=partial
}

# get_key STATEMENT: the key in a file, and beside it one that says that the broker has the proof, where it has.
get_key() {
  rm -f $WORK/proven
  ask_broker "$1" "$resource" $WORK/key "$receipt" $WORK/proven || give_up_here key
}

ask_broker() {
  statement=$1; shift
  mkdir -p -m 700 $WORK/attester
  ROOT_STATEMENT=$statement RUNTIME_DIRECTORY=$WORK/attester /usr/lib/attestbed/attester "$@" >/dev/console 2>&1
  asked=$?
  # The key of the root is in there, and what opens it; /run goes over to the root's own system.
  rm -rf $WORK/attester
  return $asked
}

# The power may have gone between data and header: what was under way then is made again from its checksums.
repair() {
  cryptsetup repair --batch-mode --header "$header" --key-file $WORK/key "$device" || give_up_here encryption step=repair
}

# Goes on where the header says, also after a power cut, and says how far it is.
encrypt_on() {
  say first-boot encrypting
  rm -f $WORK/broken
  { luks_encrypt --resume-only --hotzone-size 256k --progress-frequency 1 --progress-json || : >$WORK/broken; } 2>&1 |
    while read -r progress; do
      say first-boot progress "$(echo "$progress" | tr -d '{}" ')"
    done
  [ ! -e $WORK/broken ] || give_up_here encryption step=resume
  copy_header
  root_state
  [ $state = whole ] || give_up_here encryption state="$state"
  say first-boot encrypted
}

luks_encrypt() {
  cryptsetup reencrypt "$@" --batch-mode --header "$header" --key-file $WORK/key "$device"
}

# Whether all of the root is under the one cipher that this guest encrypts with, and so is the key to it. A header that
# somebody else wrote could have a cipher that encrypts nothing, and opens with any key.
header_is_ours() {
  reason=no-luks
  [ $state = whole ] && cryptsetup luksDump --dump-json-metadata $WORK/header >$WORK/metadata 2>/dev/null || return 1
  reason=foreign
  # A keyslot and a segment, each member on a line of its own.
  [ "$(count_lines '"encryption":')" = 2 ] && [ "$(count_lines '"encryption":"'$CIPHER'",\{0,1\}$')" = 2 ] &&
    [ "$(count_lines '"type":"crypt",\{0,1\}$')" = 1 ] && [ "$(count_lines '"type":"linear"')" = 0 ]
}

# count_lines MEMBER: of the metadata that begin with it.
count_lines() { grep -c "^ *$1" $WORK/metadata; }

# The root reads as the image, all of it, through the encryption that lies on it now: that, and under which header, is what
# the broker is told. Without its receipt nothing of the root is used.
prove() {
  digest=$(digest_of_file /dev/mapper/root)
  [ "$digest" = "$image" ] || give_up_here image why=altered digest="$digest"
  statement='{"digest":"'$digest'","header":"'$(digest_of_file $WORK/header)'","state":"whole"}'
  ask_broker "$statement" "$receipt" $WORK/proven || give_up_here proof
  say first-boot proven
}

digest_of_file() {
  sum=$(sha256sum <"$1")
  echo "${sum%% *}"
}
