/** One event of each type, with all that it may hold. */
import type { RunEvent, ScenarioResult } from '../../run/events.ts'
import { claim, HOSTILE, result, VARIANT } from './fake-run.ts'

const boot = {
  ...{ number: 1, process: 1, slot: 'a', entry: 'Boot0100 "slot a"', unlocked: false, pcrs: { 7: 'ab' } },
  ...{ refused: [{ entry: 'Boot0101', why: 'Access Denied' }], words: HOSTILE },
  ...({ ending: 'gave-up', why: 'no-pcr-signature' } as const),
}

const full: ScenarioResult = result({
  ...{ hint: 'a hint', repetition: 2, unstable: 'now and then', boots: [{ ...boot, vm: 'owner' }] },
  claims: [claim(), claim({ outcome: 'skip', basis: 'hardware' })],
  broken: [{ reason: HOSTILE, seconds: 1, dir: '/runs/1/a', claims: [claim({ basis: 'rehearsed' })] }],
})

const of = { at: 1, key: 'k0' } as const
const planned = [{ key: 'k0', scenario: 'a/b', variant: VARIANT, repetition: 1 }]
const host = { name: 'h', system: 'Linux', processor: 'p', cores: 2, memoryMiB: 1, attestbed: '0.1.0' }

export const EXAMPLES: readonly RunEvent[] = [
  { type: 'run-started', at: 1, version: 3, directory: '/runs/1', planned, jobs: 2, host },
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
      says: [{ title: 's', rows: [{ label: 'l', value: HOSTILE, note: 'n' }] }],
      vouchedBy: [{ state: 'holds', text: 'a chain' }],
    },
  },
  { type: 'command-lines', ...of, commands: [['swtpm'], ['qemu']] },
  { type: 'guest-command', ...of, vm: 'owner', argv: ['true'] },
  { type: 'console-line', ...of, vm: 'owner', line: HOSTILE },
  { type: 'vm-ended', ...of, vm: 'owner', kind: 'killed', reason: 'r', consoleTail: HOSTILE },
  { type: 'boot-ended', ...of, vm: 'owner', boot, line: 'l' },
  { type: 'note', ...of, text: HOSTILE },
  { type: 'claim', ...of, result: claim({ outcome: 'fail', basis: 'predicted' }) },
  { type: 'attempt-ended', ...of, result: result({ outcome: 'error', reason: HOSTILE }) },
  { type: 'scenario-ended', ...of, result: full },
  { type: 'run-note', at: 1, text: HOSTILE },
  {
    ...{ type: 'run-ended', at: 1 },
    result: {
      results: [full],
      expired: [{ place: 'm.yaml:1:1', reason: 'r', until: '2026-01-01', variants: 1 }],
      otherShards: 3,
    },
  },
]
