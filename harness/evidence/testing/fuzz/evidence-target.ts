/** Targets that ask for a verdict. */
import type { Examination } from '../../examination.ts'
import type { FuzzTarget } from './engine.ts'
import { Forgery } from './forgery.ts'

export const MAX_BYTES = 128 * 1024

interface Believing {
  readonly run: (input: Uint8Array) => Pick<Examination, 'authentic' | 'acceptable'>
  /** Whether what the input says was really signed: asked where it is believed. */
  readonly isGenuine: (input: Uint8Array) => boolean
}

/** An examination comes back whatever the input is, and believes nothing that is not genuine. */
export function evidenceTarget(
  name: string,
  seeds: readonly Uint8Array[],
  { run, isGenuine }: Believing,
): FuzzTarget {
  return {
    ...{ name, seeds, maxBytes: MAX_BYTES },
    isBelieved: (input) => run(input).authentic,
    run: (input) => {
      const { authentic, acceptable } = run(input)
      if (acceptable && !authentic) throw new Forgery('acceptable without being authentic')
      if (authentic && !isGenuine(input)) throw new Forgery('authentic, and not what was signed')
    },
  }
}

/** The part of an input that a signature covers is that of one of the seeds. */
export function sameAs(
  seeds: readonly Uint8Array[],
  signed: (input: Uint8Array) => Uint8Array | string,
): (input: Uint8Array) => boolean {
  const textOf = (input: Uint8Array) => Buffer.from(signed(input)).toString('latin1')
  const known = new Set(seeds.map(textOf))
  return (input) => known.has(textOf(input))
}
