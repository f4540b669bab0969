/** A fact before it has a name, and the isolation that keeps one broken probe from spoiling the others. */

import { AttestbedError } from '../base/errors.ts'
import { escapeControls } from '../base/text.ts'
import type { Fact } from './facts.ts'
import type { Sources } from './sources.ts'

export type Finding = Omit<Fact, 'id'>

/** One fact: its name and how it is found. */
export interface FactProbe {
  readonly id: string
  look(sources: Sources): Promise<Finding>
}

export function yes(proof: string): Finding {
  return { status: 'yes', proof, hint: '' }
}

export function no(proof: string, hint = ''): Finding {
  return { status: 'no', proof, hint }
}

export function unknown(proof: string, hint = ''): Finding {
  return { status: 'unknown', proof, hint }
}

/** Looks at one fact. A probe that throws gives `unknown`, with the error as the proof. */
export async function settle(probe: FactProbe, sources: Sources): Promise<Fact> {
  const finding = await probe.look(sources).catch(findingOf)
  return { id: probe.id, status: finding.status, proof: oneLine(finding.proof), hint: finding.hint }
}

function findingOf(error: unknown): Finding {
  const hint = error instanceof AttestbedError ? (error.hint ?? '') : ''
  return unknown(error instanceof Error ? error.message : String(error), hint)
}

/** Proofs quote files and programs: they must not drive the terminal or break the line of a report. */
function oneLine(text: string): string {
  return escapeControls(text.trim().replaceAll(/\s*\n\s*/g, ' | '))
}
