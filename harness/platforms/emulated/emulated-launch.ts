/** What an emulated processor says of a launch: what the real command line is measured as. */
import { rm } from 'node:fs/promises'
import { HostError } from '../../base/errors.ts'
import type { RehearsalContext } from '../../rehearsal/rehearse.ts'
import type { HostParameters } from '../descriptor.ts'
import { describeLaunch, type LaunchRequest, predictLaunch, rehearseLaunch } from '../rehearsed-launch.ts'
import type { TeeLaunch } from './processor.ts'

export type EmulatedLaunchContext = RehearsalContext & { readonly host: HostParameters }

/**
 * By QEMU's own launch code; where this host cannot rehearse, by prediction. `file`: for the recording, which is removed.
 * `request.platform` is the TEE itself. Throws as `rehearse` and `predictLaunch`.
 */
export async function measureEmulatedLaunch(
  context: EmulatedLaunchContext,
  request: LaunchRequest,
  file: string,
): Promise<TeeLaunch> {
  try {
    const { launch } = await rehearseLaunch(context, request, file)
    return { digest: launch.digest, basis: 'rehearsed', fields: launch.fields }
  } catch (error) {
    if (!(error instanceof HostError)) throw error
    const { digest } = await predictLaunch(request, context.host)
    return { digest, basis: 'predicted', fields: fieldsOf(request, context.host) }
  } finally {
    await rm(file, { force: true })
  }
}

/** As the command line has them, which is what the hardware would be told. */
function fieldsOf(request: LaunchRequest, host: HostParameters): TeeLaunch['fields'] {
  const { objects } = describeLaunch(request, host)
  const guest = objects.find(({ 'qom-type': type }) => type.endsWith('-guest'))
  const bytes = (name: string) => {
    const value = guest?.[name]
    return typeof value === 'string' ? Buffer.from(value, 'base64').toString('hex') : undefined
  }
  const number = (name: string) => {
    const value = guest?.[name]
    return typeof value === 'number' ? `0x${value.toString(16)}` : undefined
  }
  const fields = {
    ...{ POLICY: number('policy'), HOST_DATA: bytes('host-data'), TDATTRIBUTES: number('attributes') },
    ...{ MRCONFIGID: bytes('mrconfigid'), MROWNER: bytes('mrowner'), MROWNERCONFIG: bytes('mrownerconfig') },
  }
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
}
