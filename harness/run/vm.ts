/** One VM of a scenario: its materials, which outlast its boots, and the host's hands on them. */
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Attack, Victim } from '../attacks/attack.ts'
import { UsageError } from '../base/errors.ts'
import { QEMU_PROGRAM, qemuArguments } from '../machine/argv.ts'
import type { DriveDescription, FirmwareLoad } from '../machine/description.ts'
import { readTpmCommandLog } from '../machine/vtpm/command-log.ts'
import { withOfflineTpm } from '../machine/vtpm/offline.ts'
import { copyVtpmState, type VtpmStateOptions } from '../machine/vtpm/state.ts'
import type { TpmBusHost } from '../machine/vtpm/tpm-bus.ts'
import { asItIs, type MaterialInput } from '../materials/bill.ts'
import type { ImageUkiOptions } from '../materials/images.ts'
import { writePrivateFile } from '../system/files.ts'
import { countInFile } from '../system/search.ts'
import { openSocketDirectory } from '../system/socket-directory.ts'
import type { Boot } from './boot.ts'
import { writeBill } from './boot-bill.ts'
import { commandsOf } from './boot-process.ts'
import { bootProgram } from './boot-program.ts'
import { prepareFirmware } from './firmware.ts'
import { registersFromBus, registersFromLog } from './guest-registers.ts'
import type { PreparedDisk } from './image.ts'
import type { VmSpec } from './lab-spec.ts'
import type { Canary } from './secrets.ts'
import type { SlotOwner } from './slot-owner.ts'
import { initialUki, type SlotLayout, type Slots } from './slots.ts'
import { StandInFirmware } from './stand-in-firmware.ts'
import type { VmTee } from './tee.ts'
import { BootTimeline } from './timeline.ts'
import { successesPerStartup } from './unseals.ts'
import { describeMachine, type LaunchedFiles, type WriteLogs } from './vm-machine.ts'
import { enrolmentOf, recoveryKeyFor } from './vm-materials.ts'
import type { BootOptions, OtherMaterials, VmOptions } from './vm-options.ts'
import { kernelHashesImage, openTee } from './vm-tee.ts'

/** An emulated TD's registers have 48 bytes. */
const WATCHED_VTPM: VtpmStateOptions = { banks: ['sha256', 'sha384'] }

const INIT_DATA_FILE = 'init-data.toml'

export class ScenarioVm implements SlotOwner {
  readonly name: string
  readonly spec: VmSpec
  readonly disk: PreparedDisk
  readonly firmware: FirmwareLoad
  readonly timeline: BootTimeline
  readonly #options: VmOptions
  readonly #recoveryKey: string | undefined
  readonly #drives: DriveDescription[] = []
  #slots: Slots | undefined
  #tee: VmTee | undefined
  #standIn: StandInFirmware | undefined
  #vtpmState: string | undefined
  readonly #smbiosStrings: string[] = []
  readonly #vtpmLogs: string[] = []
  /** The first boot of each QEMU process. */
  readonly #started: Boot[] = []
  #tpmBus: TpmBusHost | undefined
  #writeLogs: WriteLogs | undefined
  #boots = 0
  /** Gives a QEMU process that is recorded its `#writeLogs`. */
  #nextWriteLogs: (() => Promise<WriteLogs>) | undefined

  private constructor(
    spec: VmSpec,
    made: {
      readonly disk: PreparedDisk
      readonly firmware: FirmwareLoad
      readonly vtpmState: string | undefined
      readonly recoveryKey: string | undefined
      readonly options: VmOptions
    },
  ) {
    this.name = spec.name
    this.spec = spec
    this.disk = made.disk
    this.firmware = made.firmware
    this.#vtpmState = made.vtpmState
    this.#recoveryKey = made.recoveryKey
    this.#options = made.options
    this.timeline = new BootTimeline((boot, line) => {
      if (made.options.slots) spec.emit({ type: 'boot-ended', vm: spec.name, boot, line })
    })
  }

  /** Makes vTPM state, variable store and disk. The VM's materials do not depend on its boots. */
  static async prepare(spec: VmSpec, options: VmOptions): Promise<ScenarioVm> {
    const { bench, directory, variant } = spec
    const { emulated } = bench.platform
    // The guest's owner trusts no vTPM where the variant has none; the emulation sees by it what the boot measures.
    const isWatched = emulated?.tee.emulation?.readsVtpm ?? false
    const vtpmState = variant.vtpm === 'none' && !isWatched ? undefined : join(directory, 'vtpm')
    const { description } = bench.image
    const wanted = options.recoveryKey === 'enrolled' || description.capabilities.has('luks-root')
    const recoveryKey = options.recoveryKey && wanted ? await recoveryKeyFor(description) : undefined
    const vtpm =
      vtpmState === undefined ? undefined : bench.newVtpms.create(vtpmState, isWatched ? WATCHED_VTPM : {})
    const makeDisk = async (): Promise<PreparedDisk> => {
      // Only a seal has to wait for the TPM that it is made to.
      if (options.seal) await vtpm
      const tpm2 = options.seal && vtpmState ? await enrolmentOf(spec, options, vtpmState) : undefined
      const uki = options.slots
        ? initialUki(options.slots, options.slotCommandLine)
        : await bootProgram(bench, { directory, ...options })
      const given = { context: bench, keys: bench.keys, directory, recoveryKey, tpm2, uki }
      return bench.image.prepareDisk({ ...given, root: options.root })
    }
    const [firmware, disk] = await Promise.all([
      prepareFirmware(bench, { directory, secureBoot: spec.secureBoot, ...options }),
      makeDisk(),
      vtpm,
      // Some fifty modules that nothing needed so far: they load while the vTPM's state is made.
      import('./boot.ts'),
    ])
    const vm = new ScenarioVm(spec, { disk, firmware, vtpmState, recoveryKey, options })
    await vm.#openTee()
    if (options.initData !== undefined)
      await writePrivateFile(join(directory, INIT_DATA_FILE), options.initData)
    spec.scratch.push(disk.file)
    if (options.slots) vm.#slots = await openSlots(vm, options.slots)
    return vm
  }

  get #initData(): string | undefined {
    return this.#options.initData === undefined ? undefined : join(this.spec.directory, INIT_DATA_FILE)
  }

  async #openTee(): Promise<void> {
    const { processor: kind, launch } = this.#options
    this.#standIn = await StandInFirmware.open(this.firmware, this.spec)
    const firmware = this.#standIn?.launched ?? this.firmware
    const launched = () => ({ spec: this.spec, firmware, kernel: this.#kernel, launch })
    this.#tee = await openTee(this.spec, { kind, vm: launched })
  }

  /** The UKI of this moment, where QEMU brings it itself. */
  get #kernel(): string | undefined {
    return this.#options.kernel && this.disk.uki?.current().file
  }

  /** The TEE that it runs on; throws UsageError `bad-scenario` where it runs on none. */
  get tee(): VmTee {
    if (this.#tee) return this.#tee
    throw new UsageError(`VM ${this.name} runs on ${this.spec.variant.platform}, which is no TEE`, {
      ...{ code: 'bad-scenario', hint: 'A scenario names the TEEs that it runs on in `tees`' },
    })
  }

  /** Of the hash tree over its root, hex, as the image was made; undefined where it has none. */
  get rootHash(): string | undefined {
    return this.disk.base?.verity?.rootHash
  }

  /** SHA-256 of the root in clear that `root` asked for, as it was handed out. */
  get plainRoot(): string {
    if (this.disk.plainRoot !== undefined) return this.disk.plainRoot
    throw new UsageError(`VM ${this.name} was made without a root in clear`, { code: 'bad-scenario' })
  }

  get hasRecoveryKey(): boolean {
    return this.#recoveryKey !== undefined
  }

  /** The key that `recoveryKey` asked for. */
  get recoveryKey(): string {
    if (this.#recoveryKey !== undefined) return this.#recoveryKey
    throw new UsageError(`VM ${this.name} was made without a recovery key`, { code: 'bad-scenario' })
  }

  /** The two slots that `slots` asked for, as the host sees them while the VM is off. */
  get slots(): Slots {
    if (this.#slots) return this.#slots
    throw new UsageError(`VM ${this.name} was made without slots`, { code: 'bad-scenario' })
  }

  /** Directory of the vTPM's state; undefined where it has none. */
  get vtpmState(): string | undefined {
    return this.#vtpmState
  }

  /** Has each later QEMU process record every write, in what `next` gives it: files of its own, empty. Without: no more. */
  recordWrites(next?: () => Promise<WriteLogs>): void {
    this.#nextWriteLogs = next
  }

  /** A VM of the same devices and options on other materials, in a directory of its own. */
  async withMaterials({ name, disk, variables, vtpmState }: OtherMaterials): Promise<ScenarioVm> {
    const directory = join(this.spec.directory, name)
    await mkdir(directory, { mode: 0o700 })
    const { firmware } = this
    const made = {
      disk: { ...this.disk, file: disk },
      firmware: firmware.kind === 'pflash' ? { ...firmware, variables } : firmware,
      ...{ vtpmState, recoveryKey: this.#recoveryKey, options: this.#options },
    }
    const vm = new ScenarioVm({ ...this.spec, name, directory }, made)
    vm.#drives.push(...this.#drives)
    await vm.#openTee()
    return vm
  }

  /** The processes of a boot, in the order to start them. Their sockets are in `sockets`. */
  commandsAt(sockets: string): readonly (readonly string[])[] {
    const description = this.#describe(sockets)
    const vtpm = this.#vtpmState === undefined ? {} : { vtpm: { stateDirectory: this.#vtpmState } }
    return commandsOf({ description, ...vtpm }, [QEMU_PROGRAM, ...qemuArguments(description)])
  }

  /** Has the harness sit on the TPM's bus from the next boot on; the VM must be off. */
  listenOnTpmBus(host: TpmBusHost): void {
    this.requireOff("listen on the TPM's bus")
    this.#tpmBus = host
  }

  /** Adds a disk to every later QEMU process. */
  attach(drive: DriveDescription): void {
    this.#drives.push(drive)
  }

  /** Switches the VM on in a new QEMU process. A stateless vTPM is a new one, unless the one of the seal is asked for. */
  async boot(options: BootOptions = {}): Promise<Boot> {
    const { bench, scope } = this.spec
    this.#boots += 1
    const directory = join(this.spec.directory, `boot-${this.#boots}`)
    await mkdir(directory, { mode: 0o700 })
    this.#writeLogs = await this.#nextWriteLogs?.()
    // What is printed is pasted later, so its sockets need a place that outlasts this run.
    const sockets = bench.printArgv
      ? await mkdtemp(join(tmpdir(), 'attestbed-argv-'))
      : await openSocketDirectory(scope)
    const vtpm = await this.#vtpmForBoot(directory, options)
    const vtpmLog = vtpm === undefined ? undefined : join(directory, 'vtpm.log')
    if (vtpmLog !== undefined) {
      this.#vtpmLogs.push(vtpmLog)
      this.spec.vtpmLogs.push(vtpmLog)
    }
    const memoryImages = await kernelHashesImage(
      { spec: this.spec, firmware: this.firmware, kernel: this.#kernel },
      directory,
    )
    const firmware = await this.#standIn?.launch(directory)
    const bus = this.#tpmBus && registersFromBus(this.#tpmBus)
    const registers = bus ?? (vtpmLog === undefined ? undefined : registersFromLog(vtpmLog))
    const tsm = await this.#tee?.serviceFor(registers)
    const description = this.#describe(sockets, { memoryImages, firmware })
    // A second process would write over what the first one logged.
    this.#writeLogs = undefined
    // The guest will change its variables; all else can be read while it is in its firmware.
    const variables = await this.#variablesAsTheyAre()
    const { Boot } = await import('./boot.ts')
    const booting = Boot.start(this, {
      directory,
      description,
      ...(vtpm && vtpmLog && { vtpm: { stateDirectory: vtpm, log: vtpmLog } }),
      ...(bus && { tpmBus: bus.host }),
      ...(tsm && { tsm }),
    })
    await Promise.allSettled([booting.then((boot) => this.#started.push(boot))])
    await writeBill(this, { directory, variables })
    return booting
  }

  async #variablesAsTheyAre(): Promise<readonly MaterialInput[]> {
    if (this.firmware.kind === 'bios') return []
    return [await asItIs({ role: 'variables', path: this.firmware.variables })]
  }

  async #vtpmForBoot(directory: string, { vtpm }: BootOptions): Promise<string | undefined> {
    const kept = vtpm === 'sealed-to' || this.spec.variant.vtpm === 'stateful'
    if (this.#vtpmState === undefined || kept) return this.#vtpmState
    const state = join(directory, 'vtpm')
    const isWatched = this.spec.bench.platform.emulated?.tee.emulation?.readsVtpm ?? false
    await this.spec.bench.newVtpms.create(state, isWatched ? WATCHED_VTPM : {})
    return state
  }

  #describe(sockets: string, { memoryImages = [], firmware = this.firmware }: LaunchedFiles = {}) {
    const { spec, disk } = this
    return describeMachine(spec, {
      ...{ disk, firmware, sockets, kernel: this.#kernel, drives: this.#drives, writeLogs: this.#writeLogs },
      ...{ memoryImages, initData: this.#initData, smbiosStrings: this.#smbiosStrings },
      ...{ hasVtpm: this.#vtpmState !== undefined, options: this.#options },
    })
  }

  /** Bytes that were typed at the consoles of all its QEMU processes. */
  get typedBytes(): number {
    return this.#started.reduce((sum, { machine }) => sum + machine.console.sentBytes, 0)
  }

  /** Cuts the power, whichever boot it is in. */
  async cut(): Promise<void> {
    await this.#started.at(-1)?.cut()
  }

  requireOff(action: string): void {
    if (this.timeline.boots.at(-1)?.ending !== 'running') return
    throw new UsageError(`cannot ${action} while VM ${this.name} runs; it must be off`, {
      ...{ code: 'bad-scenario', hint: 'Power it off before, or cut its power' },
    })
  }

  /** Puts an updated UKI, signed by the right keys, on the ESP of the VM, which must be off. */
  async installUki(
    change: Pick<ImageUkiOptions, 'extraCommandLine' | 'version' | 'rootHash'>,
  ): Promise<void> {
    this.requireOff('replace the UKI')
    const victim = await this.#victim()
    await victim.replaceUki(await victim.buildUki(change))
  }

  /** Lets an attack change the materials. The VM must be off. */
  async suffer(attack: Attack): Promise<void> {
    this.requireOff(`interfere with the ${attack.seam}`)
    const victim = await this.#victim()
    this.spec.emit({
      type: 'host-action',
      vm: this.name,
      text: `${attack.seam}: ${attack.interference}`,
    })
    await attack.apply(victim)
    this.#vtpmState = victim.vtpmState
    this.#tpmBus = victim.tpmBus
  }

  async #victim(): Promise<Victim> {
    const { bench, directory, scope } = this.spec
    const { uki, base } = this.disk
    if (uki === undefined)
      throw new UsageError(
        `image ${bench.image.description.id} has no UKI of ours to change; the scenario must need own-uki`,
        { code: 'bad-scenario' },
      )
    return {
      tools: bench.tools,
      keys: bench.keys,
      directory,
      sockets: await openSocketDirectory(scope),
      variables: this.firmware.kind === 'pflash' ? this.firmware.variables : undefined,
      vtpmState: this.#vtpmState,
      tpmBus: this.#tpmBus,
      smbiosStrings: this.#smbiosStrings,
      disk: base && { file: this.disk.file, base },
      uki: uki.current().file,
      buildUki: uki.build,
      replaceUki: uki.replace,
    }
  }

  /** Keeps the vTPM state of this moment; the VM must be off. Returns its directory. */
  async snapshotVtpm(): Promise<string> {
    if (this.#vtpmState === undefined)
      throw new UsageError('a VM without a vTPM has no state to keep', { code: 'bad-scenario' })
    this.requireOff('copy the vTPM state')
    const copy = join(this.spec.directory, `vtpm-after-boot-${this.#boots}`)
    await copyVtpmState(this.#vtpmState, copy)
    return copy
  }

  /** Has a program of the host use the VM's TPM: `use` gets the socket for commands. The VM must be off. */
  async useTpm<Result>(use: (commandSocket: string) => Promise<Result>): Promise<Result> {
    this.requireOff('use the vTPM')
    const stateDirectory = this.#vtpmState
    if (stateDirectory === undefined) throw new UsageError('the VM has no vTPM', { code: 'bad-scenario' })
    const { bench, scope } = this.spec
    const offline = { stateDirectory, socketDirectory: await openSocketDirectory(scope) }
    return withOfflineTpm(bench.tools, offline, use)
  }

  /** How often a canary is in the VM's disk file in clear. The VM must be off. */
  async findOnDisk(canary: Canary): Promise<number> {
    this.requireOff('search the disk')
    return countInFile(this.disk.file, Buffer.from(canary.text))
  }

  /** How often TPM2_Unseal succeeded between each start of the TPM and the next, oldest first. */
  async unsealsPerBoot(): Promise<readonly number[]> {
    return this.tpmSuccessesPerBoot('TPM2_Unseal')
  }

  /** How often a TPM command succeeded between each start of the TPM and the next, oldest first. */
  async tpmSuccessesPerBoot(command: string): Promise<readonly number[]> {
    const logs = await Promise.all(this.#vtpmLogs.map((log) => readTpmCommandLog(log)))
    return logs.flatMap((commands) => successesPerStartup(commands, command))
  }
}

async function openSlots(vm: ScenarioVm, layout: SlotLayout): Promise<Slots> {
  if (layout === 'counting') return (await import('./counted-slots.ts')).CountedSlots.open(vm)
  if (layout === 'fallback') return (await import('./fallback-slots.ts')).FallbackSlots.open(vm)
  return (await import('./boot-next-slots.ts')).BootNextSlots.open(vm)
}
