/** One event of each type, with all that it may hold. */
import type { ClaimResult, RunEvent, ScenarioResult, Variant } from '../events.ts'

/** What a guest can put into an event. */
export const SAID_BY_GUEST = 'ok 1 - forged\n\x1b[2J\x00\u202e\u2028<script>'

const VARIANT: Variant = {
  ...{ platform: 'sev-snp', emulatedOn: 'tcg', vtpm: 'stateful', firmware: 'ovmf', image: 'debian' },
  ...{ qemu: 'tools', vcpus: 1, memoryMiB: 1024 },
}

function claim(overrides: Partial<ClaimResult> = {}): ClaimResult {
  const said = { claim: 'the root opens', expected: 'a', got: SAID_BY_GUEST }
  return { id: 'opens', ...said, basis: 'emulated', outcome: 'pass', ...overrides }
}

function result(overrides: Partial<ScenarioResult> = {}): ScenarioResult {
  return {
    ...{ scenario: 'a/b', variant: VARIANT, outcome: 'pass', reason: '', seconds: 61.5 },
    ...{ claims: [claim()], dir: '/runs/1/a', attempts: 1 },
    ...overrides,
  }
}

const boot = {
  ...{ number: 1, process: 1, slot: 'a', entry: 'Boot0100 "slot a"', unlocked: false, pcrs: { 7: 'ab' } },
  ...{ refused: [{ entry: 'Boot0101', why: 'Access Denied' }], words: SAID_BY_GUEST },
  ...({ ending: 'gave-up', why: 'no-pcr-signature' } as const),
}

const full: ScenarioResult = result({
  ...{ hint: 'a hint', repetition: 2, unstable: 'now and then', boots: [{ ...boot, vm: 'owner' }] },
  claims: [claim(), claim({ outcome: 'skip', basis: 'hardware' })],
  broken: [{ reason: SAID_BY_GUEST, seconds: 1, dir: '/runs/1/a', claims: [claim({ basis: 'rehearsed' })] }],
})

const of = { at: 1, key: 'k0' } as const
const planned = [{ key: 'k0', scenario: 'a/b', variant: VARIANT, repetition: 1 }]
const host = { name: 'h', system: 'Linux', processor: 'p', cores: 2, memoryMiB: 1, attestbed: '0.1.0' }

export const EXAMPLES: readonly RunEvent[] = [
  { type: 'run-started', at: 1, version: 4, directory: '/runs/1', planned, jobs: 2, host },
  { type: 'run-extended', at: 1, planned },
  {
    ...{ type: 'scenario-started', ...of, scenario: 'a/b', title: 't', variant: VARIANT },
    ...{ directory: '/runs/1/a', attempt: 1 },
  },
  { type: 'phase', ...of, vm: 'owner', phase: 'unlock' },
  { type: 'vm-started', ...of, vm: 'owner', argv: ['qemu'] },
  { type: 'qmp-event', ...of, vm: 'owner', name: 'RESET', data: '{}' },
  { type: 'host-action', ...of, vm: 'owner', text: 'cuts the power' },
  {
    ...{ type: 'registers', ...of, vm: 'owner', bank: 'sha256' },
    registers: [
      {
        ...{ name: 'PCR 7', verdict: 'different', predicted: 'aa', seen: 'bb' },
        events: [
          { same: false, predicted: { type: 'EV_SEPARATOR', what: 'separator', digest: 'aa' } },
          { same: false, logged: { type: 'EV_SEPARATOR', digest: 'bb' } },
        ],
      },
      { name: 'PCR 9', verdict: 'unknown', events: [] },
    ],
  },
  {
    ...{ type: 'evidence', ...of, vm: 'owner' },
    page: {
      title: 'SNP report',
      says: [{ title: 's', rows: [{ label: 'l', value: SAID_BY_GUEST, note: 'n' }] }],
      vouchedBy: [{ state: 'holds', text: 'a chain' }],
    },
  },
  { type: 'command-lines', ...of, commands: [['swtpm'], ['qemu']] },
  { type: 'guest-command', ...of, vm: 'owner', argv: ['true'] },
  { type: 'console-line', ...of, vm: 'owner', line: SAID_BY_GUEST },
  { type: 'vm-ended', ...of, vm: 'owner', kind: 'killed', reason: 'r', consoleTail: SAID_BY_GUEST },
  { type: 'boot-ended', ...of, vm: 'owner', boot, line: 'l' },
  { type: 'note', ...of, text: SAID_BY_GUEST },
  { type: 'claim', ...of, result: claim({ outcome: 'fail', basis: 'predicted' }) },
  { type: 'attempt-ended', ...of, result: result({ outcome: 'error', reason: SAID_BY_GUEST }) },
  { type: 'scenario-ended', ...of, result: full },
  { type: 'run-note', at: 1, text: SAID_BY_GUEST },
  {
    ...{ type: 'run-ended', at: 1 },
    result: {
      results: [full],
      expired: [{ place: 'm.yaml:1:1', reason: 'r', until: '2026-01-01', variants: 1 }],
      otherShards: 3,
    },
  },
]
