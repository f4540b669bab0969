import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { PERMANENT_STATE } from '../machine/vtpm/state.ts'
import { Scope } from '../system/scope.ts'
import { openTools, type Tools } from '../system/tools.ts'
import { NewVtpms } from './vtpm-ahead.ts'

const tools = await openTools().catch(() => undefined)
const skip = tools === undefined ? 'there is no tools tree: run scripts/setup' : false

async function temporary(t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'attestbed-'))
  t.teardown(() => rm(directory, { recursive: true }))
  return directory
}

t.test('the vTPM that was made ahead is given once; the next is another TPM', { skip }, async (t) => {
  if (!tools) return
  const directory = await temporary(t)
  await using scope = new Scope('test')
  const setUps: string[] = []
  const newVtpms = new NewVtpms(counting(tools, setUps))
  newVtpms.makeAhead(scope)
  await newVtpms.create(join(directory, 'one'))
  t.equal(setUps.length, 1, 'the one made ahead is the one that is used')
  await newVtpms.create(join(directory, 'two'))
  t.equal(setUps.length, 2)
  const [one, two] = await Promise.all(
    ['one', 'two'].map((name) => readFile(join(directory, name, PERMANENT_STATE))),
  )
  t.notSame(one, two)
  t.strictSame(await readdir(setUps[0] ?? '').catch(() => 'gone'), 'gone', 'no second copy of it stays')
})

t.test('one that could not be made ahead is made when it is needed', { skip }, async (t) => {
  if (!tools) return
  const directory = await temporary(t)
  await using scope = new Scope('test')
  const failing = Object.assign(Object.create(tools) as Tools, {
    run: async (...args: Parameters<Tools['run']>) => {
      if (failures++ === 0) throw new Error('planned')
      return tools.run(...args)
    },
  })
  let failures = 0
  const newVtpms = new NewVtpms(failing)
  newVtpms.makeAhead(scope)
  await newVtpms.create(join(directory, 'one'))
  t.equal(failures, 2)
  t.ok((await readdir(join(directory, 'one'))).includes(PERMANENT_STATE))
})

t.test('a run that ends before it is made waits for it, and leaves nothing of it', { skip }, async (t) => {
  if (!tools) return
  const setUps: string[] = []
  // At every step of its making, as far as turns of the event loop come.
  for (let turns = 0; turns < 4; turns++) {
    const scope = new Scope('test')
    new NewVtpms(counting(tools, setUps)).makeAhead(scope)
    for (let turn = 0; turn < turns; turn++) await new Promise(setImmediate)
    await t.resolves(scope.close())
  }
  t.equal(setUps.length, 4)
  const left = await Promise.all(setUps.map((made) => readdir(made).catch(() => 'gone')))
  t.strictSame(left, ['gone', 'gone', 'gone', 'gone'])
})

/** `directories` becomes where swtpm_setup made a state. */
function counting(real: Tools, directories: string[]): Tools {
  return Object.assign(Object.create(real) as Tools, {
    run: (program: string, args: readonly string[], options?: Parameters<Tools['run']>[2]) => {
      directories.push(args[args.indexOf('--tpmstate') + 1] ?? '')
      return real.run(program, args, options)
    },
  })
}
