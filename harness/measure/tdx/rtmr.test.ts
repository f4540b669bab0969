/** Expected digests are those of hardware's CC logs in the shared vectors, or of a TCG boot's log (see each). */
import t from 'tap'
import { digest } from '../../base/digest.ts'
import { vector, vectorsMissing } from '../../base/testing/vectors.ts'
import { parseEventLog } from '../../formats/event-log/parse.ts'
import { syntheticPe } from '../../formats/testing/pe-file.ts'
import { firmwareBuild } from '../testing/firmware-builds.ts'
import { eventDigest, type PredictedEvent } from '../tpm/event.ts'
import { parseFirmwareCode } from '../tpm/firmware-code.ts'
import { predictMappedDirectBoot } from './mapped-rtmr.ts'
import { predictDirectBoot, predictDiskBoot, type RtmrPrediction, type TdxMachine } from './rtmr.ts'

/** Debian's OVMF.inteltdx.ms.fd of 2026.08, of the vectors. */
const file = firmwareBuild('a265075b4147a096109e501e76196df1ec8a18659c26f7401492c597ec88f312')
/** OVMF.amdsev.fd of the same package: its variable store is empty, and as long. */
const WITH_EMPTY_STORE = '3e4fd0b3fe3b2dbe481c3d9e99418a034174f26cbe1f55aa212b0f18c12d2d6f'
const skip = file === undefined && 'the TDX build of the vectors is not at hand (see ATTESTBED_FIRMWARE)'
const ACPI = { loader: Buffer.from('loader'), rsdp: Buffer.from('rsdp'), tables: Buffer.from('tables') }
const KERNEL = syntheticPe({ sections: [{ name: '.text', content: Buffer.from('a kernel') }] })
const UKI = syntheticPe({
  sections: [
    { name: '.linux', content: Buffer.from('kernel') },
    { name: '.cmdline', content: Buffer.from('console=ttyS0') },
    { name: '.initrd', content: Buffer.from('initrd') },
  ],
})

let parsed: TdxMachine | undefined
function machine(): TdxMachine {
  const firmware = file ?? Buffer.alloc(0)
  const code = parseFirmwareCode(firmware)
  // What boots here is not signed.
  const features = { ...code.features, secureBoot: false }
  parsed ??= { firmware, code: { ...code, features }, memory: 2 ** 31, acpi: ACPI, bootDevices: [] }
  return parsed
}

const sha384 = (event: PredictedEvent | undefined) => event && eventDigest(event, 'sha384')?.toString('hex')
const of = ({ events }: RtmrPrediction, rtmr: number) => events.filter((event) => event.rtmr === rtmr)

t.test(
  'events that do not depend on the machine are those of a TD on hardware',
  { skip: vectorsMissing || skip },
  async (t) => {
    const log = parseEventLog(vector('eventlog/ccel_live.bin'))
    const logged = new Set(
      log.events.flatMap(({ digests }) => digests.map(({ bytes }) => Buffer.from(bytes).toString('hex'))),
    )
    const { events } = predictDirectBoot(machine(), { kernel: KERNEL, commandLine: '' })
    const actions = events.filter(({ type }) => type === 'EV_EFI_ACTION' || type === 'EV_SEPARATOR')
    t.equal(actions.length, 5)
    for (const event of actions) t.ok(logged.has(sha384(event) ?? ''), event.what)
  },
)

t.test(
  "the memory of a TD of 2 GiB, and Debian's empty variable store, are those of a TD's log",
  { skip: vectorsMissing || skip },
  async (t) => {
    const log = parseEventLog(vector('eventlog/ccel_ovmf.bin'))
    const [, hob, variables] = log.events.map(({ digests }) =>
      Buffer.from(digests[0]?.bytes ?? []).toString('hex'),
    )
    const { events } = predictDirectBoot(machine(), { kernel: KERNEL, commandLine: '' })
    t.equal(sha384(events[0]), hob)
    const empty = firmwareBuild(WITH_EMPTY_STORE)
    if (empty) t.equal(digest('sha384', empty.subarray(0, 0x84000)).toString('hex'), variables)
  },
)

t.test('a direct boot: the kernel in RTMR1, its command line and initrd in RTMR2', { skip }, async (t) => {
  const initrd = Buffer.from('initrd')
  const prediction = predictDirectBoot(machine(), { kernel: KERNEL, initrd, commandLine: 'quiet' })
  t.strictSame(
    of(prediction, 1).map(({ what }) => what),
    [
      ...['kernel', '"Calling EFI Application from Boot Option"', 'separator'],
      ...['"Exit Boot Services Invocation"', '"Exit Boot Services Returned with Success"'],
    ],
  )
  const line = Buffer.from('quiet initrd=initrd\0', 'utf16le')
  t.strictSame(
    of(prediction, 2).map(sha384),
    [line, initrd].map((bytes) => digest('sha384', bytes).toString('hex')),
  )
  const value = [line, initrd].reduce<Buffer>(
    (old, bytes) => digest('sha384', old, digest('sha384', bytes)),
    Buffer.alloc(48),
  )
  t.strictSame(prediction.registers[2], { index: 2, known: true, value })
  t.ok(prediction.registers.every(({ known }) => known))
})

t.test(
  'RTMR0 begins with memory, variable store and what is taken from fw_cfg, and needs the tables',
  { skip },
  async (t) => {
    const prediction = predictDirectBoot(machine(), { kernel: KERNEL, commandLine: '' })
    const whats = of(prediction, 0).map(({ what }) => what)
    t.strictSame(whats.slice(0, 3), [
      'TD HOB: memory of the TD',
      'CFV: the variable store',
      'QEMU FW CFG, BootMenu',
    ])
    t.strictSame(whats.slice(-3), [
      'variable BootOrder, 4 bytes',
      'variable Boot0000, 88 bytes',
      'variable Boot0001, 88 bytes',
    ])
    const { acpi, ...without } = machine()
    const lacking = predictDirectBoot(without, { kernel: KERNEL, commandLine: '' }).registers[0]
    t.match(lacking, { known: false, reasons: [/ACPI/] })
    t.match(predictDirectBoot(machine(), { kernel: KERNEL, commandLine: 'x' }).registers[0], { known: true })
  },
)

t.test('each input shows in its own register', { skip }, async (t) => {
  const boot = { kernel: KERNEL, commandLine: 'quiet' }
  const values = (prediction: RtmrPrediction) =>
    prediction.registers.map((each) => each.known && each.value.toString('hex'))
  const before = values(predictDirectBoot(machine(), boot))
  const changed = (prediction: RtmrPrediction) =>
    values(prediction).flatMap((value, index) => (value === before[index] ? [] : [index]))
  t.strictSame(changed(predictDirectBoot({ ...machine(), memory: 2 ** 32 }, boot)), [0])
  t.strictSame(changed(predictDirectBoot(machine(), { ...boot, kernel: UKI })), [1, 2])
  t.strictSame(changed(predictDirectBoot(machine(), { ...boot, commandLine: 'loud' })), [2])
  const rom = Buffer.from(machine().firmware)
  // Free space behind the variables: part of the volume all the same.
  rom[0x3000] = 0
  t.strictSame(changed(predictDirectBoot({ ...machine(), firmware: rom }, boot)), [0])
})

t.test('a UKI from disk: image and partition table in RTMR1, the stub in RTMR2', { skip }, async (t) => {
  const prediction = predictDiskBoot(machine(), { uki: UKI })
  t.match(prediction.registers[1], { known: false, reasons: [/disk/] })
  t.strictSame(
    of(prediction, 2).map(({ pcr }) => pcr),
    [11, 11, 11, 11, 11, 11, 9, 9],
  )
  t.equal(prediction.registers[2]?.known, true)
})

t.test('with Secure Boot an unsigned kernel or UKI is said to be refused', { skip }, async (t) => {
  const { code } = machine()
  const enforcing = { ...machine(), code: { ...code, features: { ...code.features, secureBoot: true } } }
  const uki = predictDiskBoot(enforcing, { uki: UKI })
  t.match(uki.registers[2], { known: false, reasons: [/the firmware refuses the UKI: it is not signed/] })
  const kernel = predictDirectBoot(enforcing, { kernel: KERNEL, commandLine: '' })
  t.match(kernel.registers[1], {
    known: false,
    reasons: [/the firmware refuses the kernel: it is not signed/],
  })
})

t.test(
  'under firmware that measures into a TPM RTMR1 and 2 are known, and another UKI changes both',
  { skip },
  async (t) => {
    const mapped = (kernel: Uint8Array) => predictMappedDirectBoot(machine(), { kernel, commandLine: '' })
    const prediction = mapped(UKI)
    t.strictSame(
      of(prediction, 1).map(({ pcr, what }) => `${pcr} ${what}`),
      [
        ...['4 kernel', '4 "Calling EFI Application from Boot Option"'],
        ...[2, 3, 4, 5, 6].map((pcr) => `${pcr} separator`),
        ...['5 "Exit Boot Services Invocation"', '5 "Exit Boot Services Returned with Failure"'],
        ...['5 "Exit Boot Services Invocation"', '5 "Exit Boot Services Returned with Success"'],
      ],
    )
    t.strictSame(
      of(prediction, 2).map(({ pcr }) => pcr),
      [...Array(6).fill(11), 9, 9],
    )
    const hex = ({ registers }: RtmrPrediction) =>
      registers.map((register) => (register.known ? register.value.toString('hex') : 'unknown'))
    const replayed = (rtmr: number) =>
      of(prediction, rtmr).reduce<Buffer>(
        (value, event) => digest('sha384', value, Buffer.from(sha384(event) ?? '', 'hex')),
        Buffer.alloc(48),
      )
    t.strictSame(hex(prediction), ['unknown', replayed(1).toString('hex'), replayed(2).toString('hex')])
    const other = syntheticPe({
      sections: [
        { name: '.linux', content: Buffer.from('kernel') },
        { name: '.cmdline', content: Buffer.from('console=ttyS0 debug') },
        { name: '.initrd', content: Buffer.from('initrd') },
      ],
    })
    const [, one, two] = hex(mapped(other))
    t.notOk(hex(prediction).includes(one ?? ''))
    t.notOk(hex(prediction).includes(two ?? ''))
  },
)
