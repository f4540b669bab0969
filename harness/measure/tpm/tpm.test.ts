/** Expected digests are those of other people's logs, or computed here from what the specifications say. */
import t from 'tap'
import { digest } from '../../base/digest.ts'
import { encodeBootNumbers, encodeLoadOption, parseLoadOption } from '../../formats/load-option.ts'
import { compressedFirmware, volume } from '../../formats/testing/firmware-volume.ts'
import { syntheticPe } from '../../formats/testing/pe-file.ts'
import { variableFlash } from '../../formats/testing/variable-flash.ts'
import { parseUki } from '../../formats/uki.ts'
import { parseVariableStore } from '../../formats/variable-store.ts'
import { predictTpm } from './boot.ts'
import { bootVariables, qemuBootOrder } from './boot-entries.ts'
import { bootSecret } from './boot-secret.ts'
import { eventDigest, known, type PredictedEvent, separator, unknown } from './event.ts'
import { firmwareCodeEvents, parseFirmwareCode } from './firmware-code.ts'
import { foldEvents } from './registers.ts'
import { secureBootEvents } from './secure-boot.ts'
import { smbiosTableEvent, stubSmbiosEvents } from './smbios-events.ts'
import { sectionEvents, stubParameters } from './stub.ts'
import { companionArchive } from './stub-initrd.ts'

const hexes = (events: readonly PredictedEvent[]) =>
  events.map((event) => eventDigest(event, 'sha256')?.toString('hex'))
const SECURE_BOOT_ENABLE = 'f0a30bc7-af08-4556-99c4-001009c93a44'
const LOADER = '4a67b082-0a4c-41cf-b6c7-440b29bb8c4f'

t.test('a register is unknown with one unknown event, and says why once', async (t) => {
  const event = (content: PredictedEvent['content']): PredictedEvent => ({ ...separator(4), content })
  const lacking = [event(unknown('no disk')), separator(4), event(unknown('no disk'))]
  t.strictSame(foldEvents(4, lacking, 'sha256'), { index: 4, known: false, reasons: ['no disk'] })
  const value = digest('sha256', Buffer.alloc(32), digest('sha256', 'a'))
  t.strictSame(foldEvents(4, [event(known('a'))], 'sha256'), { index: 4, known: true, value })
  t.match(foldEvents(8, [], 'sha1'), { known: true, value: Buffer.alloc(20) })
})

t.test('PCR 2, 3 and 6 hold one separator', async (t) => {
  const register = foldEvents(2, [separator(2)], 'sha256')
  t.equal(
    register.known && register.value.toString('hex'),
    '3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969',
  )
})

// --- PCR 7 ---

const ABSENT = [
  'dea7b80ab53a3daaa24d5cc46c64e1fa9ffd03739f90aadbd8c0867c4a5b4890',
  'e670e121fcebd473b8bc41bb801301fc1d9afa33904f06f7149b74f12c47a68f',
  'baf89a3ccace52750c5f0128351e0422a41597a1adfd50822aa363b9d124ea7c',
  '9f75b6823bff6af1024a4e2036719cdd548d3cbc2bf1de8e7ef4d0ed01f94bf9',
]
const SEPARATOR = 'df3f619804a92fdb4057192dc43dd748ea778adc52bc498ce80524c014b81119'

t.test('the Secure Boot policy of setup mode is that of every machine in setup mode', async (t) => {
  const empty = parseVariableStore(variableFlash([]))
  const off = '115aa827dbccfb44d216ad9ecfda56bdea620b860a94bed5b7a27bba1c4d02d8'
  t.strictSame(hexes(secureBootEvents(empty, true)), [off, ...ABSENT, SEPARATOR])
  const without = 'ce9ce386b52e099f3019e512a0d6062d6b560efe4ff3e5661c7525e2f9c263df'
  t.strictSame(hexes(secureBootEvents(empty, false)), [without, ...ABSENT, SEPARATOR])
})

t.test('Secure Boot is on with a platform key, unless it is switched off', async (t) => {
  const on = 'ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e'
  const key = { name: 'PK', data: Buffer.from('key') }
  const enabled = parseVariableStore(variableFlash([key]))
  t.equal(hexes(secureBootEvents(enabled, true))[0], on)
  const disabled = parseVariableStore(
    variableFlash([key, { name: 'SecureBootEnable', guid: SECURE_BOOT_ENABLE, data: Buffer.of(0) }]),
  )
  t.not(hexes(secureBootEvents(disabled, true))[0], on)
})

// --- PCR 0 ---

t.test('a build with the measuring module has its version, and its volumes as they are', async (t) => {
  const text = Buffer.from('a\0v1.2\0', 'utf16le')
  const code = parseFirmwareCode(compressedFirmware())
  t.equal(code.version, undefined)
  const [versionEvent, blob] = firmwareCodeEvents(code, undefined)
  t.match(versionEvent?.content, { known: false })
  t.equal(
    blob && eventDigest(blob, 'sha256')?.toString('hex'),
    digest('sha256', volume([{ guid: '11111111-2222-3333-4444-555555555555', text: 'program' }])).toString(
      'hex',
    ),
  )
  const measured = firmwareCodeEvents({ ...code, version: text }, undefined)
  t.strictSame(hexes(measured.slice(0, 1)), [digest('sha256', text).toString('hex')])
})

t.test('the first volume of a build with SMM is unknown where its relocation code is', async (t) => {
  const code = parseFirmwareCode(compressedFirmware())
  const smm = { ...code, features: { ...code.features, smm: true } }
  t.match(firmwareCodeEvents(smm, undefined)[1]?.content, { known: false, reason: /SMM/ })
})

// --- PCR 1 ---

const DEVICE = { slot: 1, partitions: ['0e03ed54-5281-8ed3-a397-32b683b4c83d'] }
const names = (variables: readonly { readonly name: string }[]) => variables.map(({ name }) => name)

t.test('an empty store gets the entries of the firmware, the disk first', async (t) => {
  const store = parseVariableStore(variableFlash([]))
  const made = bootVariables({ store, devices: [DEVICE], shell: true })
  t.strictSame(names(made), ['BootOrder', 'Boot0002', 'Boot0000', 'Boot0001', 'Boot0003'])
  t.strictSame(made[0]?.data, encodeBootNumbers([2, 0, 1, 3]))
  // From a real boot's log: EV_EFI_VARIABLE_BOOT events 15 to 17 of OVMF 2026.08.
  t.strictSame(
    made.slice(1, 4).map(({ data }) => digest('sha256', data).toString('hex')),
    [
      'e6f87048b3bcb1bef394cc3db6914f212e4697d9b26c43f3c36aec330447cbc0',
      '7cecd39025081ffa990dbe7078111b2c15102f9da7ac85f25ce54935b9ae0a96',
      'e52e99d0e07a49d2553de3de65e8da30fa0bddf34002a1fa17e8c79356c2e190',
    ],
  )
})

t.test('entries of the store keep their numbers; those on other disks are dropped', async (t) => {
  const [, disk] = bootVariables({
    store: parseVariableStore(variableFlash([])),
    devices: [DEVICE],
    shell: false,
  })
  const elsewhere = parseLoadOption(disk?.data ?? Buffer.alloc(0))
  const moved = encodeLoadOption({ ...elsewhere, description: 'mine', optionalData: Buffer.from('x') })
  const store = parseVariableStore(
    variableFlash([
      { name: 'BootOrder', data: encodeBootNumbers([7]) },
      { name: 'Boot0007', data: moved },
    ]),
  )
  const here = bootVariables({ store, devices: [DEVICE], shell: false })
  t.strictSame(here[0]?.data, encodeBootNumbers([7, 2, 0, 1]))
  const other = bootVariables({ store, devices: [{ ...DEVICE, slot: 2 }], shell: false })
  t.strictSame(other[0]?.data, encodeBootNumbers([2, 0, 1]))
})

t.test('QEMU names boot devices in its order', async (t) => {
  t.equal(qemuBootOrder([DEVICE]), '/pci@i0cf8/scsi@1/disk@0,0\0')
  t.equal(
    qemuBootOrder([{ ...DEVICE, slot: 31, function: 2 }, DEVICE]).split('\n')[0],
    '/pci@i0cf8/scsi@1f,2/disk@0,0',
  )
  t.equal(qemuBootOrder([]), '')
})

const smbios = (type: number, formatted: readonly number[], strings: readonly string[]) =>
  Buffer.concat([
    Buffer.from([type, 4 + formatted.length, 1, 0, ...formatted]),
    Buffer.from(strings.length === 0 ? '\0\0' : `${strings.join('\0')}\0\0`),
  ])
/** Maker, product, version, serial number, UUID, wake-up type, SKU, family. */
const SYSTEM = [1, 2, 3, 4, ...Array.from({ length: 16 }, () => 0xee), 6, 0, 0]

t.test('of SMBIOS, what tells machines apart is filtered out', async (t) => {
  const table = (serial: string, uuid: number) =>
    Buffer.concat([
      smbios(
        1,
        SYSTEM.map((byte) => (byte === 0xee ? uuid : byte)),
        ['QEMU', 'PC', 'v', serial],
      ),
      ...[smbios(11, [1], [serial]), smbios(130, [uuid], []), smbios(127, [], [])],
    ])
  const value = (bytes: Buffer) => hexes([smbiosTableEvent(bytes)])[0]
  t.equal(value(table('1234', 0xee)), value(table('9876', 0x11)))
  t.not(value(table('1234', 0xee)), value(table('12345', 0xee)), 'the length of a string shows')
  t.match(smbiosTableEvent(undefined).content, { known: false })
  t.throws(() => smbiosTableEvent(table('1234', 1).subarray(0, 20)), { code: 'truncated' })
})

t.test(
  'the stub measures the system and the OEM strings as they are, without how it was switched on',
  async (t) => {
    const system = smbios(1, SYSTEM, ['QEMU', 'PC', 'v', 's'])
    const oem = smbios(11, [1], ['io.systemd.credential:a=b'])
    const events = stubSmbiosEvents(Buffer.concat([system, smbios(3, [1], ['x']), oem, smbios(127, [], [])]))
    const awake = Buffer.from(system)
    awake[24] = 0
    t.strictSame(hexes(events), [
      digest('sha256', awake).toString('hex'),
      digest('sha256', oem).toString('hex'),
    ])
  },
)

// --- the stub ---

const UKI = syntheticPe({
  sections: Object.entries({
    ...{ '.cmdline': 'console=ttyS0  quiet\n', '.linux': 'kernel', '.initrd': 'initrd', '.pcrsig': '{}' },
    ...{ '.osrel': 'ID=debian\nIMAGE_ID="lab"\n', '.sdmagic': '#### LoaderInfo: systemd-stub 262-1 ####' },
  }).map(([name, text]) => ({ name, content: Buffer.from(text) })),
})
const uki = parseUki(UKI)
const plain = {
  uki,
  secureBoot: true,
  addons: [],
  companions: {},
  profile: 0,
  bootSecret: { kind: 'none' },
} as const

t.test(
  'PCR 11 has names and contents in the order of the specification, and not the signature',
  async (t) => {
    t.strictSame(
      sectionEvents(uki).map(({ what }) => what),
      ['.linux', '.osrel', '.cmdline', '.initrd'].flatMap((name) => [
        `name ${name}`,
        `section ${name}, ${uki.sections.find((each) => each.name === name)?.content.length} bytes`,
      ]),
    )
  },
)

t.test('a passed command line counts and is measured only without Secure Boot', async (t) => {
  const passed = { ...plain, loadOptions: ' init=/bin/sh ' }
  t.equal(stubParameters(passed).commandLine, 'console=ttyS0  quiet')
  t.strictSame(stubParameters(passed).events, [])
  const off = stubParameters({ ...passed, secureBoot: false })
  t.equal(off.commandLine, 'init=/bin/sh')
  t.strictSame(hexes(off.events), [
    digest('sha256', Buffer.from('init=/bin/sh\0', 'utf16le')).toString('hex'),
  ])
})

t.test('addons and SMBIOS add to the command line in that order, each measured', async (t) => {
  const addon = parseUki(syntheticPe({ sections: [{ name: '.cmdline', content: Buffer.from('a=1') }] }))
  const { commandLine, events } = stubParameters({
    ...plain,
    addons: [
      { name: 'a.addon.efi', sections: addon },
      { name: 'b.addon.efi', sections: addon },
    ],
    smbiosCommandLine: 'b=2',
  })
  t.equal(commandLine, 'console=ttyS0  quiet a=1 a=1 b=2')
  t.strictSame(
    hexes(events),
    ['a=1 a=1', 'b=2'].map((line) => digest('sha256', Buffer.from(`${line}\0`, 'utf16le')).toString('hex')),
  )
})

t.test('companion files are archives that GNU cpio and the kernel read, sorted by name', async (t) => {
  const files = ['b.cred', 'a.cred'].map((name) => ({ name, content: Buffer.from(`of ${name}`) }))
  const archive = companionArchive('credentials', files)?.toString('latin1') ?? ''
  const entries = archive.split('070701').slice(1)
  t.strictSame(
    entries.map((entry) => ({ mode: entry.slice(8, 16), name: entry.slice(104).split('\0')[0] })),
    [
      { mode: '0000416d', name: '.extra' },
      { mode: '00004140', name: '.extra/credentials' },
      { mode: '00008100', name: '.extra/credentials/a.cred' },
      { mode: '00008100', name: '.extra/credentials/b.cred' },
      { mode: '00000000', name: 'TRAILER!!!' },
    ],
  )
  t.equal(archive.length % 4, 0)
  t.equal(companionArchive('sysexts', []), undefined)
})

t.test('the boot secret is known after a boot that made it, and never guessed', async (t) => {
  const variable = { name: 'LoaderBootSecret', guid: LOADER, attributes: 3, data: Buffer.alloc(32, 1) }
  const store = parseVariableStore(variableFlash([variable]))
  const mixin = Buffer.alloc(32, 2)
  const length = Buffer.from([3, 0, 0, 0, 0, 0, 0, 0])
  const secret = digest('sha256', 'systemd-stub derive secret label v1', variable.data, mixin, length, 'lab')
  t.strictSame(bootSecret({ store, uki, mixin }), { kind: 'known', secret })
  t.match(bootSecret({ store, uki, mixin: undefined }), { kind: 'unknown', reason: /not given/ })
  const fresh = parseVariableStore(variableFlash([]))
  t.match(bootSecret({ store: fresh, uki, mixin }), { kind: 'unknown', reason: /random/ })
  const readable = parseVariableStore(variableFlash([{ ...variable, attributes: 7 }]))
  t.strictSame(bootSecret({ store: readable, uki, mixin }), { kind: 'none' })
})

// --- the whole boot ---

const FIRMWARE = { ...parseFirmwareCode(compressedFirmware()), version: Buffer.from('v1.2\0', 'utf16le') }

t.test('what is not given makes its registers unknown, never wrong', async (t) => {
  const registers = predictTpm({ firmware: FIRMWARE, variables: variableFlash([]), uki: UKI }).registers(
    'sha256',
  )
  t.strictSame(
    registers.flatMap(({ index, known: isKnown }) => (isKnown ? [] : [index])),
    [1, 5, 9, 10],
  )
})

t.test('a UKI that the firmware refuses is said to be refused, and nothing of it is predicted', async (t) => {
  const secure = { ...FIRMWARE, features: { ...FIRMWARE.features, secureBoot: true } }
  const variables = variableFlash([{ name: 'PK', data: Buffer.from('key') }])
  const { refused, registers, events } = predictTpm({ firmware: secure, variables, uki: UKI })
  t.equal(refused, 'it is not signed, and its digest is not in db')
  t.strictSame(registers('sha256')[11], {
    ...{ index: 11, known: false },
    reasons: ['the firmware refuses the UKI: it is not signed, and its digest is not in db'],
  })
  t.notOk(events.some(({ what }) => what.startsWith('section')))
})

t.test('a UKI whose digest is in db runs, and dbx comes before db', async (t) => {
  const secure = { ...FIRMWARE, features: { ...FIRMWARE.features, secureBoot: true } }
  const { authenticodeDigest } = await import('../../formats/authenticode.ts')
  const { encodeSignatureLists, SIGNATURE_TYPES } = await import('../../formats/signature-list.ts')
  const owner = '11111111-2222-3333-4444-555555555555'
  const signatures = [{ owner, data: authenticodeDigest(UKI, 'sha256') }]
  const data = encodeSignatureLists([{ type: SIGNATURE_TYPES.sha256, header: Buffer.alloc(0), signatures }])
  const guid = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f'
  const key = { name: 'PK', data: Buffer.from('key') }
  const allowed = predictTpm({
    ...{ firmware: secure, uki: UKI },
    variables: variableFlash([key, { name: 'db', guid, data }]),
  })
  t.equal(allowed.refused, undefined)
  t.ok(allowed.events.some(({ type }) => type === 'EV_EFI_VARIABLE_AUTHORITY'))
  const forbidden = predictTpm({
    ...{ firmware: secure, uki: UKI },
    variables: variableFlash([key, { name: 'db', guid, data }, { name: 'dbx', guid, data }]),
  })
  t.equal(forbidden.refused, 'its digest is in dbx')
})
