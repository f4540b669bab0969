/** What stub and systemd said about the companions of a UKI, from the console: as honest as the guest. */
import { sha256Hex } from '../base/digest.ts'
import type { LabGuest } from './guest.ts'

export interface StubRefusal {
  /** On the ESP, as the stub names it. */
  readonly path: string
  readonly why: string
}

/** systemd-stub 262, of an addon that the firmware or shim does not load. */
const NOT_LOADED = /Failed to read '[^']+' from '([^']+)', ignoring: (.+?)\s*$/

/** Addons that the firmware kept the stub from loading, in the stub's order. */
export function refusedAddons(lines: readonly string[]): readonly StubRefusal[] {
  return lines.flatMap((line) => {
    const [, path, why] = NOT_LOADED.exec(line) ?? []
    return path === undefined || why === undefined ? [] : [{ path: path.replaceAll('\\', '/').slice(1), why }]
  })
}

/** What became of a service that needs a credential. */
export type CredentialOutcome =
  /** It ran; the SHA-256 of what it got, as hex. */
  | `got ${string}`
  /** systemd did not start it, and said why. */
  | 'foreign-tpm'
  | 'altered'
  | 'null-key'
  | 'policy-mismatch'
  | 'unknown'

/** The outcome for a service that got this. */
export function gotSecret(secret: string): CredentialOutcome {
  return `got ${sha256Hex(secret)}`
}

/** The words of systemd 262, each of one cause only. */
const REFUSALS: readonly { readonly why: CredentialOutcome; readonly message: RegExp }[] = [
  { why: 'foreign-tpm', message: /TPM key integrity check failed/ },
  { why: 'altered', message: /Decryption failed \(incorrect key\?\)/ },
  { why: 'null-key', message: /Credential uses null key, but .* refuses it here/ },
  {
    why: 'policy-mismatch',
    message: /No signature for current PCR policy|does not match current system state/,
  },
]
const GOT = /attestbed-initrd: \S+ credential name=(\w+) sha256=([0-9a-f]{64})\b/
const NOT_STARTED =
  /attestbed-credential@(\w+)\.service: Main process exited, code=exited, status=243\/CREDENTIALS/
const SAID = /attestbed-credential@(\w+)\.service: (.+)$/

/** Name of the credential to what became of its service; services that nobody brought a credential for are left out. */
export function credentialOutcomes(lines: readonly string[]): Readonly<Record<string, CredentialOutcome>> {
  const outcomes = new Map<string, CredentialOutcome>()
  for (const line of lines) {
    const [, name, digest] = GOT.exec(line) ?? []
    if (name !== undefined) outcomes.set(name, `got ${digest}`)
    const [, refused] = NOT_STARTED.exec(line) ?? []
    if (refused !== undefined) outcomes.set(refused, whyOf(refused, lines))
  }
  return Object.fromEntries([...outcomes].sort(([a], [b]) => (a < b ? -1 : 1)))
}

function whyOf(name: string, lines: readonly string[]): CredentialOutcome {
  const words = lines.flatMap((line) => {
    const [, service, said] = SAID.exec(line) ?? []
    return service === name && said !== undefined ? [said] : []
  })
  return REFUSALS.find(({ message }) => words.some((each) => message.test(each)))?.why ?? 'unknown'
}

export interface Merge {
  readonly merged: boolean
  /** What systemd-sysext and the kernel said meanwhile. */
  readonly words: string
}

/** Keeps the extensions that the stub passed, but for one, out of sight of systemd-sysext, and has it merge that. */
const MERGE_ALONE = `
aside=/run/aside; one=$1
systemd-sysext unmerge >/dev/null 2>&1
mkdir -p $aside
for directory in sysext global_sysext; do
  [ ! -d /.extra/$directory ] || mv /.extra/$directory $aside/
  mkdir -p /.extra/$directory
done
cp $aside/$one /.extra/$one
dmesg -c >/dev/null
DM_DISABLE_UDEV=1 SYSTEMD_LOG_TARGET=console SYSTEMD_LOG_LEVEL=info systemd-sysext refresh 2>&1
code=$?
dmesg -c | grep -E 'verity|erofs'
systemd-sysext unmerge >/dev/null 2>&1
for directory in sysext global_sysext; do
  rm -r /.extra/$directory
  [ ! -d $aside/$directory ] || mv $aside/$directory /.extra/
done
exit $code
`

/** `file`: below /.extra, such as `sysext/hello.sysext.raw`. One bad extension keeps all others from being merged. */
export async function mergeAlone(guest: LabGuest, file: string): Promise<Merge> {
  const { exitCode, stdout, stderr } = await guest.run(['sh', '-c', MERGE_ALONE, 'sh', file])
  const words = `${stdout}${stderr}`.trim()
  return { merged: exitCode === 0 && /Merged extensions into/.test(words), words }
}
