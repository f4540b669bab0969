import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { FirmwareBuild } from '../probe/firmware.ts'
import { Store } from '../system/store.ts'
import { openVersion, type VersionContext } from './versions.ts'

const BUILD: FirmwareBuild = {
  ...{ id: 'ovmf-secboot', title: '', package: 'ovmf', path: 'usr/code.fd', load: 'pflash' },
  ...{ variables: 'usr/vars.fd', keys: 'none', features: [] },
}

/** A Debian whose packages have these files, and what was fetched of it. */
async function debian(files: readonly string[]) {
  const cache = await mkdtemp(join(tmpdir(), 'attestbed-test-'))
  t.teardown(() => rm(cache, { recursive: true }))
  const fetched: string[] = []
  const context: VersionContext = {
    ...{ store: new Store(cache), build: BUILD, builds: [BUILD] },
    ...{ signal: new AbortController().signal, tell: () => {} },
    fetch: async ({ suite, packages, into }) => {
      fetched.push(`${packages} of ${suite}`)
      for (const file of files) {
        await mkdir(dirname(join(into, file)), { recursive: true })
        await writeFile(join(into, file), `${file} of ${suite}`)
      }
      const [name = ''] = packages
      return [{ name, version: `1-${suite}`, architecture: 'amd64', sha256: '0'.repeat(64) }]
    },
  }
  return { cache, context, fetched }
}

t.test(
  'firmware of a suite is the file of the build in the package of the build, fetched once',
  async (t) => {
    const { context, fetched } = await debian(['usr/code.fd', 'usr/vars.fd'])
    const { title, swaps } = await openVersion('firmware', 'trixie', context)
    t.equal(title, 'ovmf 1-trixie (trixie)')
    t.equal(await readFile(swaps?.firmware?.code ?? '', 'utf8'), 'usr/code.fd of trixie')
    t.equal(await readFile(swaps?.firmware?.variables ?? '', 'utf8'), 'usr/vars.fd of trixie')
    await openVersion('firmware', 'trixie', context)
    await openVersion('firmware', 'sid', context)
    t.same(fetched, ['ovmf of trixie', 'ovmf of sid'])
  },
)

t.test('a suite whose package lacks the file is none of the versions', async (t) => {
  const { context } = await debian(['usr/code.fd'])
  const refused = {
    name: 'HostError',
    code: 'program-missing',
    message: /ovmf 1-bookworm .* has no usr\/vars\.fd/,
  }
  await t.rejects(openVersion('firmware', 'bookworm', context), refused)
})

t.test('a kernel of a suite is the package of the recipe; a stub is the file of its package', async (t) => {
  const stub = 'usr/lib/systemd/boot/efi/linuxx64.efi.stub'
  const { context, fetched } = await debian([stub])
  t.same((await openVersion('kernel', 'forky', context)).swaps, { kernel: { suite: 'forky' } })
  const { swaps } = await openVersion('systemd', 'forky', context)
  t.equal(await readFile(swaps?.stub ?? '', 'utf8'), `${stub} of forky`)
  t.same(fetched, ['systemd-boot-efi of forky'])
})

t.test('QEMU of a suite starts with the libraries, modules and ROMs of that suite', async (t) => {
  const { cache, context } = await debian(['usr/bin/qemu-system-x86_64'])
  const { qemu = '' } = await openVersion('qemu', 'trixie', context)
  t.ok((await stat(qemu)).mode & 0o100, 'it can be run')
  const script = await readFile(qemu, 'utf8')
  t.match(script, /^#!\/bin\/sh\n/)
  for (const [, path] of script.matchAll(/'([^']+)'/g)) t.ok(path?.startsWith(`${cache}/version/`))
  t.notOk(script.includes('.building'), 'where it is once it is complete')
})

t.test(
  'a file is named by its path, and must be there; anything else is refused with what there is',
  async (t) => {
    const { cache, context } = await debian([])
    const file = join(cache, 'a-file')
    await writeFile(file, '')
    t.same((await openVersion('firmware', file, context)).swaps, { firmware: { code: file } })
    t.same((await openVersion('kernel', file, context)).swaps, { kernel: { image: file } })
    t.same((await openVersion('systemd', file, context)).swaps, { stub: file })
    t.equal((await openVersion('qemu', file, context)).qemu, file)
    t.equal((await openVersion('qemu', 'host', context)).qemu, 'host')
    t.equal((await openVersion('firmware', 'ovmf-secboot', context)).firmware, 'ovmf-secboot')
    for (const axis of ['firmware', 'qemu', 'kernel', 'systemd'] as const) {
      await t.rejects(openVersion(axis, `${file}.none`, context), {
        code: 'bad-value',
        message: /no such file/,
      })
      await t.rejects(openVersion(axis, 'buster', context), {
        code: 'bad-value',
        message: /bookworm, trixie/,
      })
    }
  },
)
