/** What an emulated processor says of a launch where the host cannot rehearse: no KVM device, no compiler. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { HostError, LaunchError } from '../../base/errors.ts'
import { syntheticOvmf } from '../../formats/testing/synthetic-ovmf.ts'
import { resolvePaths } from '../../system/paths.ts'
import type { LaunchOptions } from '../launch-options.ts'
import { platform } from '../platforms.ts'
import { predictLaunch } from '../rehearsed-launch.ts'
import { type EmulatedLaunchContext, measureEmulatedLaunch } from './emulated-launch.ts'

const HOST = { cbitPosition: 51, qemuVersion: [11, 1] as const }

/** A host on which nothing can be compiled or run. */
function contextThatFails(error: Error): EmulatedLaunchContext {
  const fail = async () => {
    throw error
  }
  const nothing = {
    store: { ensure: fail },
    tools: { run: fail },
    checkout: resolvePaths().checkout,
    host: HOST,
  }
  return nothing as unknown as EmulatedLaunchContext
}

const unable = contextThatFails(new HostError('no compiler', { code: 'setup-failed' }))

t.test('the prediction takes its place, and says so', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const firmware = join(directory, 'OVMF.fd')
  await writeFile(firmware, syntheticOvmf())
  const file = join(directory, 'recording')
  const measure = (id: 'sev-snp' | 'tdx', options: LaunchOptions, context = unable) =>
    measureEmulatedLaunch(context, { platform: platform(id), firmware, vcpus: 1, options }, file)

  t.test('sev-snp', async (t) => {
    const options = { policy: 0xb0000n, hostData: Buffer.alloc(32, 7) }
    const launch = await measure('sev-snp', options)
    const request = { platform: platform('sev-snp'), firmware, vcpus: 1, options }
    const { digest } = await predictLaunch(request, HOST)
    const fields = { POLICY: '0xb0000', HOST_DATA: '07'.repeat(32) }
    t.strictSame(launch, { digest, basis: 'predicted', fields })
  })

  t.test('tdx', async (t) => {
    const options = { mrConfigId: Buffer.alloc(48, 8), tdAttributes: ['debug', 'sept-ve-disable'] }
    const { basis, fields } = await measure('tdx', options)
    t.strictSame(
      { basis, ...fields },
      {
        ...{ basis: 'predicted', TDATTRIBUTES: '0x10000001', MRCONFIGID: '08'.repeat(48) },
      },
    )
  })
})

t.test('a launch that QEMU refuses is no reason to predict', async (t) => {
  const broken = contextThatFails(new LaunchError('QEMU crashed', { code: 'qemu-crashed' }))
  const request = { platform: platform('sev-snp'), firmware: '/nonexistent', vcpus: 1 }
  // Where /dev/kvm is missing the prediction is tried, and there is no firmware to predict from.
  const error = await measureEmulatedLaunch(broken, request, '/nonexistent').catch((reason) => reason)
  t.match(error.code, /^(qemu-crashed|ENOENT)$/)
})
