import { execFile } from 'node:child_process'
import { appendFile, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { sha256Hex } from '../../base/digest.ts'
import { FormatError, HostError, UsageError } from '../../base/errors.ts'
import { MAX_LINE_BYTES, readChain } from './chain.ts'
import { openAuditLog } from './file-log.ts'
import type { AuditRecord } from './record.ts'

const START: AuditRecord = { event: 'start', time: '2026-01-01T00:00:00.000Z' }

async function logPath(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-audit-'))
  t.teardown(() => rm(directory, { recursive: true, force: true }))
  return join(directory, 'audit.jsonl')
}

async function write(path: string, count: number): Promise<void> {
  await using log = await openAuditLog(path)
  await Promise.all(Array.from({ length: count }, () => log.append(START)))
}

t.test('records follow from one another, over restarts, by sha256sum and by hand', async (t) => {
  const path = await logPath(t)
  await write(path, 5)
  await write(path, 3)
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n')
  t.equal(lines.length, 8)
  let prev = '0'.repeat(64)
  for (const [index, line] of lines.entries()) {
    t.match(JSON.parse(line), { seq: index + 1, prev, event: 'start' })
    prev = sha256Hex(line)
  }
  // Another implementation of the digest, of the line as it lies on the disk.
  const { stdout } = await promisify(execFile)('sh', [
    '-c',
    'tail -n 1 "$1" | tr -d "\\n" | sha256sum',
    'sh',
    path,
  ])
  t.equal(stdout.slice(0, 64), prev)
  t.strictSame((await readChain(path)).end, { seq: 8, digest: prev })
  t.equal((await stat(path)).mode & 0o777, 0o600)
})

t.test('a line that was changed, dropped, repeated or moved is found, at its place', async (t) => {
  const path = await logPath(t)
  await write(path, 4)
  const whole = await readFile(path, 'utf8')
  const lines = whole.trimEnd().split('\n')
  const [first = '', second = '', third = '', fourth = ''] = lines
  const at = (count: number) => Buffer.byteLength(lines.slice(0, count).join('\n')) + 1
  const cases: readonly (readonly [string, readonly string[], number])[] = [
    ['changed', [first, second.replace('2026', '2027'), third, fourth], at(2)],
    ['dropped', [first, third, fourth], at(1)],
    ['dropped at the start', [second, third, fourth], 0],
    ['repeated', [first, first, second], at(1)],
    ['moved', [first, third, second, fourth], at(1)],
    ['with a key twice', [first.replace('"seq":1', '"seq":1,"seq":1'), second], 0],
    ['no object', ['[]', second], 0],
  ]
  for (const [name, changed, offset] of cases) {
    await writeFile(path, `${changed.join('\n')}\n`)
    await t.rejects(readChain(path), { name: 'FormatError', offset } as never, name)
    await t.rejects(openAuditLog(path), FormatError, `${name}: nothing is appended to it`)
  }
  await writeFile(path, whole)
  await t.resolves(readChain(path), 'the same check accepts the log as it was')
})

t.test('a record torn at any byte is set aside, and no whole one with it', async (t) => {
  const path = await logPath(t)
  await write(path, 3)
  const whole = await readFile(path)
  const last = whole.lastIndexOf(10, whole.length - 2) + 1
  for (const cut of [last + 1, last + 20, whole.length - 2, whole.length - 1]) {
    await writeFile(path, whole)
    await truncate(path, cut)
    const log = await openAuditLog(path)
    t.equal(log.setAside, `${path}.torn-${last}`)
    t.strictSame(await readFile(`${path}.torn-${last}`), whole.subarray(last, cut))
    await log.append(START)
    await log.close()
    t.equal((await readChain(path)).end.seq, 3, `cut at ${cut}`)
  }
})

t.test('one writer at a time', async (t) => {
  const path = await logPath(t)
  await using log = await openAuditLog(path)
  await log.append(START)
  await t.rejects(openAuditLog(path, { lockMs: 10 }), HostError)
  await log.close()
  await t.rejects(log.append(START), /closed/)
})

t.test('records that wait are written together, in the order in which they came', async (t) => {
  const path = await logPath(t)
  await using log = await openAuditLog(path)
  const done: number[] = []
  const appended = Array.from({ length: 200 }, (_, index) =>
    log.append({ ...START, refusals: { index } }).then(() => done.push(index)),
  )
  await Promise.all(appended)
  t.strictSame(done, [...done.keys()])
  const indexes: unknown[] = []
  await readChain(path, ({ refusals }) => indexes.push((refusals as { index: number }).index))
  t.strictSame(indexes, [...indexes.keys()])
})

t.test('a record too long for the log is refused alone', async (t) => {
  const path = await logPath(t)
  await using log = await openAuditLog(path)
  const long = log.append({ ...START, time: 'x'.repeat(MAX_LINE_BYTES) })
  const short = log.append(START)
  await t.rejects(long, RangeError)
  await t.resolves(short)
  t.equal((await readChain(path)).end.seq, 1)
})

t.test('a line without an end is not read for ever', async (t) => {
  const path = await logPath(t)
  await writeFile(path, 'x'.repeat(MAX_LINE_BYTES + 100_000))
  await t.rejects(readChain(path), FormatError)
})

t.test('evidence is kept under its digest where that is asked for', async (t) => {
  const path = await logPath(t)
  const evidenceDirectory = `${path}.evidence`
  await using log = await openAuditLog(path, { evidenceDirectory })
  const text = '{"outblob":"AA=="}'
  await log.keepEvidence?.(sha256Hex(text), text)
  await log.keepEvidence?.(sha256Hex(text), text)
  t.equal(await readFile(join(evidenceDirectory, `${sha256Hex(text)}.json`), 'utf8'), text)
})

t.test('what another process appended beside the lock is noticed at the next start', async (t) => {
  const path = await logPath(t)
  await write(path, 1)
  await appendFile(path, '{"seq":2}\n')
  await t.rejects(openAuditLog(path), FormatError)
})

t.test('a place where no file can be is named, as a mistake of the configuration', async (t) => {
  const path = await logPath(t)
  await writeFile(path, '')
  await t.rejects(openAuditLog(join(path, 'audit.jsonl')), {
    ...{ name: 'UsageError', code: 'bad-config', message: /cannot open the audit log .*audit[.]jsonl: E/ },
  } as never)
})

t.test('a log that cannot be opened is the place, the disk or our bug, each by its name', async (t) => {
  const path = await logPath(t)
  const failing = (error: Error) => ({ openFile: () => Promise.reject(error), lockMs: 10 })
  const system = (code: string) => Object.assign(new Error(`${code}: open`), { code })
  for (const code of ['ENOENT', 'EACCES', 'EPERM', 'ENOTDIR', 'EISDIR', 'EROFS', 'ELOOP', 'ENAMETOOLONG'])
    await t.rejects(
      openAuditLog(path, failing(system(code))),
      { name: 'UsageError', code: 'bad-config' },
      code,
    )
  const full = { name: 'HostError', code: 'disk-full' }
  await t.rejects(openAuditLog(path, failing(system('ENOSPC'))), full)
  for (const bug of [new TypeError('ours'), system('EMFILE'), system('ERR_INVALID_ARG_TYPE')])
    t.equal(await openAuditLog(path, failing(bug)).catch((error: unknown) => error), bug, 'thrown on')
  await mkdir(path)
  await t.rejects(openAuditLog(path), UsageError, 'a directory, by the system itself')
})
