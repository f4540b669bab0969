/** What an owner demands of a boot from disk, from the events that are predicted of it. */
import { createHash } from 'node:crypto'
import t from 'tap'
import { UsageError } from '../../base/errors.ts'
import { action, known, type PredictedEvent, unknown } from '../../measure/tpm/event.ts'
import { foldRegisters } from '../../measure/tpm/registers.ts'
import { expectedOf } from './disk-boot.ts'

const hash = (algorithm: 'sha256' | 'sha384', ...parts: readonly (string | Uint8Array)[]) => {
  const made = createHash(algorithm)
  for (const part of parts) made.update(part)
  return made.digest()
}

/** The value of a register that started as zeros. */
function extended(algorithm: 'sha256' | 'sha384', ...contents: readonly (string | Uint8Array)[]): string {
  const start: Buffer = Buffer.alloc(algorithm === 'sha256' ? 32 : 48)
  return contents
    .reduce<Buffer>((value, content) => hash(algorithm, value, hash(algorithm, content)), start)
    .toString('hex')
}

const image = (what: string, content = known(what)): PredictedEvent => ({
  ...{ pcr: 4, type: 'EV_EFI_BOOT_SERVICES_APPLICATION', from: 'uki', what, content },
})
const wide = (line: string) => Buffer.from(`${line}\0`, 'utf16le')
const line = (text: string): PredictedEvent => ({
  ...{ pcr: 12, type: 'EV_IPL', from: 'addons', what: 'command line of addons', content: known(wide(text)) },
})
const keys: PredictedEvent = {
  ...{ pcr: 7, type: 'EV_EFI_VARIABLE_DRIVER_CONFIG', from: 'variables', what: 'db', content: known('keys') },
}
const section: PredictedEvent = {
  ...{ pcr: 11, type: 'EV_IPL', from: 'uki', what: 'name .linux', content: known('.linux') },
}
const phase: PredictedEvent = {
  ...{ pcr: 11, type: 'runtime', from: 'specification', what: 'phase', content: known('enter-initrd') },
}

const predicted = (...events: readonly PredictedEvent[]) => ({
  ...{ events, secureBoot: true, refused: undefined, refusedBy: undefined },
  registers: (algorithm: 'sha1' | 'sha256' | 'sha384' | 'sha512') => foldRegisters(events, algorithm),
})

t.test('registers and log are those of the UKI and of the addons that the stub takes', async (t) => {
  const events = [keys, image('UKI'), section, image('addon'), line('a=1 b=2'), action(5, 'end'), phase]
  t.strictSame(expectedOf(predicted(...events)), {
    pcrs: {
      7: [extended('sha256', 'keys')],
      11: [extended('sha256', '.linux', 'enter-initrd')],
      12: [extended('sha256', wide('a=1 b=2'))],
    },
    rtmrs: { rtmr1: [extended('sha384', 'UKI', 'addon', 'end')] },
    log: {
      secureBoot: 'on',
      images: ['UKI', 'addon'].map((content) => hash('sha256', content).toString('hex')),
      commandLines: ['a=1 b=2'],
      ...{ phases: ['enter-initrd'], exitBootServices: 'required' },
    },
  })
})

t.test('without an addon there may be none', async (t) => {
  const { pcrs, log } = expectedOf(predicted(keys, image('UKI'), section, phase))
  t.strictSame(pcrs[12], ['00'.repeat(32)])
  t.match(log, { addons: 'forbidden' })
  t.notOk('commandLines' in log)
})

t.test('what cannot be predicted is not left out', async (t) => {
  const open = unknown('nobody knows')
  const refused = { constructor: UsageError, code: 'bad-scenario', message: /nobody knows/ }
  t.throws(() => expectedOf(predicted(image('UKI', open))), refused, 'an image')
  t.throws(() => expectedOf(predicted(image('UKI'), { ...line('a'), content: open })), refused, 'a line')
  t.throws(() => expectedOf(predicted(image('UKI'), { ...keys, content: open })), refused, 'the keys')
  t.throws(
    () => expectedOf(predicted(image('UKI'), { ...action(5, 'table'), content: open })),
    refused,
    'the table',
  )
})
