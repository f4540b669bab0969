/** The host of an emulated TEE: how it lies about its processor at the moment, and what it can say again. */
import { UsageError } from '../base/errors.ts'
import type { EmulatedProcessor, TeeAnswer, TeeFault, TeeQuestion } from '../platforms/emulated/processor.ts'

export class TeeHost {
  #faults: ReadonlySet<TeeFault> = new Set()
  /** The last one of an honest host that is about something: what an exchange accepted. */
  #accepted: TeeAnswer | undefined
  #asked: (() => void) | undefined

  get faults(): readonly TeeFault[] {
    return [...this.#faults]
  }

  /** Throws UsageError `bad-scenario` for `replayed` where nothing was said yet. */
  lie(faults: readonly TeeFault[]): void {
    if (faults.includes('replayed') && this.#accepted === undefined)
      throw new UsageError('there is no evidence yet that could be replayed', { code: 'bad-scenario' })
    this.#faults = new Set(faults)
  }

  whenAsked(then: (() => void) | undefined): void {
    this.#asked = then
  }

  answer(processor: EmulatedProcessor, question: Omit<TeeQuestion, 'faults'>): TeeAnswer {
    const faults = this.#faults
    // A guest that wants to know what kind of TEE it is in asks for a report of zeros.
    const isAboutSomething = question.reportData.some((byte) => byte !== 0)
    if (isAboutSomething) this.#asked?.()
    if (faults.has('replayed') && this.#accepted) return this.#accepted
    const answer = processor.answer({ ...question, faults })
    if (isAboutSomething && faults.size === 0) this.#accepted = answer
    return answer
  }
}
