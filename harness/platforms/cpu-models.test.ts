/** The CPU models that predictions know, against those of the real QEMU. */
import t from 'tap'
import { CPU_MODEL_NAMES, cpuSignature } from '../measure/sev/cpu-models.ts'
import { openTools, type Tools } from '../system/tools.ts'

const tools: Tools | Error = await openTools().catch((error: Error) => error)
const withoutTools = { skip: tools instanceof Error && `without tools: ${tools.message}` }

/** Their signature is the host's; `base` has none. */
const WITHOUT_SIGNATURE = ['host', 'max', 'base']

interface Expansion {
  readonly model: { readonly props: Readonly<Record<'family' | 'model' | 'stepping', number>> }
}

t.test('every model of the real QEMU is known with its signature, and no other', withoutTools, async (t) => {
  if (tools instanceof Error) return
  const { models = [] } = await ask<readonly { name: string }[]>(tools, {
    models: ['query-cpu-definitions', {}],
  })
  const names = models.map(({ name }) => name).filter((name) => !WITHOUT_SIGNATURE.includes(name))
  t.ok(names.includes('EPYC-v4'))
  const signatures = await ask<Expansion>(
    tools,
    Object.fromEntries(
      names.map((name) => [name, ['query-cpu-model-expansion', { type: 'full', model: { name } }]]),
    ),
  )
  for (const name of names) {
    const { family, model, stepping } = signatures[name]?.model.props ?? {}
    t.same(cpuSignature(name), { family, model, stepping }, name)
  }
  t.same([...CPU_MODEL_NAMES].sort(), names.sort())
})

/** Answers of a QEMU without a machine, by the question's id. */
async function ask<Answer>(
  from: Tools,
  questions: Readonly<Record<string, readonly [execute: string, options: object]>>,
): Promise<Readonly<Record<string, Answer>>> {
  const asked = Object.entries(questions).map(([id, [execute, options]]) => ({
    execute,
    arguments: options,
    id,
  }))
  const lines = [{ execute: 'qmp_capabilities' }, ...asked, { execute: 'quit' }].map((line) =>
    JSON.stringify(line),
  )
  const argv = ['-M', 'none', '-nodefaults', '-display', 'none', '-accel', 'tcg', '-qmp', 'stdio']
  const { stdout } = await from.run('qemu-system-x86_64', argv, { input: `${lines.join('\n')}\n` })
  const answers: readonly { readonly id?: string; readonly return: Answer }[] = stdout
    .toString('utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  return Object.fromEntries(answers.flatMap(({ id, return: answer }) => (id ? [[id, answer]] : [])))
}
