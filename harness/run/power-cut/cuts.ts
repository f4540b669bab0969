/** The power cuts of a recorded update: their states, and what a boot from one of them comes to. */
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { MaterialError } from '../../base/errors.ts'
import { PARTITION_TYPES, type Partition, parseGpt } from '../../formats/gpt.ts'
import type { LoggedWrite } from '../../formats/write-log.ts'
import { copyVtpmState, PERMANENT_STATE } from '../../machine/vtpm/state.ts'
import { createOverlay } from '../../materials/boot-disk.ts'
import { writePrivateFile } from '../../system/files.ts'
import type { ScenarioVm } from '../vm.ts'
import { type Attempt, bootOnce } from './attempt.ts'
import { CutDisk } from './cut-disk.ts'
import { describeDiskWrite, describeFlashWrite } from './describe.ts'
import { statesOfLostWrites } from './lost-writes.ts'
import type { Recorded } from './recording.ts'
import { keepReproducer } from './reproducer.ts'
import { type CutEvent, type CutState, cutStates, eventsOf, type RecordedUpdate } from './states.ts'

const GPT_BYTES = 34 * 512

export interface CutOutcome extends Omit<Attempt, 'late'> {
  /** From the preparation of its disks to its end. */
  readonly seconds: number
  /** It is down since it was late twice, on a host where the first state comes up in time. */
  readonly late: boolean
  /** Where a state that is down is kept. */
  readonly reproducer?: string
}

export class PowerCuts {
  readonly update: RecordedUpdate
  readonly states: readonly CutState[]
  readonly #vm: ScenarioVm
  readonly #recorded: Recorded
  readonly #disk: CutDisk
  readonly #partitions: readonly Partition[]
  #boots = 0
  /** A boot that takes so long hangs; milliseconds. */
  #deadlineMs: number

  private constructor(
    vm: ScenarioVm,
    made: {
      readonly recorded: Recorded
      readonly update: RecordedUpdate
      readonly disk: CutDisk
      readonly partitions: readonly Partition[]
    },
  ) {
    this.#vm = vm
    this.#deadlineMs = vm.spec.bench.image.description.timeouts.bootSeconds * 1000
    this.#recorded = made.recorded
    this.update = made.update
    this.#disk = made.disk
    this.#partitions = made.partitions
    const inOrder = cutStates(made.update)
    this.states = [...inOrder, ...statesOfLostWrites(made.update, inOrder)]
  }

  /** The VM must be off. Throws FormatError for logs or a disk that are not in order. */
  static async open(vm: ScenarioVm, recorded: Recorded): Promise<PowerCuts> {
    const { base, before, update } = recorded
    const disk = await CutDisk.open(base.disk, {
      earlier: writesOn('disk', before),
      writes: writesOn('disk', update.events),
    })
    const { partitions } = parseGpt(await disk.read(0, GPT_BYTES))
    const esp = partitions.find(({ type }) => type === PARTITION_TYPES.esp)
    if (esp === undefined)
      throw new MaterialError(`cannot find the ESP of ${base.disk}: none of its partitions is one`, {
        code: 'bad-format',
      })
    const flash = await readFile(base.variables)
    for (const { offset, data } of writesOn('variables', before)) flash.set(data, offset)
    const whole = {
      ...update,
      esp: { bytes: await disk.read(esp.offset, esp.size), offset: esp.offset },
      variables: flash,
    }
    return new PowerCuts(vm, { recorded, update: whole, disk, partitions })
  }

  /** How many of what: for the record. */
  get summary(): string {
    const { events } = this.update
    const cached = this.states.filter(({ lost }) => lost.length > 0).length
    const count = (on: CutEvent['on']) => events.filter((event) => event.on === on).length
    const contents = new Set(this.states.map(({ content }) => content)).size
    return `${count('disk')} entries of the disk's log, ${count('variables')} of the flash's, ${count('vtpm')} versions of the vTPM's state: ${this.states.length - cached} states of different bytes, ${cached} more by writes that a disk with a cache had not written, ${contents} of different content`
  }

  /** The write that made a state, by number and by the structure that it changed. */
  describe({ after, lost }: CutState): string {
    const { events } = this.update
    const event = events[after - 1]
    const step = this.update.marks.findLast((mark) => mark.after < after)?.name
    const where = `write ${after} of ${events.length}${step === undefined ? '' : `, after "${step}"`}`
    if (event === undefined) return 'before the first write'
    if (lost.length === 0) return `${where}: ${this.#describeEvent(event, after)}`
    const one = lost[0] ?? after
    const others = lost.length > 1 ? ` and ${lost.length - 1} others` : ''
    return `${where}, without write ${one}${others}: ${this.#describeEvent(events[one - 1] ?? event, one)}`
  }

  #describeEvent(event: CutEvent, after: number): string {
    if (event.on === 'vtpm') return `version ${event.version} of the vTPM's state`
    const { kind, offset, size, data } = event.write
    if (kind !== 'write') return `${kind} of the ${event.on}`
    if (event.on === 'variables') return describeFlashWrite(this.#flashAfter(after - 1), offset, data)
    const esp = { offset: this.update.esp.offset, size: this.update.esp.bytes.length }
    const [before, now] = [this.#espAfter(after - 1), this.#espAfter(after)]
    const end = this.#espAfter(this.update.events.length)
    return describeDiskWrite({ offset, size }, { before, after: now, end, esp, partitions: this.#partitions })
  }

  /**
   * Puts disk, flash and vTPM into the state and boots it; `made` is what a state that is kept was made by. Throws what is
   * no fault of the state: also TimeoutError where this host is too slow to tell.
   */
  async boot(state: CutState, made: CutState = state): Promise<CutOutcome> {
    const startedAt = Date.now()
    const number = this.#next()
    const outcome = await this.#tryTwice(state, `cut-${number}`)
    const [first] = this.states
    if (outcome.late && first) await this.control(first)
    const told = { ...outcome, late: outcome.late !== undefined, seconds: secondsSince(startedAt) }
    if (outcome.came === 'up') return told
    const { came, slot, why } = outcome
    // Where the control was booted, the disk is in its state.
    await this.#disk.goTo(writesOn('disk', eventsOf(this.update, state)))
    const reproducer = await keepReproducer(this.#vm, {
      ...{ number, state, outcome: { came, slot, why }, disk: this.#disk.file, write: this.describe(made) },
      ...{ flash: this.#flashAfter(state.after), vtpm: this.#vtpmOf(state) },
    })
    return { ...told, reproducer }
  }

  /** A state that has to come up. One that is late tells of the host, not of the state: throws TimeoutError `boot`. */
  async control(state: CutState): Promise<CutOutcome> {
    const startedAt = Date.now()
    const { late, ...outcome } = await this.#tryTwice(state, `cut-${this.#next()}`)
    if (late) throw late
    return { ...outcome, late: false, seconds: secondsSince(startedAt) }
  }

  /** Boots a copy of what `keepReproducer` kept, and of nothing else. */
  async bootKept(directory: string): Promise<Attempt> {
    const { directory: parent, bench } = this.#vm.spec
    const name = `${basename(directory)}-again`
    const at = (file: string) => join(parent, `${name}-${file}`)
    const kept = (file: string) => join(directory, file)
    await copyFile(kept('variables.fd'), at('variables.fd'))
    await copyVtpmState(kept('vtpm'), at('vtpm'))
    const overlay = { file: at('disk.qcow2'), backing: kept('disk.qcow2'), backingFormat: 'qcow2' }
    await createOverlay(bench.tools, overlay)
    const vm = await this.#vm.withMaterials({
      ...{ name, disk: overlay.file, variables: at('variables.fd'), vtpmState: at('vtpm') },
    })
    const outcome = await bootOnce(vm, this.#deadlineMs)
    await rm(overlay.file)
    return outcome
  }

  #next(): number {
    this.#boots += 1
    return this.#boots
  }

  /** A host that was busy elsewhere makes a boot late; one that is late again hangs. */
  async #tryTwice(state: CutState, name: string): Promise<Attempt> {
    await this.#disk.goTo(writesOn('disk', eventsOf(this.update, state)))
    const first = await this.#attempt(state, name)
    return first.late ? this.#attempt(state, `${name}-again`) : first
  }

  async #attempt(state: CutState, name: string): Promise<Attempt> {
    const startedAt = Date.now()
    const vm = await this.#vmIn(state, name)
    const outcome = await bootOnce(vm, this.#deadlineMs)
    await rm(vm.disk.file)
    if (outcome.came === 'up')
      this.#deadlineMs = Math.max(this.#deadlineMs, (Date.now() - startedAt) * TIMES_A_GOOD_BOOT)
    return outcome
  }

  async #vmIn(state: CutState, name: string): Promise<ScenarioVm> {
    const { directory, bench } = this.#vm.spec
    const at = (file: string) => join(directory, `${name}-${file}`)
    await writeFile(at('variables.fd'), this.#flashAfter(state.after), { mode: 0o600 })
    await mkdir(at('vtpm'), { mode: 0o700 })
    await writePrivateFile(join(at('vtpm'), PERMANENT_STATE), this.#vtpmOf(state))
    const overlay = { file: at('disk.qcow2'), backing: this.#disk.file, backingFormat: 'raw' }
    await createOverlay(bench.tools, overlay)
    return this.#vm.withMaterials({
      ...{ name, disk: overlay.file, variables: at('variables.fd'), vtpmState: at('vtpm') },
    })
  }

  #vtpmOf({ vtpm }: CutState): Uint8Array {
    return this.#recorded.vtpm[vtpm] ?? new Uint8Array()
  }

  #flashAfter(count: number): Buffer {
    const flash = Buffer.from(this.update.variables)
    for (const { offset, data } of writesOn('variables', this.update.events.slice(0, count)))
      flash.set(data, offset)
    return flash
  }

  #espAfter(count: number): Buffer {
    const { bytes, offset: espAt } = this.update.esp
    const esp = Buffer.from(bytes)
    for (const { offset, data } of writesOn('disk', this.update.events.slice(0, count))) {
      const inside = offset >= espAt && offset + data.length <= espAt + esp.length
      if (inside) esp.set(data, offset - espAt)
    }
    return esp
  }
}

const TIMES_A_GOOD_BOOT = 3

function secondsSince(startedAt: number): number {
  return (Date.now() - startedAt) / 1000
}

function writesOn(on: 'disk' | 'variables', events: readonly CutEvent[]): readonly LoggedWrite[] {
  return events.flatMap((event) => (event.on === on && event.write.kind === 'write' ? [event.write] : []))
}
