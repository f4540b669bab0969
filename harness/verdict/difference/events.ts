/** Events that differ, register by register: changed, or only in one. */
import type { InputName, MeasuredDocument, MeasuredEvent } from '../../measure/documents/document.ts'
import { aligned, type Pair } from './alignment.ts'
import type { Difference } from './difference.ts'
import { type ChangedInputs, causesAmong, shown } from './inputs.ts'
import { DECIDE_REWRITING, inputsOfEvent, inputsOfRegister, REWRITTEN_KERNEL } from './register-inputs.ts'

/** What versions of QEMU changed, and where it shows. Its own release notes and git history. */
const QEMU_CHANGES = [
  {
    since: [10, 2],
    register: 'rtmr1',
    type: 'EV_EFI_BOOT_SERVICES_APPLICATION',
    // The same version with newer firmware hands the kernel over as it is: the older of the two documents says so.
    described: REWRITTEN_KERNEL,
    because: 'the kernel setup header is no longer rewritten',
  },
] as const

export function eventDifferences(
  a: MeasuredDocument,
  b: MeasuredDocument,
  changed: ChangedInputs,
): readonly Difference[] {
  if (a.events === undefined || b.events === undefined) return []
  const [banksA, banksB] = [banksOf(a.events), banksOf(b.events)]
  if (banksA.size > 0 && banksB.size > 0 && ![...banksA].some((bank) => banksB.has(bank)))
    return [
      {
        where: 'events',
        what: `${listed(banksA)} in A, ${listed(banksB)} in B: no digest to compare`,
        causes: [],
      },
    ]
  const [left, right] = [byRegister(a.events), byRegister(b.events)]
  return [...new Set([...left.keys(), ...right.keys()])].sort(byNumber).flatMap((register) => {
    const ofRegister = causesAmong(inputsOfRegister(register), changed)
    return aligned(left.get(register) ?? [], right.get(register) ?? []).map((pair) => {
      const ofEvent = descriptionsOf(pair).flatMap((description) => inputsOfEvent(description) ?? [])
      const narrower = causesAmong([...new Set(ofEvent)], changed)
      const candidates = narrower.length > 0 ? narrower : ofRegister
      const causes = candidates.filter((name) => !isBeside(name, pair))
      const because = reason(pair, a, b)
      return { ...pairDifference(register, pair), causes, ...(because !== undefined && { because }) }
    })
  })
}

function descriptionsOf({ a, b }: Pair): readonly string[] {
  return [a, b].flatMap((placed) => (placed ? [placed.event.description] : []))
}

/** Of a kernel that both documents have rewritten, or both as it is, whatever decides the rewriting is no cause. */
function isBeside(name: InputName, pair: Pair): boolean {
  const descriptions = descriptionsOf(pair)
  const areKernels = descriptions.length === 2 && descriptions.every((text) => /^kernel(,|$)/.test(text))
  const rewritten = descriptions.filter((text) => REWRITTEN_KERNEL.test(text))
  return areKernels && rewritten.length !== 1 && DECIDE_REWRITING.includes(name)
}

function banksOf(events: readonly MeasuredEvent[]): ReadonlySet<string> {
  return new Set(events.flatMap(({ digests }) => Object.keys(digests)))
}

function listed(names: ReadonlySet<string>): string {
  return [...names].join(', ')
}

function byRegister(events: readonly MeasuredEvent[]): ReadonlyMap<string, readonly MeasuredEvent[]> {
  return Map.groupBy(events, ({ register }) => register)
}

function byNumber(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}

function pairDifference(register: string, { a, b }: Pair): Pick<Difference, 'where' | 'what'> {
  const at = a && b && a.at !== b.at ? `${a.at} (B: ${b.at})` : `${(a ?? b)?.at}`
  const where = `${register} event ${at}`
  if (!a || !b) return { where, what: `${titleOf((a ?? b)?.event)} only in ${a ? 'A' : 'B'}` }
  const [titleA, titleB] = [titleOf(a.event), titleOf(b.event)]
  if (titleA !== titleB) return { where, what: `${titleA} against ${titleB}` }
  return { where, what: `${titleA}: ${digestOf(a.event, b.event)}` }
}

function titleOf(event: MeasuredEvent | undefined): string {
  return event ? shown(event.description ? `${event.type} ${event.description}` : event.type) : ''
}

function digestOf(a: MeasuredEvent, b: MeasuredEvent): string {
  const algorithm = Object.keys(a.digests).find((name) => name in b.digests)
  if (algorithm === undefined) return 'no digest algorithm in common'
  return `${a.digests[algorithm]} against ${b.digests[algorithm]} (${algorithm})`
}

function reason({ a, b }: Pair, left: MeasuredDocument, right: MeasuredDocument): string | undefined {
  const [versionA, versionB] = [versionOf(left.inputs?.qemu), versionOf(right.inputs?.qemu)]
  if (!a || !b || !versionA || !versionB) return undefined
  const isForward = compare(versionA, versionB) <= 0
  const [older, newer] = isForward ? [versionA, versionB] : [versionB, versionA]
  const { description } = (isForward ? a : b).event
  return QEMU_CHANGES.find(
    ({ since, register, type, described }) =>
      register === a.event.register &&
      type === a.event.type &&
      described.test(description) &&
      compare(older, since) < 0 &&
      compare(newer, since) >= 0,
  )?.because
}

function versionOf(text: string | undefined): readonly number[] | undefined {
  const numbers = /^(?:\d{1,3}:)?(\d{1,3})[.](\d{1,3})/.exec(text ?? '')
  return numbers?.slice(1).map(Number)
}

function compare(a: readonly number[], b: readonly number[]): number {
  return (a[0] ?? 0) - (b[0] ?? 0) || (a[1] ?? 0) - (b[1] ?? 0)
}
