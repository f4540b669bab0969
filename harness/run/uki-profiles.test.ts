/** The profiles that are built, and PCR 11 of each, against systemd-measure. No VM is started. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { parseUki, ukiSection } from '../formats/uki.ts'
import { ensureKeys } from '../materials/keys.ts'
import { ensureUki, type UkiProfile } from '../materials/uki.ts'
import { pcrPolicyDigest } from '../measure/tpm/pcr-policy.ts'
import { foldEvents } from '../measure/tpm/registers.ts'
import { phaseEvents, sectionEvents } from '../measure/tpm/stub.ts'
import { sha256File } from '../system/files.ts'
import { resolvePaths } from '../system/paths.ts'
import { Store } from '../system/store.ts'
import { openTools, type Tools } from '../system/tools.ts'

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'
const STUB = 'usr/lib/systemd/boot/efi/linuxx64.efi.stub'
const PHASE = 'enter-initrd'
const PROFILES: readonly UkiProfile[] = [
  { id: 'main', commandLine: 'console=ttyS0 main', pcrSigned: true },
  { id: 'rescue', commandLine: 'console=ttyS0 rescue', pcrSigned: true },
  { id: 'debug', commandLine: 'console=ttyS0 debug', pcrSigned: false },
]

t.test(
  'PCR 11 of each profile is that of systemd-measure, and signed where it is to be',
  { skip },
  async (t) => {
    if (!tools) return
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
    t.teardown(() => rm(directory, { recursive: true, force: true }))
    const paths = { ...resolvePaths(), keys: join(directory, 'keys') }
    const context = { tools, paths, store: new Store(join(directory, 'store')) }
    const initrd = join(directory, 'initrd')
    await writeFile(initrd, 'initrd')
    const uki = await ensureUki(context, {
      ...{ id: 'test', version: '1', commandLine: 'console=ttyS0', signedBy: 'db', pcrSignedBy: 'pcr' },
      kernel: { image: tools.path(STUB), release: '6.0', digest: 'stub' },
      initrd: { file: initrd, sha256: await sha256File(initrd) },
      keys: await ensureKeys(context),
      profiles: PROFILES,
    })
    const file = await readFile(uki.file)
    t.equal(parseUki(file).profiles, PROFILES.length)
    const values = new Set<string>()
    for (const [profile, { id, commandLine, pcrSigned }] of PROFILES.entries()) {
      const sections = parseUki(file, { profile })
      const text = (name: '.cmdline' | '.profile' | '.pcrsig') =>
        Buffer.from(ukiSection(sections, name) ?? [])
          .toString()
          .replace(/\0+$/, '')
      t.equal(text('.cmdline'), commandLine)
      t.equal(text('.profile'), `ID=${id}\nTITLE=${id}\n`)
      const predicted = foldEvents(11, [...sectionEvents(sections), ...phaseEvents([PHASE])], 'sha256')
      const value = predicted.known ? predicted.value : Buffer.alloc(32)
      const measured = await measure(tools, join(directory, id), sections)
      t.equal(value.toString('hex'), measured, `PCR 11 of ${id}`)
      values.add(measured)
      t.equal(
        text('.pcrsig').includes(pcrPolicyDigest(11, value).toString('hex')),
        pcrSigned,
        `signed: ${id}`,
      )
    }
    t.equal(values.size, PROFILES.length, 'all differ')
  },
)

/** What systemd-measure says of the sections, each given as a file. */
async function measure(
  tools: Tools,
  directory: string,
  { sections }: ReturnType<typeof parseUki>,
): Promise<string> {
  await mkdir(directory)
  const args: string[] = []
  for (const { name, content } of sections.filter((each) => each.name !== '.pcrsig')) {
    const file = join(directory, name)
    await writeFile(file, content)
    args.push(`--${name.slice(1)}=${file}`)
  }
  const command = ['calculate', ...args, '--bank=sha256', `--phase=${PHASE}`, '--json=short']
  const { stdout } = await tools.run('/usr/lib/systemd/systemd-measure', command)
  return (JSON.parse(stdout.toString()) as { sha256: { hash: string }[] }).sha256[0]?.hash ?? ''
}
