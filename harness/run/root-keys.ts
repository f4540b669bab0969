/** The keys that the root of a VM gets before its first boot. */
import { MaterialError } from '../base/errors.ts'
import { provisionSrk } from '../machine/vtpm/srk.ts'
import type { ImageDescription } from '../materials/image-description.ts'
import type { TpmEnrolment } from '../materials/luks.ts'
import { openSocketDirectory } from '../system/socket-directory.ts'
import { firstLine } from './login-of.ts'
import { freshRecoveryKey } from './secrets.ts'
import type { VmOptions, VmSpec } from './vm.ts'

const ZERO_SHA256 = '00'.repeat(32)

function literals(options: VmOptions): Record<number, string> {
  return Object.fromEntries(Object.keys(options.literalPcrs ?? {}).map((index) => [index, ZERO_SHA256]))
}

export async function enrolmentOf(
  { bench, scope }: VmSpec,
  options: VmOptions,
  vtpmState: string,
): Promise<TpmEnrolment> {
  const srkPublic = await provisionSrk(bench.tools, vtpmState, await openSocketDirectory(scope))
  return { srkPublic, pcrPublicKey: bench.keys.pcr.pcr.publicKey, literalPcrs: literals(options) }
}

export async function recoveryKeyFor({ id, origin, unlockKeyFile }: ImageDescription): Promise<string> {
  if (origin === 'built') return freshRecoveryKey()
  const key = unlockKeyFile === undefined ? '' : await firstLine(unlockKeyFile)
  if (key !== '') return key
  throw new MaterialError(`image ${id} names no file with the key of its root, or an empty one`, {
    code: 'missing',
  })
}
