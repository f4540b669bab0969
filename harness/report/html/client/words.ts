/** Signs and words that the parts of the page share. */
import type { Change, RunAbout, RunRow } from '../data.ts'

export const SIGNS = { pass: '✓', fail: '✗', error: '!', skip: '–' } as const
export type OutcomeName = keyof typeof SIGNS

export const BASES = { H: 'hardware', R: 'rehearsed', E: 'emulated', P: 'predicted' } as const
export type BasisLetter = keyof typeof BASES

export const CHANGES: Readonly<Record<Change, string>> = {
  'new-failure': 'new failure',
  fixed: 'fixed',
  'still-failing': 'still failing',
  weaker: 'proves less',
  slower: 'slower',
  faster: 'faster',
  other: 'changed',
  new: 'new here',
  same: 'as before',
}

/** `12.3 s`, `4 min 05 s`, `2 h 03 min`. */
export function duration(ms: number): string {
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  const two = (value: number): string => String(value).padStart(2, '0')
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${two(seconds % 60)} s`
  return `${Math.floor(seconds / 3600)} h ${two(Math.floor((seconds % 3600) / 60))} min`
}

/** `3 runs`, `1 run`. */
export function counted(count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`
}

export function when(epochMs: number): string {
  if (epochMs === 0) return 'at an unknown time'
  return new Date(epochMs).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' })
}

export function hostLine({ host }: RunAbout): string {
  if (!host) return ''
  const memory = `${Math.round(host.memoryMiB / 1024)} GiB`
  return `${host.name}: ${host.processor}, ${counted(host.cores, 'core')}, ${memory}, ${host.system}, attestbed ${host.attestbed}`
}

export const AXES = ['platform', 'vtpm', 'firmware', 'image', 'qemu', 'vcpus', 'memoryMiB'] as const
export type Axis = (typeof AXES)[number]

export const AXIS_NAMES: Readonly<Record<Axis, string>> = {
  ...{ platform: 'platform', vtpm: 'vTPM', firmware: 'firmware', image: 'image', qemu: 'QEMU' },
  ...{ vcpus: 'vCPUs', memoryMiB: 'memory' },
}

export function axisValue(axis: Axis, { variant }: Pick<RunRow, 'variant'>): string {
  if (axis === 'memoryMiB') return `${variant.memoryMiB} MiB`
  if (axis === 'vcpus') return `${variant.vcpus} vCPU${variant.vcpus === 1 ? '' : 's'}`
  if (axis === 'vtpm') return variant.vtpm === 'none' ? 'no vTPM' : variant.vtpm
  if (axis === 'platform' && variant.emulatedOn !== undefined) return `${variant.platform} (emulated)`
  if (axis === 'qemu') return variant.qemu === 'tools' ? 'tools QEMU' : variant.qemu
  return variant[axis]
}

/** The letters of what the claims rest on, strongest first. */
export function basesOf({ claims }: Pick<RunRow, 'claims'>): readonly BasisLetter[] {
  const decided = claims.filter(([, , outcome]) => outcome !== 's')
  return (Object.keys(BASES) as BasisLetter[]).filter((letter) =>
    decided.some(([, basis]) => basis === letter),
  )
}

/** The worst first: what a cell of several runs shows. */
export const SEVERITY: readonly OutcomeName[] = ['fail', 'error', 'pass', 'skip']
