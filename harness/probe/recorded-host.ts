/** For tests: a host from fixtures/<name>.yaml, with what its programs answered and what is to be concluded. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from 'yaml'
import { z } from 'zod'
import { HostError } from '../base/errors.ts'
import type { FirmwareBuild } from './firmware.ts'
import type { Attempt, HostTree, HostUser } from './host-tree.ts'
import type { BootOutcome, Programs, QemuAnswers } from './programs.ts'
import { missingPrograms } from './programs.ts'
import { readAnswers } from './qemu-answers.ts'
import type { SourcesSpec } from './sources.ts'

const FIXTURES = join(import.meta.dirname, 'fixtures')
const MIB = 1024 * 1024

const words = z.record(z.string(), z.string())
const sevSchema = z.union([
  z.strictObject({ cbitPosition: z.number() }),
  z.strictObject({ error: z.string() }),
])
const bootSchema = z.enum(['booted', 'internal-error', 'not-tried', 'silent'])
const version = z.tuple([z.number(), z.number(), z.number()])

const answeringSchema = z.strictObject({
  /** A file of recorded QMP answers, or the answers themselves. */
  qemu: z.union([
    z.string(),
    z.strictObject({
      version,
      packageVersion: z.string(),
      accelerators: z.array(z.string()),
      objects: z.record(z.string(), z.array(z.string())),
    }),
  ]),
  sev: sevSchema,
  swtpm: z.string(),
  boots: z.strictObject({ plain: bootSchema.optional(), smm: bootSchema.optional() }),
  firmware: z.union([z.literal('all'), z.array(z.string())]),
})

const recordSchema = z.strictObject({
  title: z.string(),
  user: z.strictObject({ uid: z.number(), name: z.string(), groups: z.array(z.number()) }),
  files: words,
  devices: z.record(z.string(), z.strictObject({ gid: z.number(), open: z.string() })).default({}),
  sockets: words.default({}),
  /** EAX, EBX, ECX, EDX by leaf, or the error of opening the device. */
  cpuid: z.union([z.string(), z.record(z.string(), z.array(z.number()).length(4))]),
  freeMiB: z.number(),
  programs: z.union([
    answeringSchema,
    z.strictObject({ missing: z.strictObject({ message: z.string(), hint: z.string() }) }),
  ]),
  /** Written by hand. Proofs, hints, reasons and limits are parts of the texts. */
  expected: z.strictObject({
    /** Every fact but those of the firmware. */
    facts: z.record(z.string(), z.enum(['yes', 'no', 'unknown'])),
    proofs: words.default({}),
    hints: words.default({}),
    parameters: z.record(z.string(), z.unknown()),
    /** Usable platforms, best first. */
    rank: z.array(z.string()),
    /** Why the others are not. */
    reasons: words.default({}),
    limits: words.default({}),
  }),
})

export type HostRecord = z.infer<typeof recordSchema>

export function recordedHosts(): readonly string[] {
  return readdirSync(FIXTURES)
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => name.slice(0, -'.yaml'.length))
    .sort()
}

export function readRecord(name: string): HostRecord {
  const text = readFileSync(join(FIXTURES, `${name}.yaml`), 'utf8')
  return recordSchema.parse(parse(text, { intAsBigInt: false }))
}

/** What `probeHost` takes, for a record. */
export function recordedSpec(record: HostRecord, firmware: readonly FirmwareBuild[]): SourcesSpec {
  return {
    host: new RecordedHost(record),
    programs: recordedPrograms(record.programs, firmware),
    firmware,
    directories: { cache: '/home/somebody/.cache/attestbed', state: '/home/somebody/.local/state/attestbed' },
    guestMemoryMiB: 1024,
  }
}

export class RecordedHost implements HostTree {
  readonly user: HostUser
  readonly #record: HostRecord

  constructor(record: HostRecord) {
    this.user = record.user
    this.#record = record
  }

  async readText(path: string): Promise<string | undefined> {
    return this.#record.files[path]
  }

  async readBytes(path: string, offset: number, length: number): Promise<Buffer> {
    const { cpuid } = this.#record
    if (path !== '/dev/cpu/0/cpuid') throw errno('ENOENT', path)
    if (typeof cpuid === 'string') throw errno(cpuid, path)
    const leaves = Object.entries(cpuid).map(([leaf, registers]) => [Number(leaf), registers] as const)
    const registers = leaves.find(([leaf]) => leaf === offset)?.[1] ?? [0, 0, 0, 0]
    const bytes = Buffer.alloc(16)
    for (const [index, word] of registers.entries()) bytes.writeUInt32LE(word, index * 4)
    return bytes.subarray(0, length)
  }

  async tryOpen(path: string): Promise<Attempt> {
    return this.#record.devices[path]?.open ?? 'ENOENT'
  }

  async tryConnect(path: string): Promise<Attempt> {
    return this.#record.sockets[path] ?? 'ENOENT'
  }

  /** A directory is there when anything is in it. */
  async stat(path: string): Promise<{ readonly gid: number; readonly size: number } | undefined> {
    const device = this.#record.devices[path]
    if (device) return { gid: device.gid, size: 0 }
    const text = this.#record.files[path]
    if (text !== undefined) return { gid: 0, size: text.length }
    const paths = [...Object.keys(this.#record.files), ...Object.keys(this.#record.sockets)]
    return paths.some((other) => other.startsWith(`${path}/`)) ? { gid: 0, size: 0 } : undefined
  }

  async freeBytes(): Promise<number> {
    return this.#record.freeMiB * MIB
  }
}

function recordedPrograms(programs: HostRecord['programs'], builds: readonly FirmwareBuild[]): Programs {
  if ('missing' in programs) {
    const { message, hint } = programs.missing
    return missingPrograms(new HostError(message, { code: 'setup-missing', hint }))
  }
  const { firmware, swtpm, boots } = programs
  const present = builds.filter(({ id }) => firmware === 'all' || firmware.includes(id))
  const files = present.flatMap(({ path, variables }) =>
    variables === undefined ? [path] : [path, variables],
  )
  return {
    qemu: async () => qemuAnswers(programs),
    swtpm: async () => swtpm,
    bootKvm: async (kind) => bootOutcome(boots[kind]),
    file: async (relative) =>
      files.includes(relative) ? { path: `/tools/${relative}`, size: 4194304 } : undefined,
  }
}

function qemuAnswers({ qemu, sev }: z.infer<typeof answeringSchema>): QemuAnswers {
  if (typeof qemu === 'string') return { ...readAnswers(readFileSync(join(FIXTURES, qemu), 'utf8')), sev }
  return { ...qemu, sev }
}

/** What probeKvmBoot says in each case; the texts of the failure are as seen. */
function bootOutcome(kind: z.infer<typeof bootSchema> | undefined): BootOutcome {
  switch (kind) {
    case 'booted':
      return { kind, milliseconds: 1200, line: 'BdsDxe: No bootable option or device was found.' }
    case 'internal-error':
      return {
        kind,
        detail:
          'QEMU on stderr: KVM internal error. Suberror: 1 (emulation failure); QMP query-status: internal-error',
      }
    case 'not-tried':
      return { kind, detail: 'the firmware without SMM does not boot' }
    case 'silent':
      return { kind, milliseconds: 20_000, detail: 'the firmware said nothing' }
    case undefined:
      throw new Error('the record says nothing of this boot: nobody was to ask')
  }
}

function errno(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}
