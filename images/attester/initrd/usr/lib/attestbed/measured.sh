# Sourced by the attester and by open-root: who gives the key, which broker to ask, and by what to know it; and by the init
# of images/verity. All come from places that the owner's broker, or the processor, sees measured: a host that could name
# another broker, or a seal of its own, would choose the disk that this guest opens.
# Words of the command line are measured as far as the vTPM is honest; init data is bound by the processor alone.

VARIABLES=/sys/firmware/efi/efivars
SECURE_BOOT=$VARIABLES/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
# The vendor of what loaders and stub say of themselves.
LOADER=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
STUB_EXTRA=io.systemd.stub.kernel-cmdline-extra
PCRS=/sys/class/tpm/tpm0/pcr-sha256
SMBIOS=/sys/firmware/dmi/tables/DMI
INIT_DATA=/sys/firmware/qemu_fw_cfg/by_name/opt/org.attestbed/init-data/raw
ZERO_PCR=0000000000000000000000000000000000000000000000000000000000000000

unmeasured=

# Sets $broker, $pin and $named_by; where that fails, $reason.
#   uki        the command line in the UKI, and nothing was added to it: PCR 12 is as it was at power-on
#   addon      the command line of an addon that the firmware verified, measured in PCR 12
#   init-data  what HOST_DATA (SNP) or MRCONFIGID (TDX) of this guest's own report is the digest of
name_broker() {
  count_words attestbed.broker
  case $words in
    0) from_init_data || return 1 ;;
    1) from_command_line || return 1 ;;
    *) reason=broker-named-twice; return 1 ;;
  esac
  well_formed
}

# How often NAME= is on the command line, in $words: a word that was added does not replace the measured one unseen.
count_words() {
  words=0
  for word in $command_line; do
    case $word in "$1="*) words=$((words + 1)) ;; esac
  done
}

from_command_line() {
  count_words attestbed.broker-pin
  [ $words = 1 ] || { reason=no-pin; return 1; }
  option attestbed.broker ''; broker=$value
  option attestbed.broker-pin ''; pin=$value
  reason=broker-unmeasured
  measured_words || return 1
  named_by=$measured_by
}

# Whether nobody could add to the command line unseen; sets $measured_by, else $unmeasured. Without a vTPM this guest does
# not know whether the command line is in its launch digest (kernel hashes), or whether its firmware took any UKI and any
# addon from a disk: then no word of it counts.
#   no-smbios   nobody knows what the stub took from there
#   smbios      something is there for the stub: nobody has signed it
#   no-vtpm     there is no PCR 12
#   no-measures the firmware measured nothing, so the stub did not either, whatever it took
#   not-signed  the stub added something, and the firmware verifies nothing
measured_words() {
  unmeasured=no-smbios
  [ -r $SMBIOS ] || return 1
  unmeasured=smbios
  # Its strings end with a NUL.
  ! tr '\0' '\n' <$SMBIOS | grep -qF $STUB_EXTRA || return 1
  unmeasured=no-vtpm
  [ -e $PCRS/12 ] || return 1
  unmeasured=no-measures
  read -r pcr4 <$PCRS/4
  [ "$pcr4" != $ZERO_PCR ] || return 1
  read -r pcr12 <$PCRS/12
  measured_by=uki
  [ "$pcr12" != $ZERO_PCR ] || { unmeasured=; return 0; }
  # What the stub takes from the ESP the firmware verifies, where Secure Boot is on.
  measured_by=addon unmeasured=not-signed
  secure_boot && unmeasured=
}

# Whether QEMU brought the UKI, as far as the stub says (systemd-stub(7)): it loads no addon then. A disk without a GPT has
# no partition either, and addons: for who lets it, only the launch tells the difference.
brought_by_qemu() {
  [ -e "$VARIABLES/StubInfo-$LOADER" ] || return 1
  [ ! -e "$VARIABLES/StubDevicePartUUID-$LOADER" ] && [ ! -e "$VARIABLES/LoaderDevicePartUUID-$LOADER" ]
}

# Sets $unlock: the broker, unless a word that counts says that the vTPM gives the key, or keeps it (seal.sh). What stands
# on the disk decides nothing: whoever has the disk could seal a key of his own. Where that fails, $reason.
name_way() {
  count_words attestbed.unlock
  [ $words -le 1 ] || { reason=way-named-twice; return 1; }
  option attestbed.unlock broker; unlock=$value
  case $unlock in
    broker) ;;
    tpm2 | sealed) reason=way-unmeasured; measured_words ;;
    *) reason=bad-way; return 1 ;;
  esac
}

secure_boot() {
  [ "$(tail -c +5 $SECURE_BOOT 2>/dev/null | od -An -tu1 | tr -d ' ')" = 1 ]
}

# Init data (Trustee, kbs/docs/initdata.md) that the host hands over by fw_cfg, and that this guest's own report says was
# its owner's: its digest, cut or filled up with zeros, is in HOST_DATA or MRCONFIGID.
from_init_data() {
  modprobe qemu_fw_cfg 2>/dev/null
  # The kernel gives this file no size of its own: what it holds shows when it is read.
  cat $INIT_DATA >init-data 2>/dev/null
  [ -s init-data ] || { rm -f init-data; reason=no-broker-named; return 1; }
  reason=init-data-not-bound
  # What comes before the first table, and text that JSON takes as it is.
  [ "$(tr -d ' -~\n' <init-data | wc -c)" = 0 ] || return 1
  case $(sed -n '/^\[/q; s/^algorithm = "\(.*\)"$/\1/p' init-data) in
    sha256) is=$(sha256sum <init-data) ;;
    sha384) is=$(sha384sum <init-data) ;;
    *) return 1 ;;
  esac
  case $tee in
    # SEV-SNP ABI, table "ATTESTATION_REPORT": HOST_DATA, 32 bytes at 0xC0.
    snp) offset=192 length=32 ;;
    # TDX DCAP quote version 4: a header of 48 bytes, then the TD report's body; MRCONFIGID, 48 bytes at 184 of it.
    tdx) offset=232 length=48 ;;
  esac
  is=$(printf "%-$((2 * length)).$((2 * length))s" "${is%% *}" | tr ' ' 0)
  [ "$is" = "$(cut_hex first-report $offset $length)" ] || return 1
  broker=$(init_value broker) pin=$(init_value broker-pin) named_by=init-data
}

# init_value NAME
init_value() { sed -n 's/^"attestbed\.'"$1"'" = "\(.*\)"$/\1/p' init-data; }

# An address and a pin, of letters that mean nothing to a shell, to curl or to a URL.
well_formed() {
  reason=bad-broker
  case ${broker#https://} in *[!0-9.:]* | "$broker" | '') return 1 ;; esac
  reason=bad-pin
  case ${pin#sha256:} in *[!A-Za-z0-9+/=]* | "$pin" | '') return 1 ;; esac
}

# cut_hex FILE OFFSET LENGTH
cut_hex() {
  dd if="$1" bs=1 skip="$2" count="$3" 2>/dev/null | od -An -v -tx1 | tr -d ' \n'
}
