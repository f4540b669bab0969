import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { sha256Hex } from '../base/digest.ts'
import { gated } from './gate.ts'
import { withOtherQemu } from './other-qemu.ts'
import type { Tools } from './tools.ts'

/** Tools whose commands say that they are theirs. */
const TOOLS: Tools = {
  ...{ kind: 'tree', root: '/tree', digest: 'd'.repeat(64) },
  path: (relative) => `/tree/${relative}`,
  version: () => undefined,
  command: (program, args) => ({ file: 'of-the-tools', args: [program, ...args], environment: { A: 'b' } }),
  run: async () => Promise.reject(new Error('runs nothing')),
}

t.test('QEMU is the other one, and everything else stays with the tools', async (t) => {
  const directory = t.testdir()
  const file = join(directory, 'my-qemu')
  await writeFile(file, '#!/bin/sh\n')
  await chmod(file, 0o755)
  const tools = await withOtherQemu(TOOLS, file)
  t.same(tools.qemu, { file, sha256: sha256Hex('#!/bin/sh\n') })
  t.equal(tools.digest, TOOLS.digest, 'what is in the cache was made by the tools and stays good')
  const direct = tools.command('qemu-system-x86_64', ['-version'])
  t.same([...direct.args].slice(-3), ['--', file, '-version'])
  t.same(direct.environment, { A: 'b' })
  const gate = gated('qemu-system-x86_64', ['-name', 'qemu-system-x86_64'])
  t.same(
    tools.command(gate.program, gate.args).args.slice(-4),
    ['gate', file, '-name', 'qemu-system-x86_64'],
    'behind the gate, too; an argument that is the same word stays one',
  )
  t.same(tools.command('swtpm', ['socket']), TOOLS.command('swtpm', ['socket']))
})

t.test('`host` is the first in PATH; one that may not be run is missing', async (t) => {
  const directory = t.testdir({
    bad: { 'qemu-system-x86_64': '' },
    good: { 'qemu-system-x86_64': '' },
    empty: {},
  })
  const good = join(directory, 'good/qemu-system-x86_64')
  await chmod(good, 0o755)
  const path = ['relative', 'empty', 'bad', 'good'].map((name) =>
    name === 'relative' ? name : join(directory, name),
  )
  t.equal((await withOtherQemu(TOOLS, 'host', { PATH: path.join(':') })).qemu?.file, good)
  const missing = { name: 'HostError', code: 'program-missing' }
  await t.rejects(withOtherQemu(TOOLS, 'host', { PATH: join(directory, 'bad') }), missing)
  await t.rejects(withOtherQemu(TOOLS, join(directory, 'bad/qemu-system-x86_64')), missing)
  await t.rejects(withOtherQemu(TOOLS, directory), missing)
  await t.rejects(withOtherQemu(TOOLS, 'qemu'), missing)
})
