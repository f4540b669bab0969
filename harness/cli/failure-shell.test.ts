import t from 'tap'
import { orConsole } from './failure-shell.ts'

/** What it says of a guest that gives its shell like this; resolves when the console is handed over. */
async function saidOf(
  giveShell: (signal?: AbortSignal) => Promise<void>,
  terms: { readonly signal?: AbortSignal; readonly deadlineMs?: number } = {},
): Promise<readonly string[]> {
  const said: string[] = []
  await orConsole(giveShell, {
    ...{ say: (words) => said.push(words), signal: new AbortController().signal, ...terms },
  })
  return said
}

t.test('a guest that gives no shell in time is looked at as it is, and nothing is typed later', async (t) => {
  let asked: AbortSignal | undefined
  const never = (signal?: AbortSignal) => {
    asked = signal
    return new Promise<void>(() => {})
  }
  t.match(await saidOf(never, { deadlineMs: 5 }), [/^the guest gives no shell, .* as it is: it has not come/])
  t.equal(asked?.aborted, true)
  t.match(await saidOf(async () => Promise.reject(new Error('stuck\x07'))), [/as it is: stuck[^\x07]+$/])
  t.same(await saidOf(async () => {}), [], 'one that is given is seen')
})

t.test('whoever interrupts waits for no shell', { timeout: 4000 }, async (t) => {
  const interruption = new AbortController()
  const never = () => new Promise<void>(() => {})
  const said = saidOf(never, { signal: interruption.signal, deadlineMs: 60_000 })
  interruption.abort()
  t.same(await said, [])
  t.same(await saidOf(never, { signal: interruption.signal, deadlineMs: 60_000 }), [], 'nor one who has')
})
