# Sourced by the attester: what this guest can prove itself with.

TSM=/sys/kernel/config/tsm/report
PORT=/dev/virtio-ports/org.attestbed.tsm
TPM=/dev/tpmrm0
export TPM2TOOLS_TCTI=device:$TPM
# What was measured, by the firmware and by systemd, and the firmware's log in a TD: registers say whether to believe them.
TPM_LOG=/sys/kernel/security/tpm0/binary_bios_measurements
SYSTEMD_LOG=/run/log/systemd/tpm2-measure.log
CC_LOG=/sys/firmware/acpi/tables/data/CCEL

# Sets $tee, by asking for a report of nothing: the kernel's interface where there is one, else the emulation's port.
find_tee() {
  report_of 00 first-report || return 1
}

# report_of HEX FILE: a report whose REPORT_DATA is HEX and zeros, in FILE, and what comes with it in FILE.aux, empty where
# there is nothing. Sets $tee.
report_of() {
  data=$1
  while [ ${#data} -lt 128 ]; do data=${data}0; done
  # Without a processor's driver behind it the kernel's interface makes no entries.
  if mkdir -p $TSM/attester 2>/dev/null; then report_of_kernel "$2"; else report_of_port "$2"; fi || return 1
  case $provider in
    sev_guest) tee=snp ;;
    tdx_guest) tee=tdx ;;
    *) return 1 ;;
  esac
}

report_of_kernel() {
  entry=$TSM/attester
  from_hex "$data" >$entry/inblob && cat $entry/outblob >"$1" || return 1
  cat $entry/auxblob >"$1.aux" 2>/dev/null
  read -r provider <$entry/provider
  rmdir $entry
}

# The protocol of the emulated security processor: harness/platforms/emulated/README.md. The shell's own read would take a
# byte at a time.
report_of_port() {
  [ -e $PORT ] || return 1
  rm -f port-*
  exec 3<>$PORT
  echo "report $data" >&3
  awk '$1 ~ /^(provider|outblob|auxblob|end)$/ { print $2 >("port-" $1) } $1 ~ /^(end|error)$/ { exit }' <&3
  exec 3>&-
  provider=
  [ -e port-end ] && [ -e port-provider ] || return 1
  read -r provider <port-provider
  base64 -d <port-outblob >"$1" && base64 -d <port-auxblob >"$1.aux" && [ -s "$1" ]
}

# tpm_evidence HEX: a quote of PCRs 0 to 15 by a key of this boot, with HEX in it, and the logs that explain it, as the
# broker's README has it, in the file tpm-evidence. The keys stay as files that only this TPM loads.
tpm_evidence() {
  tpm2 createek -Q -G ecc -c ek -u ek.pub &&
    tpm2 createak -Q -C ek -G ecc -g sha256 -s ecdsa -c ak -u ak.pub &&
    tpm2 quote -Q -c ak -l sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -q "$1" -g sha256 -m quote -s signature -o pcrs ||
    return 1
  {
    printf '{"tpm":{'
    value_of akPublic ak.pub
    member_of ekPublic ek.pub
    member_of pcrs pcrs
    member_of quote quote
    member_of signature signature
    member_of eventLog $TPM_LOG
    member_of userspaceLog $SYSTEMD_LOG
    printf '}}'
  } >tpm-evidence
}

# activate CREDENTIAL FILE: what was encrypted for this EK and this AK (TPM 2.0 Library, part 1, 24 "Credential Protection").
activate() {
  tpm2 startauthsession -Q --policy-session -S session &&
    tpm2 policysecret -Q -S session -c e &&
    tpm2 activatecredential -Q -c ak -C ek -i "$1" -o "$2" -P session:session
  activated=$?
  tpm2 flushcontext session
  return $activated
}

# member_of NAME FILE: one more member of a JSON object, where there is such a file. Those of the kernel say that they have
# no bytes.
member_of() {
  [ -e "$2" ] || return 0
  printf ,
  value_of "$1" "$2"
}

# value_of NAME FILE: the first member.
value_of() {
  printf '"%s":"' "$1"
  base64 -w 0 "$2"
  printf '"'
}

from_hex() { echo "$1" | xxd -r -p; }
base64_of() { base64 -w 0 "$1"; }
