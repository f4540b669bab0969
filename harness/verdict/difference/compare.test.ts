import fc from 'fast-check'
import t, { type Test } from 'tap'
import { UsageError } from '../../base/errors.ts'
import { vector, vectorsMissing } from '../../base/testing/vectors.ts'
import type { MeasuredDocument, MeasuredEvent } from '../../measure/documents/document.ts'
import { eventLogDocument } from '../../measure/documents/event-log.ts'
import { readDocument } from '../../measure/documents/read-document.ts'
import { predictedSnp, SECTIONS, type SyntheticLaunch } from '../../measure/testing/predicted-document.ts'
import { differences } from './compare.ts'

/** As `predict sev-snp --json` writes it, read again. */
function predicted(launch: SyntheticLaunch = {}): MeasuredDocument {
  return readDocument(JSON.parse(JSON.stringify(predictedSnp(launch))), 'predicted.json')
}

/** `where: what (causes)` of each, without the values that come of them. */
function told(a: MeasuredDocument, b: MeasuredDocument): readonly string[] {
  return differences(a, b)
    .filter(({ where }) => !/^(input|launchDigest|firmwareDigest)/.test(where))
    .map(({ where, what, causes, because }) =>
      [`${where}: ${what} (${causes.join(' ')})`, ...(because ? [because] : [])].join(': '),
    )
}

t.test('a document does not differ from itself, whole or page by page', async (t) => {
  t.same(differences(predicted(), predicted()), [])
  t.same(differences(predicted(), predicted({ pages: 'each' })), [])
})

t.test('each input is named with what it changed', async (t) => {
  const a = predicted()
  t.same(told(a, predicted({ vcpus: 5 })), ['VMSAs: 2 against 5 (vcpus)'])
  t.same(told(a, predicted({ cpu: 'EPYC-Milan', vcpus: 1 })), [
    'VMSAs: 2 against 1 (vcpus)',
    'VMSA of vCPU 0: rdx 0x800f12 against 0xa00f11 (cpu)',
  ])
  t.same(told(a, predicted({ kernel: 'k' })), [
    'page 0x810000: kernel-hashes: type zero against normal (kernel)',
  ])
  t.same(told(predicted({ kernel: 'k' }), predicted({ kernel: 'l' })), [
    'page 0x810000: kernel-hashes: other contents (kernel)',
  ])
  const found = differences(a, predicted({ cpu: 'EPYC-Milan' }))
  t.match(found[0], { where: 'input cpu', what: 'CPU model: EPYC-v4 to EPYC-Milan' })
  t.match(found.at(-1), { where: 'launchDigest', causes: ['cpu'] })
})

t.test('pages of the firmware are named, one by one where they are listed', async (t) => {
  const changedByte = 0x5432
  const [a, b] = [predicted({ pages: 'each' }), predicted({ pages: 'each', changedByte })]
  t.same(told(a, b), ['page 0xffff5000: rom: other contents (firmware)'])
  t.match(told(predicted(), predicted({ changedByte })), [
    /^pages 0xffff0000 to 0xffffffff: rom: other contents; --each/,
  ])
})

t.test('sections that another firmware has, lacks, types or orders otherwise', async (t) => {
  const withSections = (sev: typeof SECTIONS) => predicted({ firmware: { sev } })
  const a = withSections(SECTIONS)
  const sections = (b: MeasuredDocument) => told(a, b).filter((line) => !line.includes('rom'))
  t.same(sections(withSections(SECTIONS.filter(({ gpa }) => gpa !== 0x80f000))), [
    'page 0x80f000: svsm-caa: type zero only in A (firmware)',
  ])
  const secrets = SECTIONS.map((each) => (each.gpa === 0x80d000 ? { ...each, type: 1 } : each))
  t.same(sections(withSections(secrets)), ['page 0x80d000: type secrets against zero (firmware)'])
  t.same(sections(withSections(SECTIONS.toReversed())), [
    'order of pages: A measures 0x800000 where B measures 0x810000 (firmware)',
  ])
  const merged = SECTIONS.filter(({ gpa }) => gpa < 0x810000)
  t.same(sections(withSections([...merged, { gpa: 0x810000, size: 0x20000, type: 1 }])), [
    'order of pages: A measures 0x811000 where B measures 0x810000 (firmware)',
  ])
})

const event = (digest: string, description: string, register = 'rtmr1'): MeasuredEvent => ({
  ...{ register, description, type: 'EV_EFI_BOOT_SERVICES_APPLICATION' },
  digests: { sha384: digest.repeat(96) },
})

t.test(
  'a rewritten kernel differs by what QEMU writes into it, by QEMU where it no longer does',
  async (t) => {
    const rewritten = 'kernel, with the setup header rewritten by QEMU 10.1'
    const measured = { kernel: 'k', initrd: 'i', append: 'quiet', memory: '1', qemu: '10.1.0', firmware: 'f' }
    const log = (inputs: MeasuredDocument['inputs'], kernel: MeasuredEvent): MeasuredDocument => ({
      ...{ kind: 'prediction', inputs: { ...measured, ...inputs }, events: [kernel] },
    })
    const causes = (inputs: MeasuredDocument['inputs'], description = rewritten) =>
      differences(log({}, event('a', rewritten)), log(inputs, event('b', description)))
        .filter(({ where }) => where.startsWith('rtmr1'))
        .map((each) => each.causes.join(' '))
    for (const [name, value] of Object.entries({ kernel: 'l', initrd: 'j', append: 'vga=1', memory: '2' })) {
      t.same(causes({ [name]: value }), [name])
      t.same(causes({ [name]: value, qemu: '10.1.1', firmware: 'g' }), [name], 'that is rewritten alike')
    }
    t.same(causes({ qemu: '10.2.0' }, 'kernel'), ['qemu'])
    t.same(causes({ firmware: 'g' }, 'kernel'), ['firmware'])
    const backward = differences(
      log({ qemu: '10.2.0' }, event('b', 'kernel')),
      log({}, event('a', rewritten)),
    )
    t.ok(backward.some(({ where, causes: [first] }) => where.startsWith('rtmr1') && first === 'qemu'))
    const values = (value: string, memory: string) =>
      readDocument(
        { mrtd: 'ab'.repeat(48), inputs: { memory }, rtmr: [], rtmrs: { 1: value.repeat(96) } },
        'x',
      )
    t.match(
      differences(values('a', '1'), values('b', '2')).filter(({ where }) => where === 'rtmr1'),
      [{ causes: ['memory'] }],
    )
  },
)

t.test('events: changed, added and left out, with what a version of QEMU did', async (t) => {
  const log = (events: readonly MeasuredEvent[], qemu?: string): MeasuredDocument => ({
    kind: 'prediction',
    inputs: qemu ? { qemu } : {},
    events,
  })
  const [first, kernel, last] = [event('a', 'first'), event('b', 'kernel'), event('c', 'last')]
  const other = event('d', 'kernel')
  const digests = `${'b'.repeat(96)} against ${'d'.repeat(96)} (sha384)`
  const rewritten = event('e', 'kernel, with the setup header rewritten by QEMU 10.1')
  const named = 'EV_EFI_BOOT_SERVICES_APPLICATION kernel'
  const forward = differences(
    log([first, rewritten, last], '10.1.0'),
    log([first, other, last], '1:10.2.1+ds'),
  )
  t.match(forward[0], { because: 'the kernel setup header is no longer rewritten: rtmr1 event 1' })
  t.same(told(log([first, rewritten, last], '10.1.0'), log([first, other, last], '1:10.2.1+ds')), [
    `rtmr1 event 1: ${named}, with the setup header rewritten by QEMU 10.1 against ${named} (qemu): the kernel setup header is no longer rewritten`,
  ])
  t.same(
    told(log([first, kernel, last], '10.1.0'), log([first, other, last], '10.2.1')),
    [`rtmr1 event 1: ${named}: ${digests} ()`],
    'a kernel that was never rewritten differs for another reason',
  )
  t.same(told(log([kernel], '10.2.0'), log([other], '11.1.0')), [
    `rtmr1 event 0: EV_EFI_BOOT_SERVICES_APPLICATION kernel: ${digests} ()`,
  ])
  t.same(told(log([first, kernel, last]), log([first, last])), [
    'rtmr1 event 1: EV_EFI_BOOT_SERVICES_APPLICATION kernel only in A ()',
  ])
  t.same(told(log([first, last]), log([kernel, first, last])), [
    'rtmr1 event 0: EV_EFI_BOOT_SERVICES_APPLICATION kernel only in B ()',
  ])
  const unknown: MeasuredEvent = { ...kernel, description: 'not known', digests: {} }
  t.same(
    told(log([first, unknown, last]), log([first, other, last])),
    [],
    'what was not predicted is no difference',
  )
  t.same(told(log([first, unknown]), log([first])), [
    'rtmr1 event 1: EV_EFI_BOOT_SERVICES_APPLICATION not known only in A ()',
  ])
  t.same(told(log([event('a', 'x', 'pcr10'), event('a', 'x', 'pcr2')]), log([])), [
    'pcr2 event 0: EV_EFI_BOOT_SERVICES_APPLICATION x only in A ()',
    'pcr10 event 0: EV_EFI_BOOT_SERVICES_APPLICATION x only in A ()',
  ])
})

t.test('events that are one thing stay together where neighbours change or are not known', async (t) => {
  const of = (description: string, digest?: string): MeasuredEvent => ({
    ...{ register: 'pcr9', type: 'EV_EVENT_TAG', description },
    digests: digest === undefined ? {} : { sha256: digest.repeat(64) },
  })
  const log = (events: readonly MeasuredEvent[], inputs = {}): MeasuredDocument => ({
    ...{ kind: 'prediction', inputs, events },
  })
  const initrd = of('initrd, with more: not known, it is random')
  t.same(told(log([of('command line "a"', 'a'), initrd]), log([of('command line "b"', 'b'), initrd])), [
    'pcr9 event 0: EV_EVENT_TAG command line "a" against EV_EVENT_TAG command line "b" ()',
  ])
  const [before, after] = [of('section .linux, 1 bytes', 'a'), of('section .linux, 2 bytes', 'b')]
  const added = of('section .initrd, 1 bytes', 'c')
  t.same(told(log([before]), log([added, after])), [
    'pcr9 event 0: EV_EVENT_TAG section .initrd, 1 bytes only in B ()',
    'pcr9 event 0 (B: 1): EV_EVENT_TAG section .linux, 1 bytes against EV_EVENT_TAG section .linux, 2 bytes ()',
  ])
  const [a, b] = [log([before], { uki: '1', loadOptions: 'x' }), log([after], { uki: '2', loadOptions: 'y' })]
  t.match(differences(a, b).at(-1), { where: 'pcr9 event 0', causes: ['uki'] }, 'only what reaches the event')
  const sha1 = { ...before, digests: { sha1: 'a'.repeat(40) } }
  t.same(told(log([before]), log([sha1])), ['events: sha256 in A, sha1 in B: no digest to compare ()'])
})

t.test('what is not measured but is in the evidence, and another platform', async (t) => {
  const rehearsed = (platform: string, fields: Record<string, string>) =>
    readDocument({ kind: 'rehearsal', platform, launchDigest: 'ab'.repeat(48), fields }, 'rehearsed.json')
  const [a, b] = [
    rehearsed('sev-snp', { POLICY: '0x30000', HOST_DATA: '00' }),
    rehearsed('sev-snp', { POLICY: '0x30000', HOST_DATA: '01' }),
  ]
  t.same(told(a, b), ['field HOST_DATA: 00 against 01 ()'])
  t.same(told(a, rehearsed('tdx', { XFAM: '0x3' })), ['platform: sev-snp against tdx ()'])
})

t.test('registers after one that is not known are compared, too', async (t) => {
  const predicted = (value: string, append: string) =>
    readDocument({ mrtd: 'ab'.repeat(48), inputs: { append }, rtmr: [], rtmrs: { 2: value.repeat(96) } }, 'x')
  t.match(differences(predicted('a', 'quiet'), predicted('b', 'loud')).at(-1), {
    where: 'rtmr2',
    causes: ['append'],
  })
})

t.test('alignment explains any two lists completely', async (t) => {
  const list = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { maxLength: 12 })
  fc.assert(
    fc.property(list, list, (left, right) => {
      const log = (letters: readonly string[]): MeasuredDocument => ({
        kind: 'event-log',
        events: letters.map((letter) => event(letter, letter)),
      })
      const found = differences(log(left), log(right))
      const onlyA = found.filter(({ what }) => what.endsWith('only in A')).length
      const onlyB = found.filter(({ what }) => what.endsWith('only in B')).length
      const isEqual = left.join('') === right.join('')
      return (found.length === 0) === isEqual && left.length - onlyA === right.length - onlyB
    }),
    { numRuns: 500 },
  )
  t.pass()
})

t.test('bills of materials: roles, tools and packages', async (t) => {
  const bill = (uki: string, version: string) =>
    readDocument(
      {
        tools: { kind: 'tree', digest: 'ab'.repeat(32) },
        materials: [{ role: 'uki', path: '/x', bytes: 1, sha256: uki, modified: 'then' }],
        packages: [{ name: 'systemd', version }],
      },
      'bill.json',
    )
  t.same(
    differences(bill('01', '1'), bill('02', '2')).map(({ where, what }) => `${where}: ${what}`),
    ['input uki: UKI: 01 to 02', 'package systemd: 1 to 2'],
  )
  t.match(differences(bill('01', '1'), bill('02', '1')), [{ because: /^can change PCR 4, .*11/ }])
  const other = { ...bill('01', '1'), packages: { shim: '2', dash: '3' } }
  t.same(
    differences(bill('01', '1'), other).map(({ where, what }) => `${where}: ${what}`),
    ['packages only in A: systemd 1', 'packages only in B: dash 3, shim 2'],
  )
})

t.test(
  'two live TDX logs differ in the events of their guests alone',
  { skip: vectorsMissing },
  async (t) => {
    const [a, b] = ['ccel_live', 'ccel_live2'].map((name) => eventLogDocument(vector(`eventlog/${name}.bin`)))
    if (!a || !b) return
    t.same(differences(a, a), [])
    t.ok(differences(a, b).length > 0)
    t.ok(differences(a, b).every(({ where }) => where.startsWith('rtmr')))
    t.equal(a.rtmr?.length, 4)
  },
)

function refuses(t: Test, json: unknown, message: RegExp): void {
  t.throws(() => readDocument(json, 'x.json'), { name: UsageError.name, message })
}

t.test('documents that are malformed are refused by field', async (t) => {
  for (const json of [undefined, null, 1, 'text', []]) refuses(t, json, /document must be an object/)
  refuses(t, {}, /nothing that can be compared/)
  refuses(t, { kind: 'rumour', mrtd: 'ab'.repeat(48) }, /kind must be one of/)
  refuses(t, { mrtd: 'AB' }, /mrtd must be a digest/)
  refuses(t, { rtmr: ['x'] }, /rtmr\[0\]/)
  refuses(t, { pages: [{ gpa: 'x', size: 1, type: 'zero' }] }, /pages\[0\]\.gpa/)
  refuses(t, { pages: [{ gpa: '0x0', size: -1, type: 'zero' }] }, /pages\[0\]\.size/)
  refuses(t, { pages: [{ gpa: '0x0', size: 4096 }] }, /pages\[0\]\.type/)
  refuses(t, { events: [{ register: 'pcr1', type: 'x', digests: { sha256: 1 } }] }, /digests\.sha256/)
  refuses(t, { materials: [{}] }, /materials\[0\]\.role/)
  fc.assert(
    fc.property(fc.jsonValue(), (json) => {
      try {
        const document = readDocument(json, 'x.json')
        differences(document, document)
      } catch (error) {
        if (!(error instanceof UsageError)) throw error
      }
    }),
  )
})
