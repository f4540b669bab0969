/** Asks QEMU about itself: one start without a guest, all questions on stdin, all answers on stdout. */

import { LaunchError } from '../base/errors.ts'
import type { Tools } from '../system/tools.ts'
import type { QemuAnswers } from './programs.ts'

/** Asked about even where `qom-list-types` leaves them out: an error is an answer too. */
const CONFIDENTIAL_OBJECTS = ['sev-guest', 'sev-snp-guest', 'tdx-guest'] as const
const TIMEOUT_MS = 10_000

/** No machine, so nothing is allocated and no firmware is needed; KVM where it opens, for the SEV question. */
const ARGUMENTS = [
  '-M',
  'none',
  '-nodefaults',
  '-no-user-config',
  '-display',
  'none',
  '-qmp',
  'stdio',
] as const

export interface AskOptions {
  /** Whether /dev/kvm opens: without KVM, QEMU cannot tell what the SEV firmware can do. */
  readonly accelerator: 'kvm' | 'tcg'
}

/** Rejects with what running QEMU rejects with, or LaunchError 'qmp-protocol'. */
export async function askQemu(tools: Tools, { accelerator }: AskOptions): Promise<QemuAnswers> {
  const { stdout } = await tools.run('qemu-system-x86_64', [...ARGUMENTS, '-accel', accelerator], {
    input: `${questions()
      .map((question) => JSON.stringify(question))
      .join('\n')}\n`,
    timeoutMs: TIMEOUT_MS,
  })
  return readAnswers(stdout.toString('utf8'))
}

function questions(): readonly object[] {
  return [
    { execute: 'qmp_capabilities' },
    { execute: 'qom-list-types', arguments: { implements: 'accel', abstract: false }, id: 'accelerators' },
    ...CONFIDENTIAL_OBJECTS.map((typename) => ({
      execute: 'qom-list-properties',
      arguments: { typename },
      id: `object ${typename}`,
    })),
    { execute: 'query-sev-capabilities', id: 'sev' },
    { execute: 'quit' },
  ]
}

interface Message {
  readonly id?: string
  readonly return?: unknown
  readonly error?: { readonly desc: string }
  readonly QMP?: { readonly version: QmpVersion }
}

interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number }
  readonly package: string
}

/** Exported for its tests: `text` is what QEMU printed, one JSON document a line. */
export function readAnswers(text: string): QemuAnswers {
  const messages = text
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map(parseLine)
  const version = messages.find((message) => message.QMP)?.QMP?.version
  if (!version) throw protocolError('QEMU printed no QMP greeting')
  const answer = (id: string) => {
    const message = messages.find((candidate) => candidate.id === id)
    if (!message) throw protocolError(`QEMU did not answer '${id}'`)
    return message
  }
  const { major, minor, micro } = version.qemu
  return {
    version: [major, minor, micro],
    packageVersion: version.package,
    accelerators: names(answer('accelerators').return).map((name) => name.replace(/-accel$/, '')),
    objects: objectsOf(answer),
    sev: sevOf(answer('sev')),
  }
}

function objectsOf(answer: (id: string) => Message): QemuAnswers['objects'] {
  const found = CONFIDENTIAL_OBJECTS.map((object) => [object, answer(`object ${object}`)] as const)
  return Object.fromEntries(
    found.filter(([, message]) => !message.error).map(([object, message]) => [object, names(message.return)]),
  )
}

function sevOf(message: Message): QemuAnswers['sev'] {
  if (message.error) return { error: message.error.desc }
  const { cbitpos } = message.return as { readonly cbitpos?: number }
  return cbitpos === undefined ? { error: 'the answer has no cbitpos' } : { cbitPosition: cbitpos }
}

function names(list: unknown): string[] {
  return Array.isArray(list) ? list.map((item: { readonly name: string }) => item.name) : []
}

function parseLine(line: string): Message {
  try {
    return JSON.parse(line) as Message
  } catch (cause) {
    throw protocolError(`QEMU printed what is not QMP: ${line.slice(0, 200)}`, cause)
  }
}

function protocolError(message: string, cause?: unknown): LaunchError {
  return new LaunchError(message, { code: 'qmp-protocol', cause })
}
