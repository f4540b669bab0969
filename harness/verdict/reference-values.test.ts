import t from 'tap'
import { parsePolicy } from '../evidence/policy/parse.ts'
import { resolveFiles } from '../evidence/policy/resolve.ts'
import { snpRequest, tdxRequest } from '../evidence/testing/emulated-requests.ts'
import { finds } from '../evidence/testing/finds.ts'
import { syntheticOvmf } from '../formats/testing/synthetic-ovmf.ts'
import { cpuSignature } from '../measure/sev/cpu-models.ts'
import { kernelHashes } from '../measure/sev/kernel-hashes.ts'
import { snpFirmware } from '../measure/snp/firmware.ts'
import { predictSnp } from '../measure/snp/launch.ts'
import { predictMrtd } from '../measure/tdx/mrtd.ts'
import { predictReferences } from './reference-values.ts'

const POLICY = `
snp:
  launchDigests: ["${'11'.repeat(48)}"]
  predicted:
    - { firmware: OVMF.fd, vcpus: 2, cpu: EPYC-v4 }
    - { firmware: OVMF.fd, vcpus: 1, cpu: EPYC-v4, kernel: vmlinuz, initrd: initrd, cmdline: "console=ttyS0" }
`
const files = new Map<string, Uint8Array>([
  ['OVMF.fd', syntheticOvmf()],
  ['vmlinuz', Buffer.from('kernel')],
  ['initrd', Buffer.from('initrd')],
])

async function read(name: string): Promise<Uint8Array> {
  const content = files.get(name)
  if (!content) throw new Error(`no ${name}`)
  return content
}

const resolved = async () =>
  resolveFiles(await predictReferences(parsePolicy(POLICY, { file: 'p.yaml' }), read), read)

t.test('"as predicted for these materials" accepts exactly the guests that were predicted', async (t) => {
  const firmware = snpFirmware(syntheticOvmf())
  const cpu = cpuSignature('EPYC-v4')
  const kernel = kernelHashes({
    kernel: Buffer.from('kernel'),
    initrd: Buffer.from('initrd'),
    append: 'console=ttyS0',
  })
  const digests = [predictSnp(firmware, { vcpus: 2, cpu }), predictSnp(firmware, { vcpus: 1, cpu, kernel })]
  const policy = await resolved()
  t.equal(policy.snp?.predicted, undefined)
  const given = Buffer.alloc(48, 0x11)
  for (const measurement of [given, ...digests.map(({ launchDigest }) => launchDigest)])
    await finds(t, snpRequest({ claims: { measurement }, policy }))
  for (const other of [predictSnp(firmware, { vcpus: 3, cpu }), predictSnp(firmware, { vcpus: 1, cpu })])
    await finds(t, snpRequest({ claims: { measurement: other.launchDigest }, policy }), 'launch-digest')
})

t.test('an MRTD is predicted from the firmware, in one pass or in two', async (t) => {
  const text = 'tdx: { predicted: [{ firmware: OVMF.fd }, { firmware: OVMF.fd, passes: two }] }'
  const policy = await resolveFiles(
    await predictReferences(parsePolicy(text, { file: 'p.yaml' }), read),
    read,
  )
  for (const passes of ['single', 'two'] as const) {
    const mrTd = predictMrtd(syntheticOvmf(), passes).mrtd
    await finds(t, tdxRequest({ quote: { body: { mrTd } }, policy }))
  }
  await finds(t, tdxRequest({ policy }), 'mrtd')
})

t.test('what cannot be predicted is an error, never a policy without it', async (t) => {
  const predict = (line: string) =>
    predictReferences(parsePolicy(`snp: { predicted: [{ ${line} }] }`, { file: 'p' }), read)
  await t.rejects(predict('firmware: none.fd, vcpus: 1, cpu: EPYC-v4'), /no none[.]fd/)
  await t.rejects(predict('firmware: vmlinuz, vcpus: 1, cpu: EPYC-v4'), { name: 'FormatError' })
  await t.rejects(predict('firmware: OVMF.fd, vcpus: 1, cpu: host'), { name: 'UsageError' })
})
