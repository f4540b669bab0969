/**
 * The head of a shell script that has a TPM of its own: an swtpm in its directory, which ends with the script's sandbox,
 * and tpm2-tools pointed at it. State stays in `state`, so that scripts in one directory have the same TPM.
 */
export const WITH_TPM = `set -e
    mkdir -p state
    rm -f tpm tpm.ctrl
    swtpm socket --tpm2 --tpmstate dir=state --server type=unixio,path=tpm --ctrl type=unixio,path=tpm.ctrl \\
      --flags not-need-init,startup-clear >swtpm.log 2>&1 &
    for i in $(seq 200); do [ -S tpm ] && [ -S tpm.ctrl ] && break; sleep 0.05; done
    export TPM2TOOLS_TCTI=swtpm:path=$PWD/tpm`
