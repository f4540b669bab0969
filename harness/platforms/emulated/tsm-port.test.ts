import { once } from 'node:events'
import { Duplex, PassThrough } from 'node:stream'
import t from 'tap'
import { serveTsmPort, type TsmService } from './tsm-port.ts'
import { TsmLines, type TsmRequest } from './tsm-protocol.ts'

const REPORT_DATA = Buffer.from(Array.from({ length: 64 }, (_, index) => index))
const REQUEST = `report ${REPORT_DATA.toString('hex')}\n`

/** Evidence that says what it is about. */
const SERVICE: TsmService = {
  provider: 'sev_guest',
  report: async (reportData) => ({ outblob: Buffer.from(reportData), auxblob: Buffer.alloc(0) }),
}

const ANSWER = (generation: number) =>
  [
    ...[
      'provider sev_guest',
      `outblob ${REPORT_DATA.toString('base64')}`,
      'auxblob ',
      `generation ${generation}`,
    ],
    'end',
  ]
    .map((line) => `${line}\n`)
    .join('')

/** The guest's end: what it writes and what it was told. */
function port(service: TsmService = SERVICE) {
  const fromGuest = new PassThrough({ highWaterMark: 1024 })
  const toGuest = new PassThrough({ highWaterMark: 1024 })
  const stream = Duplex.from({ readable: fromGuest, writable: toGuest })
  const errors: unknown[] = []
  const served = serveTsmPort(stream, service, { pauseMs: 0, onError: (error) => errors.push(error) })
  const heard = async (length: number): Promise<string> => {
    let text = ''
    while (text.length < length) {
      const chunk: Buffer | null = toGuest.read()
      if (chunk === null) await once(toGuest, 'readable')
      else text += chunk.toString('latin1')
    }
    return text
  }
  return { fromGuest, toGuest, stream, served, heard, errors }
}

t.test('each request gets its answer, and the generation counts them', async (t) => {
  const { fromGuest, heard, served } = port()
  const answers = ANSWER(1) + ANSWER(2)
  // Cut where no line ends: a port is a stream.
  for (const part of [REQUEST.slice(0, 40), REQUEST.slice(40) + REQUEST.slice(0, 1), REQUEST.slice(1)])
    fromGuest.write(part)
  t.equal(await heard(answers.length), answers)
  fromGuest.end()
  await served
})

t.test('what is no request is told so, and changes nothing', async (t) => {
  const { fromGuest, heard } = port()
  const one = 'error the one request is: report, a blank, 128 lower-case hex digits\n'
  for (const line of [
    '',
    'REPORT',
    'report',
    `report ${'F'.repeat(128)}`,
    `${REQUEST.trim()} `,
    '\u001b[2J\0',
  ]) {
    fromGuest.write(`${line}\n`)
    t.equal(await heard(one.length), one, JSON.stringify(line))
  }
  fromGuest.write(`report ${'ab'.repeat(63)}\n`)
  const short = 'error REPORT_DATA has 126 digits, 128 are required\n'
  t.equal(await heard(short.length), short)
  fromGuest.write(REQUEST)
  t.equal(await heard(ANSWER(1).length), ANSWER(1))
})

t.test('a line of any length is one error and keeps no memory', async (t) => {
  const lines = new TsmLines()
  const requests: TsmRequest[] = []
  const before = process.memoryUsage().heapUsed
  for (let count = 0; count < 2000; count++) requests.push(...lines.push(Buffer.alloc(65536, 0x61)))
  t.ok(process.memoryUsage().heapUsed - before < 50e6, '128 MiB without an end')
  t.strictSame(requests, [])
  requests.push(...lines.push(Buffer.from(`\n${REQUEST}`)))
  t.strictSame(requests, [{ mistake: 'a line has more than 256 bytes' }, { reportData: REPORT_DATA }])
})

t.test('a guest that never reads stops its own questions, and nothing else', async (t) => {
  let asked = 0
  const { fromGuest, toGuest, stream, served, heard } = port({
    ...SERVICE,
    report: async (data) => {
      asked += 1
      return SERVICE.report(data)
    },
  })
  const sent = 5000
  // More than every buffer on the way takes.
  fromGuest.write(REQUEST.repeat(sent))
  await once(toGuest, 'readable')
  for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve))
  t.ok(asked < 200, `${asked} of ${sent} were answered while nobody read`)
  const text = await heard(ANSWER(1).length * 300)
  t.match(text, 'generation 290\n', 'and it goes on when it is read')
  stream.destroy()
  await served
  t.ok(asked < sent)
})

t.test('a processor that fails is told without its words, and asked again', async (t) => {
  let count = 0
  const { fromGuest, heard, errors } = port({
    ...SERVICE,
    report: async (data) => {
      count += 1
      if (count === 1) throw new Error('a secret of the host')
      return SERVICE.report(data)
    },
  })
  const failed = 'error the emulated processor failed; the harness says why\n'
  fromGuest.write(REQUEST + REQUEST)
  t.equal(await heard(failed.length + ANSWER(2).length), failed + ANSWER(2))
  t.match(errors, [{ message: 'a secret of the host' }])
})

t.test('a connection that breaks ends the service, in the middle of an answer too', async (t) => {
  const waiting = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  const { fromGuest, stream, served } = port({
    ...SERVICE,
    report: async (data) => {
      asked.resolve()
      await waiting.promise
      return SERVICE.report(data)
    },
  })
  fromGuest.write(REQUEST)
  await asked.promise
  stream.destroy(new Error('reset'))
  waiting.resolve()
  await served
  t.pass('it ended')
})
