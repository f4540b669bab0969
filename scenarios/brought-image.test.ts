/** Somebody's own disk, described by a file: a disk made here stands for it, with a key and a login of its own. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { FALLBACK_BOOT_PATH } from '../harness/materials/boot-disk.ts'
import { ensureImage, ensureImageUki } from '../harness/materials/images.ts'
import { ensureKeys } from '../harness/materials/keys.ts'
import { prepareDisk } from '../harness/materials/vm-disk.ts'
import { assertResult } from '../harness/report/tap.ts'
import { runScenarios } from '../harness/run/program.ts'
import { freshRecoveryKey } from '../harness/run/secrets.ts'
import { sha256File } from '../harness/system/files.ts'
import { resolvePaths } from '../harness/system/paths.ts'
import { Store } from '../harness/system/store.ts'
import { openTools } from '../harness/system/tools.ts'

const BOOT_SECONDS = 900
t.setTimeout(BOOT_SECONDS * 1000)

const directory = await mkdtemp(join(tmpdir(), 'attestbed-brought-'))
t.teardown(() => rm(directory, { recursive: true, force: true }))

/** A whole disk with a login by password, its root opened by a key that only its owner has. */
async function makeDisk(): Promise<string> {
  const paths = resolvePaths()
  const tools = await openTools()
  const context = { tools, store: new Store(paths.cache), paths }
  const keys = await ensureKeys(context)
  const image = await ensureImage(context, 'debian')
  const uki = await ensureImageUki(context, image, { keys, extraCommandLine: 'attestbed.login' })
  const scratch = join(directory, 'scratch')
  await mkdir(scratch)
  const recoveryKey = freshRecoveryKey()
  const { file } = await prepareDisk(context, {
    ...{ base: image.disk, files: { [FALLBACK_BOOT_PATH]: uki }, directory: scratch, enrol: { recoveryKey } },
  })
  const whole = join(directory, 'theirs.qcow2')
  await tools.run('qemu-img', ['convert', '-O', 'qcow2', file, whole])
  await rm(scratch, { recursive: true })
  await writeFile(join(directory, 'recovery'), `${recoveryKey}\n`, { mode: 0o600 })
  await writeFile(join(directory, 'password'), 'attestbed\n', { mode: 0o600 })
  return whole
}

const disk = await makeDisk()
const description = join(directory, 'theirs.yaml')
await writeFile(
  description,
  `id: theirs
title: somebody's disk
disk: { path: theirs.qcow2, format: qcow2 }
partitions: { esp: 1, root: root, plain: data }
secureBoot: checkout
luks: { recoveryKeyFile: recovery }
login: { kind: password, user: root, passwordFile: password }
shutDown: systemctl start poweroff.target
contains: [tpm2-tools]
`,
)

const before = await sha256File(disk)
const { results } = await runScenarios({
  patterns: ['boot/first-command', 'encrypted-root/stateful-vtpm'],
  ...{ images: [description], vtpms: ['stateful'], keep: false },
  ...{ signal: new AbortController().signal, onEvent: () => {} },
})
const [first, sealed] = results
t.test('a scenario that needs a login only runs on it', async (t) => {
  t.equal(first?.variant.image, 'theirs')
  t.equal(first?.outcome, 'pass', first?.reason || 'no reason given')
  if (first) assertResult(t, first)
})
t.test('one that must build the disk itself is skipped, and says what is lacking', async (t) => {
  t.equal(sealed?.outcome, 'skip')
  t.match(sealed?.reason, /^image-lacks: image theirs lacks offline-sealing/)
})
t.test('the disk itself was not written', async (t) => {
  t.equal(await sha256File(disk), before)
})
