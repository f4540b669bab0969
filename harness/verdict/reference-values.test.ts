import t from 'tap'
import { parsePolicy } from '../evidence/policy/parse.ts'
import { resolveFiles } from '../evidence/policy/resolve.ts'
import { snpRequest, tdxRequest, tpmRequest } from '../evidence/testing/emulated-requests.ts'
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

const DIGEST = (byte: string, length = 48) => byte.repeat(length)
const DOCUMENTS: Readonly<Record<string, object>> = {
  'snp.json': { launchDigest: DIGEST('33') },
  'td.json': { mrtd: DIGEST('aa'), rtmrs: { 0: DIGEST('10'), 1: DIGEST('11'), 2: DIGEST('12') } },
  'td2.json': { mrtd: DIGEST('bb'), rtmr: [DIGEST('20'), DIGEST('21'), DIGEST('22')] },
  'partly.json': {
    ...{ mrtd: DIGEST('aa'), rtmrs: { 1: DIGEST('11') } },
    unknown: [{ register: 'rtmr0', reasons: ['no ACPI tables'] }],
  },
  'pcrs.json': { pcrs: { sha256: { 4: DIGEST('44', 32), 7: DIGEST('77', 32) } } },
  'seen.json': { kind: 'event-log', rtmrs: { 0: DIGEST('10') }, events: [] },
}

async function readDocuments(name: string): Promise<Uint8Array> {
  const document = DOCUMENTS[name]
  return document ? Buffer.from(JSON.stringify(document)) : Buffer.from('{')
}

const withDocuments = async (text: string) =>
  resolveFiles(await predictReferences(parsePolicy(text, { file: 'p.yaml' }), readDocuments), readDocuments)

t.test('what predict wrote stands for a whole guest', async (t) => {
  const snp = await withDocuments('snp: { predicted: [{ file: snp.json }] }')
  await finds(t, snpRequest({ claims: { measurement: Buffer.alloc(48, 0x33) }, policy: snp }))
  await finds(t, snpRequest({ policy: snp }), 'launch-digest')

  const policy = await withDocuments('tdx: { predictions: [{ file: td.json }, { file: td2.json }] }')
  const td = (mrTd: number, ...rtmrs: readonly number[]) => {
    const body = { mrTd: Buffer.alloc(48, mrTd), rtmrs: [...rtmrs, 0].map((byte) => Buffer.alloc(48, byte)) }
    return tdxRequest({ quote: { body }, policy })
  }
  await finds(t, td(0xaa, 0x10, 0x11, 0x12))
  await finds(t, td(0xbb, 0x20, 0x21, 0x22))
  await finds(t, td(0xbb, 0x20, 0x21, 0x12), 'rtmr')
  await finds(t, td(0xaa, 0x10, 0x21, 0x22), 'rtmr', 'rtmr')

  const boots = await withDocuments('tpm: { predictions: [{ file: pcrs.json }] }')
  const quoted = (four: number) =>
    tpmRequest({
      pcrs: new Map([
        [4, Buffer.alloc(32, four)],
        [7, Buffer.alloc(32, 0x77)],
      ]),
      policy: boots,
    })
  await finds(t, quoted(0x44))
  await finds(t, quoted(0x45), 'pcr')
  await finds(t, tpmRequest({ policy: boots }), 'pcr-not-quoted', 'pcr')
})

t.test('a document that does not know what is asked of it is an error', async (t) => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['tdx: { predictions: [{ file: partly.json }] }', /does not know every register: not rtmr0/],
    ['tdx: { predictions: [{ file: partly.json, registers: [rtmr0] }] }', /rtmr0 is not in the document/],
    ['tdx: { predictions: [{ file: pcrs.json }] }', /no register of a TD/],
    ['tdx: { predictions: [{ file: seen.json }] }', /of kind event-log, not a prediction/],
    ['tdx: { predictions: [{ file: none.json }] }', /is not JSON/],
    ['tpm: { predictions: [{ file: td.json }] }', /has no PCR/],
    ['tpm: { predictions: [{ file: pcrs.json, pcrs: [4, 9] }] }', /sha256, PCR 9 is not in the document/],
    ['snp: { predicted: [{ file: td.json }] }', /launchDigest is not in the document/],
  ]
  for (const [text, message] of cases)
    await t.rejects(withDocuments(text), { name: 'UsageError', code: 'bad-config', message }, text)
  const some = await withDocuments('tdx: { predictions: [{ file: partly.json, registers: [mrtd, rtmr1] }] }')
  t.same(some.tdx?.predictions, [{ mrtd: DIGEST('aa'), rtmr1: DIGEST('11') }])
  const unread = parsePolicy('tdx: { predictions: [{ file: td.json }] }', { file: 'p.yaml' })
  await t.rejects(resolveFiles(unread, readDocuments), { code: 'bad-config', message: /nobody has read it/ })
})
