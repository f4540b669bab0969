/** What the root of a VM is sealed to, and what else opens it. */
import { MaterialError } from '../base/errors.ts'
import { provisionSrk } from '../machine/vtpm/srk.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { TpmEnrolment } from '../materials/luks.ts'
import { openSocketDirectory } from '../system/socket-directory.ts'
import type { VmSpec } from './lab-spec.ts'
import { firstLine } from './login-of.ts'
import { freshRecoveryKey } from './secrets.ts'
import type { VmOptions } from './vm-options.ts'

const ZERO_SHA256 = '00'.repeat(32)

function literals(options: VmOptions): Record<number, string> {
  return Object.fromEntries(Object.keys(options.literalPcrs ?? {}).map((index) => [index, ZERO_SHA256]))
}

/** The SRK of the VM's own vTPM, made where it has none yet, and the signed policy of PCR 11. */
export async function enrolmentOf(
  { bench, scope }: VmSpec,
  options: VmOptions,
  vtpmState: string,
): Promise<TpmEnrolment> {
  const srkPublic = await provisionSrk(bench.tools, vtpmState, await openSocketDirectory(scope))
  return { srkPublic, pcrPublicKey: bench.keys.pcr.pcr.publicKey, literalPcrs: literals(options) }
}

/** Throws MaterialError `missing` for a brought disk whose description names none. */
export async function recoveryKeyFor({ id, origin, unlockKeyFile }: ImageDescription): Promise<string> {
  if (origin === 'built') return freshRecoveryKey()
  const key = unlockKeyFile === undefined ? '' : await firstLine(unlockKeyFile)
  if (key !== '') return key
  throw new MaterialError(`image ${id} names no file with the key of its root, or an empty one`, {
    code: 'missing',
  })
}
