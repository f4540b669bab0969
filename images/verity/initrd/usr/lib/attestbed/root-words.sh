# Sourced by the init, after measured.sh: which words of the command line are the owner's.

# Sets $root_hash and $options, of words that are the owner's: of two one is not, whoever added it; and none is where somebody
# could have added it unseen (measured.sh). Without a vTPM that is known of a UKI that QEMU brings: what it was started with
# is in its launch, or in no evidence at all.
name_root() {
  count_words roothash
  [ $words = 1 ] || give_up root-hash words=$words
  count_words systemd.verity_root_options
  [ $words -le 1 ] || give_up root-hash words=options
  measured_words || { [ $unmeasured = no-vtpm ] && brought_by_qemu; } || give_up words why=$unmeasured
  option roothash ''; root_hash=$value
  option systemd.verity_root_options ''; options=$value
}
