/** Digests are computed here from what systemd's documentation of its measurements says. */
import t from 'tap'
import { digest } from '../../base/digest.ts'
import { authenticodeDigest } from '../../formats/authenticode.ts'
import { encodeSignatureLists, SIGNATURE_TYPES } from '../../formats/signature-list.ts'
import { compressedFirmware } from '../../formats/testing/firmware-volume.ts'
import { syntheticPe } from '../../formats/testing/pe-file.ts'
import { variableFlash } from '../../formats/testing/variable-flash.ts'
import { predictTpm, type TpmBoot } from './boot.ts'
import { eventDigest } from './event.ts'
import { parseFirmwareCode } from './firmware-code.ts'

const program = (content: string) =>
  syntheticPe({ sections: [{ name: '.linux', content: Buffer.from(content) }] })
const LOADER = program('systemd-boot')
const UKI = program('kernel')
const CONFIGURATION = Buffer.from('timeout 0\n')
const plain = parseFirmwareCode(compressedFirmware())
const FIRMWARE = { ...plain, features: { ...plain.features, secureBoot: true } }

/** With Secure Boot and the digests of `trusted` in db. */
function predict(trusted: readonly Uint8Array[], configuration?: Uint8Array, more: Partial<TpmBoot> = {}) {
  const owner = '11111111-2222-3333-4444-555555555555'
  const signatures = trusted.map((file) => ({ owner, data: authenticodeDigest(file, 'sha256') }))
  const db = encodeSignatureLists([{ type: SIGNATURE_TYPES.sha256, header: Buffer.alloc(0), signatures }])
  const variables = variableFlash([
    { name: 'PK', data: Buffer.from('key') },
    { name: 'db', guid: 'd719b2cb-3d3a-4596-a3bc-dad00e67656f', data: db },
  ])
  const systemdBoot = { file: LOADER, ...(configuration && { configuration }) }
  return predictTpm({ firmware: FIRMWARE, variables, uki: UKI, systemdBoot, ...more })
}

const of = ({ events }: ReturnType<typeof predict>, pcr: number) =>
  events.filter((event) => event.pcr === pcr)
const hex = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString('hex')

t.test('PCR 4 has systemd-boot, then the UKI; PCR 7 the authority of each', async (t) => {
  const prediction = predict([LOADER, UKI], CONFIGURATION)
  t.equal(prediction.refused, undefined)
  t.strictSame(
    of(prediction, 4)
      .slice(-2)
      .map((event) => hex(eventDigest(event, 'sha256'))),
    [hex(authenticodeDigest(LOADER, 'sha256')), hex(authenticodeDigest(UKI, 'sha256'))],
  )
  t.equal(of(prediction, 7).filter(({ what }) => what.startsWith('authority in db')).length, 2)
})

t.test(
  'PCR 5 has the partition table, then loader.conf as it is, then the end of the firmware',
  async (t) => {
    const [, gpt, configuration, end] = of(predict([LOADER, UKI], CONFIGURATION), 5)
    t.match([gpt, end], [{ type: 'EV_EFI_GPT_EVENT' }, { what: '"Exit Boot Services Invocation"' }])
    t.match(configuration, { type: 'EV_EVENT_TAG', what: 'loader.conf, 10 bytes' })
    t.strictSame(configuration && eventDigest(configuration, 'sha256'), digest('sha256', CONFIGURATION))
    const without = of(predict([LOADER, UKI]), 5)
    t.notOk(without.some(({ what }) => what.startsWith('loader.conf')))
  },
)

t.test('a UKI that the firmware refuses to systemd-boot is said to be, and is not measured', async (t) => {
  const prediction = predict([LOADER], CONFIGURATION)
  t.match(prediction, { refusedBy: 'firmware', refused: 'it is not signed, and its digest is not in db' })
  t.ok(of(prediction, 4).some(({ what }) => what === 'systemd-boot'))
  t.notOk(prediction.events.some(({ what }) => what === 'UKI'))
  t.match(prediction.registers('sha256')[4], { known: false, reasons: [/^the firmware refuses the UKI: /] })
  t.match(predict([UKI]), { refusedBy: 'firmware' }, 'systemd-boot itself')
})

t.test('PCR 12 begins with the profile that systemd-boot passes, where it is not the first', async (t) => {
  const profiles = syntheticPe({
    sections: [
      { name: '.linux', content: Buffer.from('kernel') },
      { name: '.profile', content: Buffer.from('ID=main\n') },
      { name: '.profile', content: Buffer.from('ID=other\n') },
    ],
  })
  const ofProfile = (profile: number, more: Partial<TpmBoot> = {}) =>
    of(predict([LOADER, profiles], CONFIGURATION, { uki: profiles, profile, ...more }), 12)
  t.same(ofProfile(0), [])
  const [first, second, ...rest] = ofProfile(1)
  t.match(first, { type: 'EV_IPL', what: 'load options of systemd-boot: "@1"' })
  t.equal(
    hex(first && eventDigest(first, 'sha256')),
    hex(digest('sha256', Buffer.from('400031000000', 'hex'))),
  )
  t.match(second, { type: 'EV_EVENT_TAG', what: 'profile 1' }, 'the stub says it again')
  t.same(rest, [], 'and takes no command line from it')
  const alone = predict([profiles], undefined, {
    uki: profiles,
    profile: 1,
    systemdBoot: undefined,
  } as object)
  t.same(
    of(alone, 12).map(({ what }) => what),
    ['profile 1'],
    'without systemd-boot: the firmware measures no load options',
  )
})
