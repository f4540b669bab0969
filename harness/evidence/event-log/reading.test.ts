import t from 'tap'
import { refusesToVerify } from '../../base/testing/rejects.ts'
import { EV } from '../../formats/event-log/event-types.ts'
import { variableEvent } from '../../formats/event-log/testing/efi-event-data.ts'
import { honest, read } from '../testing/honest-log.ts'
import { GLOBAL, separator, systemdRecord, ukiBoot } from '../testing/measured-boot.ts'
import { readEventLog } from './read.ts'
import { verifyEventLog } from './verify.ts'

for (const registers of ['pcr', 'rtmr'] as const)
  t.test(`a boot of a UKI is read from ${registers === 'pcr' ? 'PCRs' : 'RTMRs'}`, async (t) => {
    const systemd = Buffer.concat([
      systemdRecord('enter-initrd', { registers }),
      systemdRecord('leave-initrd', { registers }),
    ])
    const reading = read(honest(ukiBoot(registers), { registers, systemd }))
    t.match(reading.secureBoot.enabled, { value: true, covered: true })
    t.match(reading.secureBoot.databases, {
      PK: { covered: true, value: { name: 'PK', lists: [{}] } },
      dbx: { value: { lists: [] } },
    })
    t.match(reading.secureBoot.authorities, [{ covered: true, value: { name: 'db' } }])
    t.match(reading.bootOrder, { value: { entries: [1, 0], nameCovered: false }, covered: true })
    t.match(reading.bootEntries, [
      { covered: true, value: { number: 1, nameCovered: false, option: { description: 'Linux' } } },
    ])
    t.match(reading.images, [{ covered: true, value: { kindHint: 'application', pathHint: String } }])
    t.match(reading.partitionTables, [
      { covered: true, value: { partitions: [{ label: 'esp' }, { label: 'root' }] } },
    ])
    t.match(reading.exitBootServices, { value: 'returned', covered: true })
    t.strictSame(
      reading.ukiSections.map(({ value, covered }) => [value.name, covered]),
      [
        ['.linux', true],
        ['.cmdline', true],
        ['.initrd', true],
      ],
    )
    t.match(reading.commandLines, [{ covered: true, value: { by: 'systemd', text: 'console=ttyS0 quiet' } }])
    t.strictSame(
      reading.additions.map(({ value }) => [value.labelHint, value.descriptionHint]),
      [
        ['initrd', 'Credentials initrd'],
        ['devicetree-addon', 'board.dtb'],
        ['linux-initrd', 'Linux initrd'],
        ['shim-list', 'MokList'],
      ],
    )
    t.strictSame(
      reading.userspace.phases.map(({ value, covered }) => [value, covered]),
      [
        ['enter-initrd', true],
        ['leave-initrd', true],
      ],
    )
    t.strictSame(
      reading.unexplained.map(({ type }) => type),
      [EV.S_CRTM_VERSION, EV.EFI_PLATFORM_FIRMWARE_BLOB2],
    )
    t.equal(
      reading.separators.filter(({ value }) => value.state === 'separator').length,
      registers === 'pcr' ? 8 : 2,
    )
  })

t.test('a register that nobody vouches for makes nothing true', async (t) => {
  const request = honest(ukiBoot('pcr'))
  const only4 = { ...request, values: new Map([...request.values].filter(([register]) => register === 4)) }
  const reading = read(only4)
  t.match(reading.secureBoot.enabled, { value: true, covered: false })
  t.match(reading.secureBoot.databases.db, { covered: false })
  t.match(reading.images, [{ covered: true }])
  t.ok(reading.ukiSections.every(({ covered }) => !covered))
  t.match(reading.bootOrder, { covered: false })
})

t.test('a register that may differ is compared all the same, and nothing in it is believed', async (t) => {
  const request = honest(ukiBoot('pcr'))
  const values = new Map([...request.values, [11, Buffer.alloc(32, 1)] as const])
  refusesToVerify(t, () => verifyEventLog({ ...request, values }), 'replay-mismatch')
  const verified = verifyEventLog({ ...request, values, mayDiffer: [11] })
  t.equal(verified.coverage.get(11), 'differs')
  t.ok(readEventLog(verified).ukiSections.every(({ covered }) => !covered))
  t.match(readEventLog(verified).secureBoot.enabled, { covered: true })
})

t.test('a register that was extended without an event is not covered; an untouched one is', async (t) => {
  const request = honest(ukiBoot('pcr'))
  const values = new Map([
    ...request.values,
    [10, Buffer.alloc(32, 1)] as const,
    [16, Buffer.alloc(32)] as const,
    [17, Buffer.alloc(32, 0xff)] as const,
  ])
  const { coverage } = verifyEventLog({ ...request, values })
  t.strictSame([coverage.get(10), coverage.get(16), coverage.get(17)], ['unlogged', 'equal', 'equal'])
})

t.test("Secure Boot's state by what the variable says", async (t) => {
  const state = (data: Uint8Array) => {
    const event = {
      register: 7,
      type: EV.EFI_VARIABLE_DRIVER_CONFIG,
      data: variableEvent(GLOBAL, 'SecureBoot', data),
    }
    return read(honest([event, separator(7)])).secureBoot.enabled
  }
  t.match(state(Buffer.of(1)), { value: true, covered: true })
  t.match(state(Buffer.of(0)), { value: false, covered: true })
  t.match(state(Buffer.alloc(0)), { value: false, covered: true }, 'a variable that does not exist')
  t.equal(state(Buffer.of(2)), undefined)
  t.equal(state(Buffer.of(1, 0)), undefined)
})

t.test('GRUB and older loaders are read too', async (t) => {
  const grub = (text: string, measured: string) => ({
    register: 8,
    type: EV.IPL,
    data: `${text}\0`,
    measured,
  })
  const reading = read(
    honest([
      grub('grub_cmd: linux /vmlinuz', 'linux /vmlinuz'),
      grub('kernel_cmdline: /vmlinuz ro', '/vmlinuz ro'),
      grub('grub_cmd: forged', 'something else'),
      { register: 9, type: EV.IPL, data: '(hd0)/vmlinuz\0', measured: 'the kernel' },
    ]),
  )
  t.match(reading.grubCommands, [{ value: 'linux /vmlinuz', covered: true }])
  t.match(reading.commandLines, [{ value: { by: 'grub', text: '/vmlinuz ro' }, covered: true }])
  t.strictSame(
    reading.additions.map(({ value }) => [value.labelHint, value.descriptionHint]),
    [
      ['other', 'grub_cmd: forged'],
      ['file', '(hd0)/vmlinuz'],
    ],
  )
})

t.test('command lines are text only where the text hashes to what was extended', async (t) => {
  const text = Buffer.from('quiet\0', 'utf16le')
  for (const measured of [text, text.subarray(0, -2), Buffer.concat([text, Buffer.of(0)])]) {
    const { commandLines } = read(honest([{ register: 12, type: EV.IPL, data: text, measured }]))
    t.match(commandLines, [{ value: { text: 'quiet' }, covered: true }])
  }
  const forged = read(honest([{ register: 12, type: EV.IPL, data: text, measured: 'init=/bin/sh' }]))
  t.strictSame(forged.commandLines, [])
  t.match(
    forged.additions,
    [{ value: { descriptionHint: 'quiet' } }],
    'it is there, and it is no command line',
  )
})

t.test('nothing hides behind a NUL, or in bytes that are no text', async (t) => {
  const hidden = Buffer.from('quiet\0 init=/bin/sh\0', 'utf16le')
  t.strictSame(read(honest([{ register: 12, type: EV.IPL, data: hidden }])).commandLines, [])
  for (const tail of ['ro\0 init=/bin/sh', Buffer.from([0x72, 0xff])]) {
    const data = Buffer.concat([Buffer.from('kernel_cmdline: '), Buffer.from(tail)])
    const reading = read(honest([{ register: 8, type: EV.IPL, data, measured: tail }]))
    t.strictSame(reading.commandLines, [])
    t.equal(reading.additions.length, 1)
  }
})

t.test('a UKI section needs its name in the register', async (t) => {
  const description = Buffer.from('.linux\0', 'utf16le')
  const name = { register: 11, type: EV.IPL, data: description, measured: '.linux\0' }
  const content = { register: 11, type: EV.IPL, data: description, measured: 'kernel' }
  t.equal(read(honest([name, content])).ukiSections.length, 1)
  t.equal(read(honest([content, name])).ukiSections.length, 0)
  t.equal(read(honest([{ ...name, measured: '.initrd\0' }, content])).ukiSections.length, 0)
  t.equal(read(honest([name])).ukiSections.length, 0)
  t.equal(
    read(
      honest([
        { ...name, measured: '.linux\0' },
        { ...content, data: Buffer.from('.osrel\0', 'utf16le') },
      ]),
    ).ukiSections.length,
    0,
  )
})

t.test('user space: strings count where they hash to the record, secrets by their digest', async (t) => {
  const systemd = Buffer.concat([
    systemdRecord('enter-initrd'),
    systemdRecord('ready', { measured: 'sysinit' }),
    systemdRecord('machine-id:00', { register: 15 }),
    systemdRecord('cryptsetup:root:uuid', { register: 15, measured: 'an HMAC', eventType: 'volume-key' }),
    systemdRecord('product-id:x', { nvIndex: 0x1d10200 }),
  ])
  const { userspace } = read(honest(ukiBoot('pcr'), { systemd }))
  t.strictSame(
    userspace.phases.map(({ value }) => value),
    ['enter-initrd'],
    'a phase that was not measured is none',
  )
  t.strictSame(
    userspace.strings.map(({ value }) => value),
    ['machine-id:00'],
  )
  t.strictSame(
    userspace.digests.map(({ value }) => value.textHint),
    ['ready', 'cryptsetup:root:uuid'],
  )
})

t.test('malformed data leave an event unexplained, and break nothing', async (t) => {
  const kinds = [
    EV.EFI_VARIABLE_BOOT,
    EV.EFI_VARIABLE_DRIVER_CONFIG,
    EV.EFI_VARIABLE_AUTHORITY,
    EV.EFI_GPT_EVENT,
    EV.EVENT_TAG,
  ]
  const events = [1, 4, 5, 7, 9, 12].flatMap((register) =>
    kinds.map((type) => ({ register, type, data: 'x' })),
  )
  const reading = read(honest(events))
  t.equal(reading.unexplained.length, events.length)
  const image = read(
    honest([{ register: 4, type: EV.EFI_BOOT_SERVICES_APPLICATION, data: 'x', measured: 'image' }]),
  )
  t.match(
    image.images,
    [{ value: { pathHint: undefined }, covered: true }],
    'an image is one, wherever it came from',
  )
})
