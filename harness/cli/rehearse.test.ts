/** `attestbed rehearse`; what needs QEMU and /dev/kvm is skipped by name where they are missing. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { renderRehearsal } from '../report/rehearsal.ts'
import { openTools } from '../system/tools.ts'

t.setTimeout(180_000)

const MAIN = join(import.meta.dirname, 'main.ts')
const COMPILE_CACHE = join(import.meta.dirname, '../../node_modules/.cache/attestbed/node')

const directory = mkdtempSync(join(tmpdir(), 'attestbed-rehearse-cli-'))
t.teardown(() => rmSync(directory, { recursive: true }))

async function rehearse(...args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, 'rehearse', ...args], {
    env: { ...process.env, NO_COLOR: '1', NODE_COMPILE_CACHE: COMPILE_CACHE },
  })
  const output = { stdout: '', stderr: '' }
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk))
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk))
  child.stdin.end()
  const [code] = await once(child, 'close')
  return { code, ...output }
}

const notAKernel = join(directory, 'not-a-kernel')
writeFileSync(notAKernel, 'a note')

const lacking = await (async (): Promise<string | false> => {
  const tools = await openTools().catch((error: Error) => error)
  if (tools instanceof Error) return `without tools: ${tools.message}`
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return false
  } catch {
    return '/dev/kvm cannot be opened'
  }
})()

t.test('help names every option of each platform and the exit codes', async (t) => {
  const [all, snp, tdx] = await Promise.all([
    rehearse('--help'),
    rehearse('sev-snp', '--help'),
    rehearse('tdx', '--help'),
  ])
  t.match(all.stdout, 'never touches either')
  for (const flag of [
    'firmware',
    'vcpus',
    'cpu',
    'kernel',
    'policy',
    'host-data',
    'id-block',
    'recording',
    'json',
  ])
    t.match(snp.stdout, `--${flag}`)
  for (const flag of ['mrconfigid', 'mrowner', 'mrownerconfig', 'td-attributes'])
    t.match(tdx.stdout, `--${flag}`)
})

t.test('--json: digest, pages, prediction, and whether they agree', { skip: lacking }, async (t) => {
  const recording = join(directory, 'launch')
  const { code, stdout } = await rehearse('sev-snp', '--vcpus', '2', '--recording', recording, '--json')
  t.equal(code, 0)
  const document = JSON.parse(stdout)
  t.match(document, {
    kind: 'rehearsal',
    platform: 'sev-snp',
    inputs: { vcpus: '2', cpu: 'EPYC-v4', guestFeatures: '0x1', qemu: /^(\d+:)?\d+[.]\d+/ },
    agree: true,
  })
  t.match(document.launchDigest, /^[0-9a-f]{96}$/)
  t.equal(document.predicted, document.launchDigest)
  t.match(document.pages[0], { gpa: '0xffc00000', size: 0x400000, type: 'normal', sha256: /^[0-9a-f]{64}$/ })
  t.match(document.pages.at(-1), {
    gpa: '0xfffffffff000',
    size: 4096,
    type: 'vmsa',
    registers: { efer: '0x1000' },
  })
  t.equal(readFileSync(recording).subarray(0, 8).toString(), 'ATTLREC1', 'and what was recorded is kept')
  const again = await rehearse('sev-snp', '--recording', recording)
  t.match(again, { code: 2, stderr: 'cannot write --recording' }, 'but nothing is overwritten')
})

t.test('TDX: MRTD, and what the report shows beside it', { skip: lacking }, async (t) => {
  const { code, stdout } = await rehearse('tdx', '--mrconfigid', 'ab'.repeat(48), '--json')
  t.equal(code, 0)
  const document = JSON.parse(stdout)
  t.match(document, { platform: 'tdx', agree: true, fields: { MRCONFIGID: 'ab'.repeat(48) } })
  t.match(document.mrtd, /^[0-9a-f]{96}$/)
  t.notOk('launchDigest' in document)
})

t.test('wrong usage is exit 2, what QEMU cannot do is exit 3', { skip: lacking }, async (t) => {
  const cases: readonly (readonly [number, readonly string[], RegExp])[] = [
    [2, ['sev-snp', '--host-data', 'aa'], /--host-data is "aa", 32 bytes/],
    [2, ['sev-snp', '--policy', 'smtx'], /no bit called "smtx"/],
    [2, ['sev-snp', '--vcpus', '0'], /--vcpus is 0, 1 to 4096/],
    [2, ['sev', '--append', 'x'], /need --kernel/],
    [2, ['sev-snp', '--id-block', 'AAAA'], /need each other/],
    [2, ['sev-snp', '--firmware', '/nowhere'], /there is no such file/],
    [2, ['sev-snp', '--guest-features', 'x'], /has "x"; there are debug-swap \(0x20\), secure-tsc \(0x200\)/],
    [2, ['sev-snp', '--guest-features', '0x41'], /is 0x41: QEMU cannot be asked for 0x40/],
    [2, ['sev-snp', '--guest-features', '0x20'], /is 0x20: bit 0 is set in every SEV-SNP guest/],
    [3, ['sev-snp', '--guest-features', '0x21'], /this QEMU has no property debug-swap/],
    [5, ['sev-snp', '--kernel', notAKernel], /kernel .*at 0x1f1: setup_sects/],
    [3, ['tdx', '--td-attributes', 'debug'], /gives no trust domain the attributes 0x1/],
  ]
  const ended = await Promise.all(cases.map(([, args]) => rehearse(...args)))
  for (const [index, [code, args, message]] of cases.entries())
    t.match(ended[index], { code, stdout: '', stderr: message }, args.join(' '))
})

t.test('the page for people says plainly where the two differ', async (t) => {
  const shown = {
    ...{ platform: 'sev-snp', launchDigest: 'aa'.repeat(48), fields: { POLICY: '0x30000' } },
    pages: [
      { gpa: '0xffc00000', size: 0x400000, type: 'normal' },
      { gpa: '0xfffffffff000', size: 4096, type: 'vmsa', count: 3 },
    ],
  }
  const good = renderRehearsal({ ...shown, predicted: 'aa'.repeat(48), agree: true }, 80)
  t.match(good, /predicted +the same/)
  t.match(good, /0xffc00000 +4 MiB {2}normal\n {2}0xfffffffff000 +4 KiB {2}vmsa x 3\n/)
  const bad = renderRehearsal(
    { ...shown, predicted: 'bb'.repeat(48), agree: false, difference: 'the moon' },
    80,
  )
  t.match(bad, /predicted +bbbb/)
  t.match(bad, 'The two DIFFER: the moon')
  for (const line of [...good.split('\n'), ...bad.split('\n')]) t.ok(line.length <= 80, line)
})
