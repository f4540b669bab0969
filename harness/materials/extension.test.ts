/** System extensions that are built, against sfdisk's view of them and openssl's of their signature. No VM is started. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parseGpt } from '../formats/gpt.ts'
import { sha256File } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { ensureExtension } from './extension.ts'
import { ensureKeys } from './keys.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
/** UAPI specification "Discoverable Partitions": signature of the verity data of a root for x86-64. */
const ROOT_VERITY_SIGNATURE = '41092b05-9fc8-4523-994f-2def0408b176'
const PROGRAMS = { 'usr/lib/attestbed/hello': '#!/bin/sh\necho hello\n' }

t.test(
  'an extension is signed by the key that was asked for, and equal ones are equal',
  { skip },
  async (t) => {
    if (!tools) return
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
    t.teardown(() => rm(directory, { recursive: true, force: true }))
    const paths = { ...resolvePaths(), keys: join(directory, 'keys') }
    const context = (name: string) => ({ tools, paths, store: new Store(join(directory, name)) })
    const keys = await ensureKeys(context('store'))
    const build = (signedBy: 'db' | 'db-other' | null, name = 'store') =>
      ensureExtension(context(name), { name: 'hello', programs: PROGRAMS, keys, signedBy })
    const verify = async (file: string, by: 'db' | 'db-other') => {
      const { rootHash, signature } = await signatureOf(file)
      const [content, detached] = [join(directory, 'root-hash'), join(directory, 'signature')]
      await writeFile(content, rootHash)
      await writeFile(detached, Buffer.from(signature, 'base64'))
      const trusted = ['-CAfile', keys.certificates[by].certificate, '-purpose', 'any']
      const input = ['-inform', 'DER', '-in', detached, '-content', content, '-out', '/dev/null']
      await tools.run('openssl', ['cms', '-verify', '-binary', ...trusted, ...input])
    }
    const signed = await build('db')
    await verify(signed, 'db')
    await t.rejects(verify(signed, 'db-other'))
    const strangers = await build('db-other')
    await verify(strangers, 'db-other')
    await t.rejects(verify(strangers, 'db'))
    t.equal(await sha256File(await build('db', 'another-store')), await sha256File(signed))
    const unsigned = parseGpt(await readFile(await build(null))).partitions
    t.equal(unsigned.length, 2)
    t.notOk(unsigned.some(({ type }) => type === ROOT_VERITY_SIGNATURE))
  },
)

async function signatureOf(file: string): Promise<{ readonly rootHash: string; readonly signature: string }> {
  const bytes = await readFile(file)
  const found = parseGpt(bytes).partitions.find(({ type }) => type === ROOT_VERITY_SIGNATURE)
  if (found === undefined) throw new Error(`${file} has no signature`)
  const text = bytes.toString('utf8', found.offset, found.offset + found.size)
  return JSON.parse(text.slice(0, text.indexOf('\0'))) as { rootHash: string; signature: string }
}
