/** Evidence of a TEE as its guest gets it: by the kernel's own interface where there is one, else by the port. */
import { randomBytes } from 'node:crypto'
import { GuestError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import { REPORT_DATA_BYTES, TSM_PORT_NAME } from '../platforms/emulated/tsm-protocol.ts'
import type { EvidenceText } from './events.ts'
import type { LabGuest } from './guest.ts'

/** What configfs-tsm gives (Documentation/ABI/testing/configfs-tsm-report of Linux). */
export interface TsmReport {
  readonly outblob: Buffer
  /** SNP: the host's certificate table; empty where it has none. */
  readonly auxblob: Buffer
}

const ENTRY = '/sys/kernel/config/tsm/report/attestbed'
const PORT = `/dev/virtio-ports/${TSM_PORT_NAME}`

/** REPORT_DATA that nobody has seen before, 64 bytes. */
export function freshNonce(): Buffer {
  return randomBytes(REPORT_DATA_BYTES)
}

/** `reportData`: 64 bytes. Throws GuestError `command-failed`, `protocol` for an answer that has not its form. */
export async function collectEvidence(guest: LabGuest, reportData: Uint8Array): Promise<TsmReport> {
  const { exitCode } = await guest.run(['test', '-e', PORT])
  const report = await (exitCode === 0 ? askPort(guest, reportData) : askKernel(guest, reportData))
  guest.showEvidence(await readableEvidence(report.outblob))
  return report
}

/** What it says, for the record; nothing of it is verified here. */
export async function readableEvidence(evidence: Uint8Array): Promise<EvidenceText> {
  const { inspectEvidence } = await import('../evidence/verify-evidence.ts')
  try {
    return (await inspectEvidence({ evidence })).page
  } catch (error) {
    // A guest may answer anything: who verifies it finds out what is wrong.
    const value = escapeControls(error instanceof Error ? error.message : String(error))
    return {
      ...{ title: 'evidence that cannot be read', vouchedBy: [] },
      says: [{ title: 'Problem', rows: [{ label: 'reading it', value }] }],
    }
  }
}

/** The guest needs the driver of its platform. */
async function askKernel(guest: LabGuest, reportData: Uint8Array): Promise<TsmReport> {
  const script = [
    '[ -d /sys/kernel/config/tsm ] || mount -t configfs configfs /sys/kernel/config',
    'for module in sev-guest tdx-guest; do modprobe "$module" 2>/dev/null || true; done',
    `mkdir ${ENTRY}`,
    `cat >${ENTRY}/inblob`,
  ].join(' && ')
  await guest.succeed(['sh', '-c', script], { input: Buffer.from(reportData) })
  const outblob = (await guest.succeed(['cat', `${ENTRY}/outblob`])).stdout
  const auxblob = (await guest.run(['cat', `${ENTRY}/auxblob`])).stdout
  await guest.succeed(['rmdir', ENTRY])
  return { outblob, auxblob }
}

/** All that a POSIX shell needs for the port's protocol. */
const ASK_PORT = `exec 3<>${PORT} || exit 1
printf '%s\\n' "$1" >&3
while IFS= read -r line <&3; do
  printf '%s\\n' "$line"
  case $line in end | error*) exit 0 ;; esac
done
exit 1`

const ANSWER_MS = { timeoutMs: 60_000 }

async function askPort(guest: LabGuest, reportData: Uint8Array): Promise<TsmReport> {
  const answer = await ask(guest, `report ${Buffer.from(reportData).toString('hex')}`)
  const value = (name: string): Buffer => {
    const line = answer.find((each) => each.startsWith(`${name} `))
    if (line !== undefined) return Buffer.from(line.slice(name.length + 1), 'base64')
    throw new GuestError(`cannot read the evidence: the port answered "${answer.join(' ').slice(0, 80)}"`, {
      code: 'protocol',
    })
  }
  return { outblob: value('outblob'), auxblob: value('auxblob') }
}

/** What the port says to each line that is no request, or undefined where it gave evidence all the same. */
export async function portErrors(
  guest: LabGuest,
  lines: readonly string[],
): Promise<readonly (string | undefined)[]> {
  const errors: (string | undefined)[] = []
  for (const line of lines) errors.push((await ask(guest, line)).find((each) => each.startsWith('error ')))
  return errors
}

async function ask(guest: LabGuest, line: string): Promise<readonly string[]> {
  const { stdout } = await guest.succeed(['sh', '-c', ASK_PORT, 'sh', line], ANSWER_MS)
  return stdout.toString('latin1').split('\n')
}
