# Sourced by open-root, after measured.sh: a root that the broker opens once, and the vTPM from then on
# (attestbed.unlock=sealed).
#
# Whoever has the disk writes its header, and whoever knows a vTPM's storage root key can seal to it. So a seal counts only
# where the vTPM itself remembers it: in an NV index that can be written in no other registers than those of this boot. It
# holds the digest of the LUKS2 metadata that the guest sealed, which name each key slot, token and cipher. The guest reads
# the header once, into its memory, and all that follows works on that copy: a disk that answers otherwise the second time
# is not asked. Where anything of this is not so, the broker is asked, which knows best; never the other way round.

SEAL=/run/attestbed-seal
# In the range of the owner's own indices (TCG registry of reserved TPM 2.0 handles).
SEAL_INDEX=0x01800a78
# Firmware, what it booted, Secure Boot, UKI and phase, what was added to it: as they are when the broker is asked.
SEALED_PCRS=0,4,7,11,12
# TPMA_NV policywrite, authread, no_da and written (TPM 2.0 Library, part 2, 13.4).
SEAL_ATTRIBUTES=0x22040008
HEADER_MIB=16
# LUKS2 on-disk format, 2 and 3: two copies of binary header and JSON, this much each, and their length at byte 8.
METADATA_BYTES=16384
METADATA_LENGTH=0000000000004000
SECOND_MAGIC=534b554cbabe

# Opens $device. Sets $opened_by; where that fails, $reason. It leaves nothing in memory that opens it once more.
open_sealed() {
  export TPM2TOOLS_TCTI=device:/dev/tpmrm0
  umask 077
  # One that was stopped left what it had.
  rm -rf $SEAL
  mkdir $SEAL
  opened_by=tpm2
  open_and_seal
  opened=$?
  rm -rf $SEAL
  return $opened
}

# open_copied KEY [OPTIONS]: opens $device once, by a header that was looked at; where that fails, $reason.
open_copied() {
  umask 077
  rm -rf $SEAL
  mkdir $SEAL
  take_header && { reason=not-opened; attach_copy "$@"; }
  opened=$?
  rm -rf $SEAL
  return $opened
}

open_and_seal() {
  take_header || return 1
  if seal_holds; then
    say seal holds
    attach_copy - ,tpm2-device=auto && return
    reason=not-unsealed
  fi
  say seal unused why="$reason"
  opened_by=broker reason=not-attested
  ask_for_key && attach_copy $SEAL/key || return 1
  # Without a seal the next boot asks the broker again.
  if seal_root; then say sealed pcrs=$SEALED_PCRS; else say seal failed why="$reason"; fi
}

# attach_copy KEY [OPTIONS]
attach_copy() {
  attach_root "$1" "header=$SEAL/header,headless=true,tries=1${2-}"
}

# The key of the root, in memory that no disk backs.
ask_for_key() {
  mkdir $SEAL/attester
  RUNTIME_DIRECTORY=$SEAL/attester /usr/lib/attestbed/attester >$SEAL/key
  asked=$?
  rm -rf $SEAL/attester
  return $asked
}

take_header() {
  reason=no-header
  dd if="$device" of=$SEAL/header bs=1M count=$HEADER_MIB 2>/dev/null || return 1
  # Where the first copy of the metadata is whole, libcryptsetup looks for the second behind it; else at any of these.
  reason=other-layout
  [ "$(cut_hex $SEAL/header 8 8)" = $METADATA_LENGTH ] || return 1
  for kib in 32 64 128 256 512 1024 2048 4096; do
    [ "$(cut_hex $SEAL/header $((kib * 1024)) 6)" != $SECOND_MAGIC ] || return 1
  done
  # What is not encrypted opens with any key, or with the right one, if the host kept its slot and wrote another segment: one
  # that is mapped as it is (linear), by the disk itself (hw-opal), or in part (a reencryption under way). libcryptsetup
  # escapes nothing in its JSON, so no word can hide there.
  reason=null-cipher
  ! json | tr '\0' '\n' | grep -qF -e cipher_null -e "\\" -e linear -e hw-opal -e reencrypt
}

# Whether the vTPM remembers that a boot like this one sealed this very header; else $reason.
seal_holds() {
  reason=nothing-sealed
  public=$(tpm2 nvreadpublic $SEAL_INDEX 2>/dev/null) || return 1
  reason=sealed-by-others
  case $public in *"value: $SEAL_ATTRIBUTES"*) ;; *) return 1 ;; esac
  registers_policy || return 1
  case $public in *"authorization policy: $policy"*) ;; *) return 1 ;; esac
  reason=other-header
  tpm2 nvread -C $SEAL_INDEX -o $SEAL/remembered $SEAL_INDEX >/dev/null 2>&1 || return 1
  [ "$(hex_of $SEAL/remembered)" = "$(metadata_digest)" ]
}

# Has the vTPM keep a new key for the root, and remember the header that has it. The key of the broker opens the header.
seal_root() {
  # What is there may be anybody's: for the same registers systemd-cryptenroll would take it for its own.
  reason=not-wiped
  systemd-cryptenroll --wipe-slot=tpm2 $SEAL/header >/dev/console 2>&1 || return 1
  reason=not-enrolled
  systemd-cryptenroll --unlock-key-file=$SEAL/key --tpm2-device=auto --tpm2-public-key= \
    --tpm2-pcrs="$(echo $SEALED_PCRS | tr , +)" $SEAL/header >/dev/console 2>&1 || return 1
  reason=not-written
  # First the disk, then the vTPM: in between nothing counts as sealed.
  dd if=$SEAL/header of="$device" bs=1M conv=notrunc,fsync 2>/dev/null || return 1
  reason=not-remembered
  metadata_digest | xxd -r -p >$SEAL/metadata
  remember $SEAL/metadata
}

# remember FILE: 32 bytes. Who knows the vTPM can undo an index, and make it again; only these registers write to it.
remember() {
  registers_policy || return 1
  tpm2 nvundefine -Q -C o $SEAL_INDEX 2>/dev/null
  tpm2 nvdefine -Q -C o -s 32 -g sha256 -a 'policywrite|authread|no_da' -L $SEAL/policy $SEAL_INDEX || return 1
  tpm2 startauthsession -Q --policy-session -S $SEAL/session &&
    tpm2 policypcr -Q -S $SEAL/session -l sha256:$SEALED_PCRS &&
    tpm2 nvwrite -Q -C $SEAL_INDEX -P session:$SEAL/session -i "$1" $SEAL_INDEX
  remembered=$?
  tpm2 flushcontext $SEAL/session
  return $remembered
}

# Sets $policy: TPM2_PolicyPCR of the registers as they are, upper-case hex.
registers_policy() {
  tpm2 createpolicy -Q --policy-pcr -l sha256:$SEALED_PCRS -L $SEAL/policy || return 1
  policy=$(hex_of $SEAL/policy | tr a-f A-F)
  [ ${#policy} = 64 ]
}

metadata_digest() {
  digest=$(metadata | sha256sum)
  echo "${digest%% *}"
}

# Both copies of it, of the header that was read.
metadata() { dd if=$SEAL/header bs=$METADATA_BYTES count=2 2>/dev/null; }

json() {
  dd if=$SEAL/header bs=4096 skip=1 count=3 2>/dev/null
  dd if=$SEAL/header bs=4096 skip=5 count=3 2>/dev/null
}

hex_of() { xxd -p -c 64 "$1" | tr -d '\n'; }
