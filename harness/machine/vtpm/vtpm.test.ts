import { mkdir, mkdtemp, readdir, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { LaunchError, MaterialError } from '../../base/errors.ts'
import { Scope } from '../../system/scope.ts'
import { openTools, type Tools } from '../../system/tools.ts'
import { readTpmCommandLog } from './command-log.ts'
import { tpmCommandName } from './command-names.ts'
import { provisionSrk } from './srk.ts'
import { copyVtpmState, createVtpmState, isVtpmStateLocked, PERMANENT_STATE } from './state.ts'
import { startSwtpm, swtpmArguments } from './swtpm.ts'

const OPTIONS = { name: 'swtpm of vm1', stateDirectory: '/vm/state', socket: '/run/tpm' }

t.test("swtpm's arguments", async (t) => {
  t.strictSame(swtpmArguments({ ...OPTIONS, log: '/vm/log' }), [
    ...[
      'socket',
      '--tpm2',
      '--tpmstate',
      'dir=/vm/state,mode=0600',
      '--ctrl',
      'type=unixio,path=/run/tpm,mode=0600',
    ],
    ...['--terminate', '--log', 'file=/vm/log,level=20'],
  ])
  const own = swtpmArguments({ ...OPTIONS, commandSocket: '/run/command' })
  t.notOk(own.includes('--terminate'), 'who speaks to it himself ends it himself')
  const refused = (change: object, code: string, message: RegExp) =>
    t.throws(() => swtpmArguments({ ...OPTIONS, ...change }), { constructor: LaunchError, code, message })
  refused(
    { stateDirectory: '/a,b' },
    'swtpm-start',
    /the vTPM state directory is "\/a,b", it must not have a comma/,
  )
  refused({ log: '/a,b' }, 'swtpm-start', /the log/)
  refused({ socket: `/${'x'.repeat(110)}` }, 'socket-path-too-long', /the vTPM/)
})

t.test('command names', async (t) => {
  const names = { 287: 'NV_UndefineSpaceSpecial', 305: 'CreatePrimary', 324: 'Startup', 350: 'Unseal' }
  const more = { 374: 'StartAuthSession', 386: 'PCR_Extend', 390: 'HashSequenceStart', 410: 'ECC_Decrypt' }
  for (const [code, name] of Object.entries({ ...names, ...more }))
    t.equal(tpmCommandName(Number(code)), `TPM2_${name}`)
  for (const code of [0x11e, 0x123, 0x15a, 0x15f, 0x166, 0x175, 0x19b, 0x20000000])
    t.equal(tpmCommandName(code), undefined)
})

/** As swtpm 0.10 writes it; the Unseal is refused by TPM_RC_POLICY_FAIL, the last command has no answer. */
const LOG = `  Tested: RSA-1024-sign(SHA1, pkcs1-pss)
 Ctrl Cmd: length 4
 00 00 00 02 
 Ctrl Rsp: length 4
 00 00 00 00 
 SWTPM_IO_Read: length 12
 80 01 00 00 00 0C 00 00 01 44 00 00 
    IsEnEnabled(0x144 = 'Startup'): 1
 SWTPM_IO_Write: length 10
 80 01 00 00 00 0A 00 00 00 00 
 SWTPM_IO_Read: length 27
 80 02 00 00 00 1B 00 00 01 5E 80 00 00 00 00 00 
 00 09 03 00 00 00 00 00 00 00 00 
    IsEnEnabled(0x15e = 'Unseal'): 1
 SWTPM_IO_Write: length 10
 80 01 00 00 00 0A 00 00 09 9D 
 SWTPM_IO_Read: length 12
 80 01 00 00 00 0C 20 00 00 00 00 00 
 SWTPM_IO_Write: length 10
 80 01 00 00 00 0A 00 00 01 43 
 SWTPM_IO_Read: length 64
 80 01 00 00`

t.test('the command log', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  const file = join(directory, 'log')
  await writeFile(file, LOG)
  t.match(await readTpmCommandLog(file), [
    { commandCode: 0x144, name: 'TPM2_Startup', responseCode: 0, commandBytes: 12, responseBytes: 10 },
    { commandCode: 0x15e, name: 'TPM2_Unseal', responseCode: 0x99d, commandBytes: 27 },
    { name: 'TPM_CC 0x20000000', responseCode: 0x143 },
    { name: 'TPM_CC 0xffffffff', responseCode: undefined, commandBytes: 64, responseBytes: 0 },
  ])
  await t.rejects(readTpmCommandLog(join(directory, 'none')), { code: 'ENOENT' })
})

const tools: Tools | undefined = await openTools().catch(() => undefined)
const skip = tools ? false : 'no tools tree: run scripts/setup'

function swtpmTest(
  title: string,
  body: (t: Test, tools: Tools, directory: string, scope: Scope) => Promise<void>,
): void {
  t.test(title, { skip }, async (t) => {
    if (!tools) return
    const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
    const scope = new Scope('test')
    t.teardown(async () => {
      await scope.close()
      await rm(directory, { recursive: true })
    })
    await body(t, tools, directory, scope)
  })
}

swtpmTest('a state is made whole, private, and once', async (t, tools, directory) => {
  const state = join(directory, 'state')
  await createVtpmState(tools, state)
  t.equal((await stat(state)).mode & 0o777, 0o700)
  t.equal((await stat(join(state, PERMANENT_STATE))).mode & 0o777, 0o600)
  t.strictSame(await readdir(directory), ['state'], 'nothing is left beside it')
  await t.rejects(createVtpmState(tools, state), { constructor: MaterialError, code: 'in-use' })
})

swtpmTest('the SRK is the same every time, and another for another state', async (t, tools, directory) => {
  const [one, two] = [join(directory, 'one'), join(directory, 'two')]
  await Promise.all([createVtpmState(tools, one), createVtpmState(tools, two)])
  await copyVtpmState(one, join(directory, 'copy'))
  const srk = await provisionSrk(tools, one, directory)
  // TPM2B_PUBLIC: size, then TPM_ALG_ECC, TPM_ALG_SHA256, the attributes of a storage key.
  t.equal(srk.toString('hex', 0, 10), '005a0023000b00030472')
  t.equal(srk.length, 92)
  t.strictSame(
    await provisionSrk(tools, join(directory, 'copy'), directory),
    srk,
    'a copied state is the same TPM',
  )
  t.notSame(await provisionSrk(tools, two, directory), srk)
  await t.rejects(provisionSrk(tools, one, directory), {
    code: 'swtpm-start',
    message: /0x120 with response code 0x14c/,
  })
  t.strictSame((await readdir(directory)).sort(), ['copy', 'one', 'two'], 'no socket is left')
  const exported = join(directory, 'one.pub')
  await tools.run('sh', ['-c', READ_SRK, 'sh', one, exported, directory])
  t.strictSame(
    await tools.run('cat', [exported]).then(({ stdout }) => stdout),
    srk,
    'and tpm2-tools reads the same',
  )
})

/** What the guest's TPM software sees at the SRK's handle. */
const READ_SRK = `swtpm socket --tpm2 --tpmstate dir=$1 --server type=unixio,path=$3/s --ctrl type=unixio,path=$3/s.ctrl \
  --flags not-need-init,startup-clear &
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do [ -S $3/s.ctrl ] && break; sleep 0.05; done
TPM2TOOLS_TCTI=swtpm:path=$3/s tpm2_readpublic -Q -c 0x81000001 -f tss -o $2 || exit 1
swtpm_ioctl -s --unix $3/s.ctrl; wait`

swtpmTest('a state serves one swtpm at a time', async (t, tools, directory, scope) => {
  const state = join(directory, 'state')
  await createVtpmState(tools, state)
  t.notOk(await isVtpmStateLocked(state))
  const options = { name: 'swtpm', stateDirectory: state, socket: join(directory, 'tpm') }
  const swtpm = await startSwtpm(scope, tools, options)
  t.ok(await isVtpmStateLocked(state))
  const inUse = { constructor: MaterialError, code: 'in-use' }
  await t.rejects(startSwtpm(scope, tools, { ...options, socket: join(directory, 'other') }), inUse)
  await t.rejects(copyVtpmState(state, join(directory, 'copy')), inUse)
  await swtpm.process.stop()
  await swtpm.released
  t.notOk(await isVtpmStateLocked(state))
  await copyVtpmState(state, join(directory, 'copy'))
  await t.rejects(copyVtpmState(state, join(directory, 'copy')), inUse, 'a copy is never written over')
})

swtpmTest(
  'a lost, a missing and a broken state are told before any guest sees them',
  async (t, tools, directory, scope) => {
    const state = join(directory, 'state')
    const options = { name: 'swtpm of vm1', stateDirectory: state, socket: join(directory, 'tpm') }
    await t.rejects(startSwtpm(scope, tools, options), { constructor: MaterialError, code: 'missing' })
    await t.rejects(copyVtpmState(state, join(directory, 'copy')), { code: 'missing' })
    await mkdir(state)
    await writeFile(join(state, PERMANENT_STATE), 'nonsense')
    await t.rejects(startSwtpm(scope, tools, options), {
      constructor: LaunchError,
      code: 'swtpm-start',
      message: /swtpm of vm1/,
    })
    await rm(state, { recursive: true })
    await createVtpmState(tools, state)
    await truncate(join(state, PERMANENT_STATE), 500)
    await t.rejects(startSwtpm(scope, tools, options), { code: 'swtpm-start' })
  },
)
