import type { Attack } from './attack.ts'

/** systemd-stub appends this OEM string to the command line, except in a confidential VM (systemd-stub(7)). */
const STUB_OEM_STRING = 'io.systemd.stub.kernel-cmdline-extra='

/** `text`: words that the host wants on the kernel command line. */
export function injectCommandLine(text: string): Attack {
  return {
    id: 'inject-command-line',
    seam: 'tables',
    interference: `the host passes "${text}" for the kernel command line in an SMBIOS string`,
    detectedBy: 'PCR 12, into which the stub measures what it takes; a confidential guest takes nothing',
    apply: async (victim) => {
      victim.smbiosStrings.push(STUB_OEM_STRING + text)
    },
  }
}
